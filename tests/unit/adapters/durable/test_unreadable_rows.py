"""Unreadable rows of the durable API in lists, look-ups by key and the dialect."""

import json
from typing import Any

import pytest

from gateway.domain.errors import NotFound, OutcomeUnknown, ProviderBadResponse
from gateway.domain.pages import ListFilter, ProviderQuery
from tests.unit.adapters.durable.dialect_caller import DialectCaller
from tests.unit.adapters.durable.fakes import OTHER, REF, SCOPE, UUID, W, adapter, create, failure, instance, page, row
from tests.unit.adapters.fakes import CALL, answer, call_in_time


def _unreadable(**members: Any) -> dict[str, Any]:
    """A row that is unreadable because a number is text."""
    return row(status="running", instance=instance(billed_credits="12.50"), **members)


async def test_row_with_a_number_as_text_is_omitted_and_reported():
    durable, _ = adapter(page(row(), _unreadable(id=OTHER, key="odd"), cursor="c"))
    call = call_in_time()
    found = await durable.list(ProviderQuery(scope=SCOPE), call)
    assert ([runtime.provider_id for runtime in found.items], found.next_cursor) == ([UUID], "c")
    (bad,) = found.unreadable
    assert (bad.pointer, bad.id, bad.name) == ("#/items/1/instance/billed_credits", OTHER, "odd")
    assert bad.problem == "should be `int | float | null` and is `str`"
    assert call.unreadable == [bad]


async def test_rows_with_unknown_members_are_read_next_to_an_unreadable_row():
    durable, _ = adapter(page(row(novel={"a": 1}), row(id="no-uuid")))
    found = await durable.list(ProviderQuery(scope=SCOPE), CALL)
    assert [runtime.provider_data for runtime in found.items] == [{"novel": {"a": 1}}]
    assert [(bad.pointer, bad.problem, bad.id) for bad in found.unreadable] == [
        ("#/items/1/id", "should be `uuid` and is `str`", "no-uuid")
    ]


async def test_exception_in_the_mapping_omits_only_its_row(monkeypatch: pytest.MonkeyPatch):
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


async def test_list_by_name_reports_unreadable_rows_of_all_pages_that_may_match():
    durable, _ = adapter(
        page(_unreadable(key="other"), _unreadable(key=7), cursor="c"), page(_unreadable(), row(key="agent", id=OTHER))
    )
    found = await durable.list(ProviderQuery(scope=SCOPE, filter=ListFilter(name="agent")), CALL)
    assert [runtime.provider_id for runtime in found.items] == [OTHER]
    assert ([bad.name for bad in found.unreadable], found.readable) == ([None, "agent"], True)


@pytest.mark.parametrize("foreign", [{}, {"owned_by_me": False}])
async def test_find_raises_for_an_unreadable_row_with_the_key(foreign: dict[str, Any]):
    durable, _ = adapter(failure(404, "not_found_error"), page(_unreadable(), row(id=OTHER, **foreign)))
    with pytest.raises(ProviderBadResponse, match="#/items/0/instance/billed_credits"):
        await durable.find(SCOPE, "agent", CALL)


async def test_find_raises_for_an_unreadable_key_unless_an_own_runtime_matches():
    durable, _ = adapter(failure(404, "not_found_error"), page(row(id=OTHER, key=7)))
    with pytest.raises(ProviderBadResponse, match="without a readable key"):
        await durable.find(SCOPE, "agent", CALL)
    durable, _ = adapter(failure(404, "not_found_error"), page(row(id=OTHER, key=7), row()))
    assert [runtime.provider_id for runtime in await durable.find(SCOPE, "agent", CALL)] == [UUID]


async def test_unreadable_row_with_another_key_does_not_affect_find():
    durable, _ = adapter(failure(404, "not_found_error"), page(_unreadable(key="other"), cursor="c"), page())
    assert not await durable.find(SCOPE, "agent", CALL)


async def test_credentials_check_passes_with_an_unreadable_row():
    durable, _ = adapter(page(_unreadable()))
    await durable.check_credentials(CALL)


async def test_deeply_nested_runtime_is_a_bad_response_and_outcome_unknown_for_a_create():
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


async def test_dialect_list_passes_on_unreadable_members_and_omits_rows_that_are_not_objects():
    odd = json.dumps(_unreadable(), indent=1).encode()
    response = await DialectCaller(_raw(odd, b"7", b'"x"', DEEP, b'{"id": "a"}')).call("GET", RUNTIMES)
    assert json.loads(response.body or b"") == {"items": [_unreadable(), {"id": "a"}], "next_cursor": None}
    assert odd in (response.body or b"")


async def test_dialect_list_skips_a_page_whose_rows_are_all_omitted():
    caller = DialectCaller(_raw(b"7", DEEP, cursor='"c"'), page(row()))
    assert (await caller.call("GET", RUNTIMES)).body == page(row()).body
    assert [dict(request.query) for request in caller.transport.sent] == [{}, {"cursor": "c"}]


async def test_dialect_list_without_items_is_a_bad_response():
    with pytest.raises(ProviderBadResponse):
        await DialectCaller(answer(200, {"runtimes": []})).call("GET", RUNTIMES)


async def test_dialect_key_that_an_unreadable_row_may_have_is_a_bad_response():
    caller = DialectCaller(failure(404, "not_found_error"), page(_unreadable(key=7)))
    with pytest.raises(ProviderBadResponse):
        await caller.call("POST", f"{RUNTIMES}/agent/pause")
    with pytest.raises(NotFound):
        await DialectCaller(failure(404, "not_found_error"), page(_unreadable(key="other"))).call(
            "POST", f"{RUNTIMES}/agent/pause"
        )


async def test_logs_are_a_bad_response_when_an_unreadable_row_may_have_the_sandbox():
    caller = DialectCaller(page(_unreadable()))
    with pytest.raises(ProviderBadResponse, match="may have this sandbox"):
        await caller.call("GET", LOGS)
    running = row(id=OTHER, status="running", instance=instance())
    caller = DialectCaller(page(_unreadable(), running), answer(200, {"logs": "l"}))
    assert (await caller.call("GET", LOGS)).body == b'{"logs":"l"}'
    assert [path for _, path, _ in caller.sent] == [W, LOGS]
