"""Rows of the durable API that cannot be read: in lists, look-ups by key, and the dialect."""

import json
from typing import Any

import pytest

from gateway.domain.errors import NotFound, OutcomeUnknown, ProviderBadResponse
from gateway.domain.pages import ListFilter, ProviderQuery
from tests.unit.adapters.durable.asked import Asked
from tests.unit.adapters.durable.fakes import (
    OTHER,
    REF,
    SCOPE,
    UUID,
    W,
    adapter,
    create,
    failure,
    instance,
    page,
    row,
)
from tests.unit.adapters.fakes import CALL, answer, call_in_time


def _odd(**members: Any) -> dict[str, Any]:
    """A row that cannot be read, for a number that is text."""
    return row(status="running", instance=instance(billed_credits="12.50"), **members)


async def test_a_number_as_text_costs_its_row_and_is_named():
    durable, _ = adapter(page(row(), _odd(id=OTHER, key="odd"), cursor="c"))
    call = call_in_time()
    found = await durable.list(ProviderQuery(scope=SCOPE), call)
    assert ([runtime.provider_id for runtime in found.items], found.next_cursor) == ([UUID], "c")
    (bad,) = found.unreadable
    assert (bad.pointer, bad.id, bad.name) == ("#/items/1/instance/billed_credits", OTHER, "odd")
    assert bad.problem == "should be `int | float | null` and is `str`"
    assert call.unreadable == [bad]


async def test_rows_with_members_that_are_not_known_are_read_beside_one_that_cannot_be():
    durable, _ = adapter(page(row(novel={"a": 1}), row(id="no-uuid")))
    found = await durable.list(ProviderQuery(scope=SCOPE), CALL)
    assert [runtime.provider_data for runtime in found.items] == [{"novel": {"a": 1}}]
    assert [(bad.pointer, bad.problem, bad.id) for bad in found.unreadable] == [
        ("#/items/1/id", "should be `uuid` and is `str`", "no-uuid")
    ]


async def test_a_mistake_in_the_mapping_costs_the_row_that_it_fails_for(monkeypatch: pytest.MonkeyPatch):
    durable, _ = adapter(page(row(), row(id=OTHER)))
    to_domain = durable.calls.to_domain

    def mistaken(body: Any, *rest: Any) -> Any:
        if body.id == OTHER:
            raise TypeError("hunter2")
        return to_domain(body, *rest)

    monkeypatch.setattr(durable.calls, "to_domain", mistaken)
    found = await durable.list(ProviderQuery(scope=SCOPE), CALL)
    assert [runtime.provider_id for runtime in found.items] == [UUID]
    assert [(bad.id, bad.problem) for bad in found.unreadable] == [(OTHER, "could not be read (TypeError)")]
    assert "hunter2" not in repr(found.unreadable)


async def test_a_list_by_name_names_the_rows_of_all_pages_that_may_have_it():
    durable, _ = adapter(page(_odd(key="other"), _odd(key=7), cursor="c"), page(_odd(), row(key="agent", id=OTHER)))
    found = await durable.list(ProviderQuery(scope=SCOPE, filter=ListFilter(name="agent")), CALL)
    assert [runtime.provider_id for runtime in found.items] == [OTHER]
    assert ([bad.name for bad in found.unreadable], found.readable) == ([None, "agent"], True)


@pytest.mark.parametrize("foreign", [{}, {"owned_by_me": False}])
async def test_an_unreadable_row_of_the_key_makes_a_look_up_unclear_whatever_else_has_it(foreign: dict[str, Any]):
    durable, _ = adapter(failure(404, "not_found_error"), page(_odd(), row(id=OTHER, **foreign)))
    with pytest.raises(ProviderBadResponse, match="#/items/0/instance/billed_credits"):
        await durable.find(SCOPE, "agent", CALL)


async def test_an_unreadable_row_without_a_readable_key_is_unclear_unless_an_own_runtime_has_the_key():
    durable, _ = adapter(failure(404, "not_found_error"), page(row(id=OTHER, key=7)))
    with pytest.raises(ProviderBadResponse, match="without a readable key"):
        await durable.find(SCOPE, "agent", CALL)
    durable, _ = adapter(failure(404, "not_found_error"), page(row(id=OTHER, key=7), row()))
    assert [runtime.provider_id for runtime in await durable.find(SCOPE, "agent", CALL)] == [UUID]


async def test_an_unreadable_row_of_another_key_does_not_affect_a_look_up():
    durable, _ = adapter(failure(404, "not_found_error"), page(_odd(key="other"), cursor="c"), page())
    assert not await durable.find(SCOPE, "agent", CALL)


async def test_good_credentials_are_good_though_a_row_cannot_be_read():
    durable, _ = adapter(page(_odd()))
    await durable.check_credentials(CALL)


async def test_a_runtime_nested_too_deeply_is_a_bad_response_and_after_a_create_an_unknown_outcome():
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    durable, _ = adapter(answer(200, row(novel=deep)), answer(201, row(novel=deep)))
    with pytest.raises(ProviderBadResponse):
        await durable.get(REF, CALL)
    with pytest.raises(OutcomeUnknown):
        await durable.create(create(), SCOPE, CALL)


RUNTIMES = "/api/v1/org/acme/ws/research/runtimes"
LOGS = "/api/v1/org/acme/sandboxes/i0123/logs"
DEEP = b'{"id":"d","x":' + b"[" * 2000 + b"]" * 2000 + b"}"


def _raw(*rows: bytes, cursor: str = "null") -> Any:
    return answer(200, b'{"items":[' + b",".join(rows) + b'],"next_cursor":' + cursor.encode() + b"}")


async def test_a_list_of_the_dialect_passes_odd_members_on_and_leaves_out_what_is_no_object():
    odd = json.dumps(_odd(), indent=1).encode()
    shown = await Asked(_raw(odd, b"7", b'"x"', DEEP, b'{"id": "a"}', cursor='"c"')).ask("GET", RUNTIMES)
    assert json.loads(shown.body or b"") == {"items": [_odd(), {"id": "a"}], "next_cursor": "c"}
    assert odd in (shown.body or b"")


async def test_a_page_of_the_dialect_with_nothing_but_rows_that_are_left_out_is_read_on():
    asked = Asked(_raw(b"7", DEEP, cursor='"c"'), page(row()))
    assert (await asked.ask("GET", RUNTIMES)).body == page(row()).body
    assert [dict(request.query) for request in asked.transport.sent] == [{}, {"cursor": "c"}]


async def test_a_list_of_the_dialect_without_items_is_a_bad_response():
    with pytest.raises(ProviderBadResponse):
        await Asked(answer(200, {"runtimes": []})).ask("GET", RUNTIMES)


async def test_a_key_in_a_path_of_the_dialect_is_not_missing_where_an_unreadable_row_may_have_it():
    asked = Asked(failure(404, "not_found_error"), page(_odd(key=7)))
    with pytest.raises(ProviderBadResponse):
        await asked.ask("POST", f"{RUNTIMES}/agent/pause")
    with pytest.raises(NotFound):
        await Asked(failure(404, "not_found_error"), page(_odd(key="other"))).ask("POST", f"{RUNTIMES}/agent/pause")


async def test_the_sandbox_of_an_unreadable_row_may_be_the_one_whose_logs_are_asked_for():
    asked = Asked(page(_odd()))
    with pytest.raises(ProviderBadResponse, match="may have this sandbox"):
        await asked.ask("GET", LOGS)
    running = row(id=OTHER, status="running", instance=instance())
    asked = Asked(page(_odd(), running), answer(200, {"logs": "l"}))
    assert (await asked.ask("GET", LOGS)).body == b'{"logs":"l"}'
    assert [path for _, path, _ in asked.sent] == [W, LOGS]
