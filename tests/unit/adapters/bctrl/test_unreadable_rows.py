"""Rows of bctrl that cannot be decoded: in lists, in look-ups by alias, and in forwarded lists."""

import json

import pytest

from gateway.domain.errors import ProviderBadResponse
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.values import Operation
from tests.unit.adapters.bctrl.fakes import OTHER, UUID, WORKSPACE, adapter, row
from tests.unit.adapters.fakes import CALL, answer, call_in_time

THIRD = "33333333-2ee2-4e00-89ec-32d5f69181c0"
ODD = row(id=OTHER, alias="odd", summary={"browserRunning": "yes"})


@pytest.mark.parametrize(
    ("unreadable", "sought"),
    [
        ({"alias": 7}, "another"),
        ({"alias": None, "status": None}, "another"),
        ({"id": "no-uuid"}, "checkout-bot"),
        ({"status": None}, "checkout-bot"),
    ],
)
async def test_unreadable_row_that_may_have_the_alias_fails_a_look_up(unreadable, sought):
    bctrl, _ = adapter(answer(200, {"runtimes": [row(id=OTHER), row(**unreadable)]}))
    with pytest.raises(ProviderBadResponse, match="cannot be read"):
        await bctrl.find(WORKSPACE, sought, CALL)


@pytest.mark.parametrize("unreadable", [{"id": "no-uuid"}, {"status": None}])
async def test_unreadable_row_of_another_alias_does_not_affect_a_look_up(unreadable):
    bctrl, _ = adapter(*[answer(200, {"runtimes": [row(id=OTHER, alias="another"), row(**unreadable)]})] * 2)
    assert [runtime.name for runtime in await bctrl.find(WORKSPACE, "another", CALL)] == ["another"]
    assert not await bctrl.find(WORKSPACE, "unused", CALL)


async def test_unreadable_row_is_reported_on_the_first_page_only():
    """The whole list is read for each page, and the row has no position in its order."""
    rows = {"runtimes": [row(), ODD, row(id=THIRD)]}
    bctrl, _ = adapter(*[answer(200, rows)] * 2)
    first = await bctrl.list(ProviderQuery(scope=WORKSPACE, limit=1), CALL)
    last = await bctrl.list(ProviderQuery(scope=WORKSPACE, limit=1, cursor=first.next_cursor), CALL)
    assert [runtime.provider_id for page in (first, last) for runtime in page.items] == [UUID, THIRD]
    (bad,) = first.unreadable
    assert (bad.pointer, bad.id) == ("#/runtimes/1/summary/browserRunning", OTHER)
    assert (last.unreadable, last.readable, last.next_cursor) == ((), True, None)


@pytest.mark.parametrize(("name", "named"), [("checkout-bot", 0), ("odd", 1)])
async def test_list_by_name_reports_only_rows_that_may_have_the_name(name, named):
    bctrl, _ = adapter(answer(200, {"runtimes": [row(), ODD]}))
    found = await bctrl.list(ProviderQuery(scope=WORKSPACE, filter=ListFilter(name=name)), CALL)
    assert (len(found.items), len(found.unreadable)) == (1 - named, named)


async def test_native_list_has_no_unreadable_rows():
    good = json.dumps(row(novel={"a": 1.0}), indent=1).encode()
    odd = json.dumps(ODD).encode()
    bctrl, _ = adapter(answer(200, b'{"runtimes":[' + odd + b"," + good + b'],"novel":1}'))
    call = call_in_time()
    body, _ = await bctrl.native(Operation.LIST, WORKSPACE, call)
    assert json.loads(body) == {"runtimes": [row(novel={"a": 1.0})], "novel": 1}
    assert good in body
    assert [bad.id for bad in call.unreadable] == [OTHER]


async def test_credentials_are_accepted_despite_an_unreadable_row():
    bctrl, _ = adapter(answer(200, {"runtimes": [ODD]}))
    await bctrl.check_credentials(CALL)
