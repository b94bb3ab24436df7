"""Lists with unreadable rows, or adapters with bugs: what is listed, and what is reported."""

import json
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import Any

import pytest
from msgspec import UNSET

from gateway.domain.errors import InternalError, ProviderBadResponse, ProviderUnavailable
from gateway.domain.pages import ListFilter, ListWarning, ProviderPage, ProviderQuery, UnreadableRow
from gateway.domain.values import Operation
from gateway.ports.transport import Call
from gateway.services.fleet import Fleet
from gateway.services.listing import ListedPage, ListQuery, ListService
from gateway.telemetry.logs import Event, make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.signals import CallSignals
from tests.unit.services.fakes import DurableLike, FakeAdapter, FakeClock, context

EVERYTHING = ListQuery(filter=ListFilter())
BAD = UnreadableRow(("items", 1, "instance", "billed_credits"), "should be `int` and is `str`", id="b-1", name="b")
NAMELESS = UnreadableRow(("items", 2), "should be `object` and is `int`")


class Odd(DurableLike):
    """An adapter with given pages and unreadable rows."""

    def __init__(self, name: str, *pages: ProviderPage | Exception) -> None:
        super().__init__(name)
        self.pages = list(pages)

    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        self.world.queries.append(query)
        page = self.pages.pop(0)
        if isinstance(page, Exception):
            raise page
        call.note_unreadable(page.unreadable)
        return page


@dataclass
class Observed:
    """A fleet with the real observer, and its own logger and metrics."""

    adapters: tuple[FakeAdapter, ...]
    log: StringIO = field(default_factory=StringIO)
    metrics: Metrics = field(default_factory=Metrics)

    def fleet(self) -> Fleet:
        return Fleet(self.adapters, FakeClock(), observer=CallSignals(self.metrics, make_logger(stream=self.log)))

    async def page(self, query: ListQuery = EVERYTHING) -> ListedPage:
        return await ListService(self.fleet()).page(query, context())

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.log.getvalue().splitlines()) if line["event"] == event]

    def counted(self, provider: str) -> float | None:
        return self.metrics.registry.get_sample_value("rtgw_unreadable_rows_total", {"provider": provider})


def _well(name: str = "well", count: int = 2) -> DurableLike:
    adapter = DurableLike(name)
    for number in range(count):
        adapter.put(f"n{number}")
    return adapter


def _odd(*unreadable: UnreadableRow, readable: int = 0, cursor: str | None = None) -> ProviderPage:
    items = list(_well("odd", readable).world.runtimes.values())
    return ProviderPage(items, cursor, unreadable, readable=bool(readable) or not unreadable)


async def test_an_unreadable_row_is_a_warning_and_the_others_are_listed() -> None:
    page = await Observed((_well(), Odd("odd", _odd(BAD, NAMELESS, readable=1)))).page()
    assert ([runtime.provider for runtime in page.items], page.failures) == (["well", "well", "odd"], [])
    assert list(page.warnings) == [
        ListWarning(
            detail="The provider odd listed a runtime that cannot be read, so it is left out: "
            "/items/1/instance/billed_credits should be `int` and is `str`.",
            pointer="#/items/1/instance/billed_credits",
            provider="odd",
            provider_id="b-1",
        ),
        ListWarning(
            detail="The provider odd listed a runtime that cannot be read, so it is left out: "
            "/items/2 should be `object` and is `int`.",
            pointer="#/items/2",
            provider="odd",
        ),
    ]


async def test_unreadable_rows_are_logged_in_one_line_and_counted() -> None:
    observed = Observed((Odd("odd", _odd(BAD, *[replace(NAMELESS, cause="KeyError in row (x.py:1)")] * 20)),))
    await observed.page()
    (line,) = observed.lines(Event.UNREADABLE_ROWS)
    assert (line["provider"], line["operation"], line["count"], len(line["rows"])) == ("odd", "list", 21, 10)
    assert line["request_id"] == context().request_id
    assert (line["level"], line["rows"][:2]) == (
        "warning",
        [
            {"id": "b-1", "pointer": BAD.pointer, "problem": BAD.problem, "cause": None},
            {"id": None, "pointer": "#/items/2", "problem": NAMELESS.problem, "cause": "KeyError in row (x.py:1)"},
        ],
    )
    assert observed.counted("odd") == 21


@pytest.mark.parametrize(("rows", "named", "more"), [(100, 100, 0), (101, 99, 2), (5000, 99, 4901)])
async def test_a_page_has_at_most_a_hundred_warnings(rows: int, named: int, more: int) -> None:
    half = _odd(*[BAD] * (rows - rows // 2), readable=1), _odd(*[BAD] * (rows // 2), readable=1)
    warnings = (await Observed((Odd("a", half[0]), Odd("b", half[1]))).page()).warnings
    assert [warning.pointer for warning in warnings[:named]] == [BAD.pointer] * named
    rest = [(warning.detail, warning.pointer) for warning in warnings[named:]]
    assert rest == ([(f"{more} more runtimes cannot be read, so they are left out.", UNSET)] if more else [])


@pytest.mark.parametrize("partial", [True, False])
async def test_an_unreadable_row_beside_a_readable_one_does_not_make_a_page_incomplete(partial: bool) -> None:
    observed = Observed((Odd("odd", _odd(BAD, cursor="c"), _odd(readable=1), _odd()),))
    query = replace(EVERYTHING, limit=1, partial=partial)
    first = await observed.page(query)
    assert (first.items, first.failures, len(first.warnings)) == ([], [], 1)
    last = await observed.page(replace(query, cursor=first.next_cursor))
    assert (len(last.items), last.failures, last.warnings, last.next_cursor) == (1, [], [], None)


async def test_a_provider_without_readable_rows_is_incomplete_at_the_end_of_its_list() -> None:
    observed = Observed((_well(), Odd("odd", _odd(BAD, cursor="c"), _odd(NAMELESS))))
    first = await observed.page()
    assert (len(first.items), first.failures, len(first.warnings)) == (2, [], 1)
    last = await observed.page(replace(EVERYTHING, cursor=first.next_cursor))
    ((name, error),) = last.failures
    assert (name, type(error), len(last.warnings), last.next_cursor) == ("odd", ProviderBadResponse, 1, None)


async def test_a_list_of_unreadable_rows_only_has_warnings() -> None:
    page = await Observed((Odd("odd", _odd(BAD)),)).page()
    assert (page.items, [name for name, _ in page.failures], len(page.warnings)) == ([], ["odd"], 1)


async def test_without_partial_a_provider_without_readable_rows_fails_the_list() -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        await Observed((_well(), Odd("odd", _odd(BAD)))).page(replace(EVERYTHING, partial=False))
    assert [name for name, _ in caught.value.extra["incomplete"]] == ["odd"]


MISTAKE = TypeError("a value that must not be logged: hunter2")


async def test_a_bug_in_one_adapter_affects_only_its_provider_and_is_logged() -> None:
    observed = Observed((_well(), Odd("odd", MISTAKE)))
    page = await observed.page()
    ((name, error),) = page.failures
    assert (len(page.items), name, type(error), error.provider) == (2, "odd", InternalError, "odd")
    assert "hunter2" not in str(error)
    (line,) = observed.lines(Event.UNEXPECTED_ERROR)
    assert (line["provider"], line["operation"], line["error"]) == ("odd", "list", "TypeError")
    assert line["request_id"] == context().request_id
    assert "in list\n" in line["exception"]


async def test_a_provider_whose_adapter_has_a_bug_is_finished_after_two_failures() -> None:
    observed = Observed((Odd("odd", MISTAKE, MISTAKE), _well(count=4)))
    query, pages = replace(EVERYTHING, limit=2), []
    while query.cursor is not None or not pages:
        pages.append(await observed.page(query))
        query = replace(query, cursor=pages[-1].next_cursor)
    assert [len(page.failures) for page in pages] == [1, 1, 0][: len(pages)]
    assert sum(len(page.items) for page in pages) == 4


async def test_a_list_is_unavailable_if_all_adapters_have_bugs() -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        await Observed((Odd("odd", MISTAKE),)).page()
    assert [type(error) for _, error in caught.value.extra["incomplete"]] == [InternalError]


async def test_a_bug_in_parse_scope_affects_only_its_provider() -> None:
    class Scopes(DurableLike):
        def parse_scope(self, scope: str) -> str:
            raise KeyError(scope)

    observed = Observed((_well(), Scopes("odd")))
    page = await observed.page(replace(EVERYTHING, scopes=frozenset({"home"})))
    assert (len(page.items), [(name, type(error)) for name, error in page.failures]) == (2, [("odd", InternalError)])
    with pytest.raises(ProviderUnavailable):
        await Observed((Scopes("odd"),)).page(replace(EVERYTHING, scopes=frozenset({"home"})))


async def test_a_bug_while_specs_are_filled_in_affects_only_its_provider() -> None:
    class Broken:
        def fill_all(self, adapter: Any, rows: Any) -> Any:
            if adapter.name == "odd":
                raise MISTAKE
            return rows

    observed = Observed((_well(), _well("odd")))
    page = await ListService(observed.fleet(), Broken()).page(EVERYTHING, context())  # type: ignore[arg-type]
    assert (len(page.items), [name for name, _ in page.failures]) == (2, ["odd"])


async def test_a_call_with_readable_lists_logs_nothing() -> None:
    observed = Observed((_well(),))
    await observed.page()
    assert (observed.log.getvalue(), observed.counted("well")) == ("", None)


async def test_unreadable_rows_are_logged_also_if_the_operation_fails() -> None:
    """A look-up that an unreadable row makes ambiguous raises."""
    observed = Observed((_well(),))
    fleet = observed.fleet()
    (provider,) = fleet

    async def look() -> None:
        async with fleet.call_scope(provider, Operation.LIST, context()) as call:
            call.note_unreadable([BAD])
            raise ProviderBadResponse("unclear")

    with pytest.raises(ProviderBadResponse):
        await look()
    assert len(observed.lines(Event.UNREADABLE_ROWS)) == 1
