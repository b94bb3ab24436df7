"""Pages that a filter makes short are filled from further pages of the providers; no row is skipped or repeated."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import ProviderError, ProviderFailure
from gateway.domain.pages import ListFilter, ProviderPage, ProviderQuery
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.transport import Call
from gateway.services.listing import ListedPage, ListQuery, ListService
from tests.unit.services.fakes import DurableLike, FakeClock, context, fleet_of

IDLE = ListQuery(filter=ListFilter(states=frozenset({State.IDLE})), limit=2)


class Thin(DurableLike):
    """Filters after paging. A cursor is the id of the last row of the page before."""

    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        self.world.queries.append(query)
        await self.world.enter("list", call)
        rows = list(self.world.runtimes.values())
        if query.cursor is not None:
            rows = [row for row in rows if row.provider_id > query.cursor]
        page, more = rows[: query.limit], len(rows) > query.limit
        found = [row for row in page if query.filter.accepts(row)]
        listed = [row.provider_id for row in page]
        return ProviderPage(found, listed[-1] if more else None, listed=listed)


def _thin(name: str, states: str) -> Thin:
    """A provider with a runtime for each letter: ``i`` idle, ``r`` running."""
    adapter = Thin(name)
    for number, letter in enumerate(states):
        adapter.put(f"n{number}", State.IDLE if letter == "i" else State.RUNNING, provider_id=f"id-{number:05}")
    return adapter


async def _page(query: ListQuery, *adapters: Thin, clock: FakeClock | None = None) -> ListedPage:
    return await ListService(fleet_of(adapters, clock)).page(query, context())


async def _names(query: ListQuery, *adapters: Thin, between: Callable[[], object] = lambda: None) -> list[str]:
    found: list[Runtime] = []
    for _ in range(300):
        page = await _page(query, *adapters)
        assert len(page.items) <= query.limit
        found += page.items
        if page.next_cursor is None:
            return [runtime.name or "" for runtime in found]
        query = replace(query, cursor=page.next_cursor)
        between()
    raise AssertionError("the list does not end")


async def test_a_page_is_filled_from_the_providers_further_pages() -> None:
    page = await _page(IDLE, _thin("one", "r" * 150 + "iiiii"))
    assert [runtime.name for runtime in page.items] == ["n150", "n151"]
    assert page.next_cursor is not None


async def test_a_page_is_filled_by_providers_for_which_the_limit_had_no_room() -> None:
    page = await _page(IDLE, _thin("one", "rr"), _thin("two", "r"), _thin("three", "iiiii"))
    assert [(runtime.provider, runtime.name) for runtime in page.items] == [("three", "n0"), ("three", "n1")]


async def test_what_one_provider_leaves_free_is_filled_by_the_others() -> None:
    page = await _page(replace(IDLE, limit=10), _thin("one", "iri"), _thin("two", "i" * 20))
    assert [runtime.provider for runtime in page.items] == ["one"] * 2 + ["two"] * 8


async def test_a_list_without_a_filter_asks_each_provider_once_per_page() -> None:
    one, two = _thin("one", "iii"), _thin("two", "i" * 20)
    await _page(ListQuery(filter=ListFilter(), limit=10), one, two)
    assert [len(adapter.world.queries) for adapter in (one, two)] == [1, 1]


async def test_a_page_with_the_runtime_of_a_name_is_not_filled() -> None:
    one, two = _thin("one", "i" * 400), _thin("two", "i" * 150)
    named = ListQuery(filter=ListFilter(name="n149"))
    page = await _page(named, one, two)
    assert [(runtime.provider, runtime.name) for runtime in page.items] == [("one", "n149"), ("two", "n149")]
    assert len(one.world.queries) == 3
    assert await _names(named, one, two) == ["n149", "n149"]


async def test_the_filling_of_a_page_stops_at_half_of_the_deadline() -> None:
    adapter, clock = _thin("one", "r" * 2000), FakeClock()

    async def takes_long() -> None:
        clock.time += 2

    adapter.world.before["list"] = takes_long
    page = await _page(IDLE, adapter, clock=clock)
    assert (page.items, page.failures, len(adapter.world.queries)) == ([], [], 3)
    assert page.next_cursor is not None


async def test_the_filling_of_a_page_stops_after_a_number_of_pages_of_a_provider() -> None:
    adapter = _thin("one", "r" * 10_000)
    page = await _page(IDLE, adapter)
    assert (page.items, page.failures, len(adapter.world.queries)) == ([], [], 20)
    assert page.next_cursor is not None


async def test_a_provider_that_fails_while_a_page_is_filled_keeps_the_rows_found_and_its_place() -> None:
    adapter = _thin("one", "i" + "r" * 120 + "ii")
    failure = ProviderError("It is down.", failure=ProviderFailure("one"))

    async def fail_the_third() -> None:
        if len(adapter.world.queries) == 3:
            raise failure

    adapter.world.before["list"] = fail_the_third
    page = await _page(replace(IDLE, limit=3), adapter)
    assert ([runtime.name for runtime in page.items], page.failures) == (["n0"], [("one", failure)])
    following = await _page(replace(IDLE, limit=3, cursor=page.next_cursor), adapter)
    assert [runtime.name for runtime in following.items] == ["n121", "n122"]


@pytest.mark.parametrize("gone", ["stopped fitting", "deleted"])
async def test_no_row_is_skipped_when_rows_before_it_are_gone_between_two_pages(gone: str) -> None:
    adapter = _thin("one", "rr" + "ii" * 20)
    returned = iter(range(2, 40))

    def change() -> None:
        number = next(returned)
        if gone == "deleted":
            adapter.world.runtimes.pop(f"id-{number:05}")
        else:
            adapter.move(f"id-{number:05}", State.RUNNING)

    assert await _names(IDLE, adapter, between=change) == [f"n{number}" for number in range(2, 42)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("ir", max_size=40), min_size=1, max_size=4),
    st.integers(1, 7),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 39), st.sampled_from("ird")), max_size=12),
)
async def test_what_fits_throughout_is_listed_once(
    states: list[str], limit: int, changes: list[tuple[int, int, str]]
) -> None:
    adapters = [_thin(f"p{number}", text) for number, text in enumerate(states)]
    touched, waiting = set[tuple[int, int]](), iter(changes)

    def change() -> None:
        for provider, number, to in waiting:
            runtimes = adapters[provider].world.runtimes if provider < len(adapters) else {}
            if f"id-{number:05}" in runtimes:
                touched.add((provider, number))
                if to == "d":
                    runtimes.pop(f"id-{number:05}")
                else:
                    adapters[provider].move(f"id-{number:05}", State.IDLE if to == "i" else State.RUNNING)
            return

    found: list[tuple[int, int]] = []
    query: ListQuery | None = replace(IDLE, limit=limit)
    while query is not None:
        page = await _page(query, *adapters)
        found += [(int(row.provider[1:]), int((row.name or "")[1:])) for row in page.items]
        query = None if page.next_cursor is None else replace(query, cursor=page.next_cursor)
        change()
    untouched = [at for at in found if at not in touched]
    assert sorted(untouched) == sorted(
        (provider, number)
        for provider, text in enumerate(states)
        for number, letter in enumerate(text)
        if letter == "i" and (provider, number) not in touched
    )
    assert len(found) == len(set(found))
