"""Lists of providers that would never end: repeated cursors, repeated rows, empty pages."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from gateway.domain.errors import ProviderBadResponse, ProviderUnavailable
from gateway.domain.list_progress import MAX_EMPTY_PAGES, Progress
from gateway.domain.pages import ListFilter, ProviderPage, ProviderQuery
from gateway.ports.transport import Call
from gateway.services.listing import ListedPage, ListQuery, ListService
from tests.unit.services.fakes import DurableLike, context, fleet_of

EVERYTHING = ListQuery(filter=ListFilter())

Script = Callable[[int], tuple[Sequence[int], str | None]]


class Scripted(DurableLike):
    """Returns the page of the script for each call: the numbers of its runtimes, and the next cursor."""

    script: Script
    count = 0

    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        await self.world.enter("list", call)
        numbers, cursor = self.script(self.count)
        self.count += 1
        rows = [self.put(f"n{number}", provider_id=f"id-{number}") for number in numbers]
        return ProviderPage([row for row in rows if query.filter.accepts(row)], cursor, listed=[*map(str, numbers)])


def _provider(script: Script, name: str = "one") -> Scripted:
    adapter = Scripted(name)
    adapter.script = script
    return adapter


async def _pages(*adapters: DurableLike, query: ListQuery = EVERYTHING, most: int = 400) -> list[ListedPage]:
    pages: list[ListedPage] = []
    for _ in range(most):
        pages.append(await ListService(fleet_of(adapters)).page(query, context()))
        if pages[-1].next_cursor is None:
            return pages
        query = replace(query, cursor=pages[-1].next_cursor)
    raise AssertionError("the list does not end")


CYCLES = [1, 2, 3, 5, 8, 9, 20, 40]


@pytest.mark.parametrize("length", CYCLES)
async def test_cursors_that_cycle_end_the_list(length: int) -> None:
    adapter = _provider(lambda n: ([n], f"cursor-{n % length}"))
    pages = await _pages(adapter)
    assert [(name, type(error)) for name, error in pages[-1].failures] == [("one", ProviderBadResponse)]
    assert "repeats a cursor" in pages[-1].failures[0][1].detail
    assert not any(page.failures for page in pages[:-1])
    assert adapter.count <= 4 * length + 2


@pytest.mark.parametrize("length", CYCLES)
@pytest.mark.parametrize("size", [1, 2, 100])
async def test_rows_that_repeat_under_new_cursors_end_the_list(length: int, size: int) -> None:
    adapter = _provider(lambda n: (range((n % length) * size, (n % length + 1) * size), f"cursor-{n}"))
    pages = await _pages(adapter, query=replace(EVERYTHING, limit=100))
    assert "rows that it listed before" in pages[-1].failures[0][1].detail
    assert adapter.count <= 4 * length + 2


async def test_a_smaller_page_of_known_rows_ends_the_list() -> None:
    pages = await _pages(_provider(lambda n: ([1, 2, 3] if n == 0 else [2], f"cursor-{n}")))
    assert [len(page.items) for page in pages] == [3, 0]
    assert len(pages[-1].failures) == 1


async def test_rows_that_the_filter_excludes_count_as_known() -> None:
    adapter = _provider(lambda n: ([1, 2], f"cursor-{n}"))
    pages = await _pages(adapter, query=replace(EVERYTHING, filter=ListFilter(name="another")))
    assert (adapter.count, len(pages[-1].failures)) == (2, 1)


async def test_empty_pages_without_end_end_the_list() -> None:
    adapter = _provider(lambda n: ([], f"cursor-{n}"))
    pages = await _pages(adapter)
    assert "empty pages" in pages[-1].failures[0][1].detail
    assert adapter.count == MAX_EMPTY_PAGES + 1


async def test_empty_pages_before_the_last_rows_are_followed() -> None:
    adapter = _provider(lambda n: ([1], None) if n == MAX_EMPTY_PAGES else ([], f"cursor-{n}"))
    pages = await _pages(adapter)
    assert [len(pages[-1].items), *(len(page.failures) for page in pages)] == [1, *[0] * len(pages)]


async def test_a_page_that_overlaps_the_page_before_is_no_failure() -> None:
    pages = await _pages(_provider(lambda n: ([n, n + 1], f"cursor-{n}" if n < 50 else None)))
    assert not any(page.failures for page in pages)


async def test_repeated_rows_on_the_last_page_are_no_failure() -> None:
    pages = await _pages(_provider(lambda n: ([1, 2], "cursor" if n == 0 else None)))
    assert not any(page.failures for page in pages)


async def test_a_row_is_returned_once_per_page() -> None:
    (page,) = await _pages(_provider(lambda _: ([3, 1, 3, 2, 1], None)))
    assert [runtime.name for runtime in page.items] == ["n3", "n1", "n2"]


async def test_an_endless_list_does_not_affect_the_other_providers() -> None:
    endless = _provider(lambda n: ([1, 2], f"cursor-{n}"), "endless")
    long = _provider(lambda n: ([n], f"cursor-{n}" if n < 30 else None), "long")
    pages = await _pages(endless, long)
    found = [runtime.name for page in pages for runtime in page.items if runtime.provider == "long"]
    assert len(found) == 31
    assert [name for page in pages for name, _ in page.failures] == ["endless"]


async def test_an_endless_list_is_an_error_where_the_list_must_be_complete() -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        await _pages(_provider(lambda n: ([1], f"cursor-{n}")), query=replace(EVERYTHING, partial=False))
    assert [type(error) for _, error in caught.value.extra["incomplete"]] == [ProviderBadResponse]


@pytest.mark.parametrize("active", [1, 10, 30])
def test_the_digests_in_a_cursor_are_bounded(active: int) -> None:
    progress = Progress()
    for number in range(300):
        page = ProviderPage([], f"cursor-{number}", listed=[f"{number}-{row}" for row in range(100)])
        assert progress.fault(page) is None
        progress.advance(page, active)
        assert (len(progress.cursors) + len(progress.rows)) * active <= 48 * 5 + 96 * 4
