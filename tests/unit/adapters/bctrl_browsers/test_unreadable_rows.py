"""Rows of the browser API that cannot be decoded: in lists, in look-ups by name, and in forwarded lists."""

import json
from typing import Any

import pytest

from adapters.bctrl_browsers.wire import MARKER
from gateway.domain.errors import OutcomeUnknown, ProviderBadResponse
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.values import Operation
from gateway.ports.provider import WireCreate
from gateway.ports.transport import UpstreamResponse
from tests.unit.adapters.bctrl_browsers.fakes import ID, SPACE, adapter, row, running
from tests.unit.adapters.fakes import CALL, answer, call_in_time

ODD = {**running(connections={"cdpUrl": ["hunter2"]}), "id": "br_odd", "name": "odd"}


def page(*rows: dict[str, Any], cursor: str | None = None) -> UpstreamResponse:
    """A page of browsers."""
    return answer(200, {"data": list(rows), "hasMore": cursor is not None, "nextCursor": cursor})


@pytest.mark.parametrize(
    ("unreadable", "sought"),
    [
        ({"name": None}, "another"),
        ({"id": None}, "checkout-bot"),
        ({"status": 7}, "checkout-bot"),
        ({"metadata": []}, "checkout-bot"),
    ],
)
async def test_unreadable_row_that_may_have_the_name_fails_a_look_up(unreadable, sought):
    browsers, _ = adapter(page(row(), row(**unreadable)))
    with pytest.raises(ProviderBadResponse, match="cannot be read"):
        await browsers.find_with_markers(SPACE, sought, CALL)


@pytest.mark.parametrize("unreadable", [{"id": None}, {"status": 7}, {"metadata": []}])
async def test_unreadable_row_of_another_name_does_not_affect_a_look_up(unreadable):
    browsers, _ = adapter(page(row(id="br_2", name="another"), row(**unreadable)))
    (found,) = await browsers.find(SPACE, "another", CALL)
    assert found.provider_id == "br_2"


async def test_unreadable_row_is_left_out_and_reported_without_its_value():
    browsers, _ = adapter(page(ODD, row(), cursor="c"))
    call = call_in_time()
    found = await browsers.list(ProviderQuery(scope=SPACE), call)
    assert ([runtime.provider_id for runtime in found.items], found.next_cursor) == ([ID], "c")
    (bad,) = found.unreadable
    assert (bad.pointer, bad.id) == ("#/data/0/currentRun/connections/cdpUrl", "br_odd")
    assert "hunter2" not in repr(bad)
    assert call.unreadable == [bad]


@pytest.mark.parametrize("browser_id", ["", ".", "..", "../x", "a/./b", "a\\.."])
async def test_row_whose_id_no_call_could_name_is_unreadable(browser_id):
    browsers, _ = adapter(page(row(id=browser_id), row()))
    found = await browsers.list(ProviderQuery(scope=SPACE), CALL)
    assert [runtime.provider_id for runtime in found.items] == [ID]
    assert [bad.pointer for bad in found.unreadable] == ["#/data/0/id"]


@pytest.mark.parametrize("browser_id", ["", "../x"])
async def test_create_whose_runtime_has_an_id_that_no_call_could_name_has_an_unknown_outcome(browser_id):
    browsers, _ = adapter(answer(201, row(id=browser_id)))
    with pytest.raises(OutcomeUnknown):
        await browsers.send_create(WireCreate(b"{}"), SPACE, CALL)


@pytest.mark.parametrize(("name", "named"), [("checkout-bot", 0), ("odd", 1)])
async def test_list_by_name_reports_only_rows_that_may_have_the_name(name, named):
    browsers, _ = adapter(page(row(), ODD))
    found = await browsers.list(ProviderQuery(scope=SPACE, filter=ListFilter(name=name)), CALL)
    assert (len(found.items), len(found.unreadable), found.readable) == (1 - named, named, True)


async def test_list_with_all_rows_filtered_out_is_readable():
    browsers, _ = adapter(page(row(spaceId="sp_2"), ODD))
    found = await browsers.list(ProviderQuery(scope=SPACE), CALL)
    assert (list(found.items), len(found.unreadable), found.readable) == ([], 1, True)


async def test_native_list_has_no_unreadable_rows_and_no_markers():
    good = row(metadata={MARKER: "i-1", "team": "shop"}, novel={"a": 1.0})
    browsers, _ = adapter(page({**ODD, "metadata": {MARKER: "i-2"}}, good, cursor="c"))
    call = call_in_time()
    passed = await browsers.native(Operation.LIST, SPACE, call)
    expected = {"data": [{**good, "metadata": {"team": "shop"}}], "hasMore": True, "nextCursor": "c"}
    assert json.loads(passed.body) == expected
    assert [runtime.provider_id for runtime in passed.runtimes] == [ID]
    assert (passed.next_cursor, [bad.id for bad in call.unreadable]) == ("c", ["br_odd"])
