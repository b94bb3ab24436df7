"""One list over all providers: complete, each runtime once, and it ends also if providers fail."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.domain.errors import (
    InvalidRequest,
    ProviderBadResponse,
    ProviderError,
    ProviderFailure,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
)
from gateway.domain.pages import ListFilter, ProviderPage, ProviderQuery
from gateway.domain.values import Operation, State
from gateway.ports.transport import Call, Phase, TransportFailure
from gateway.services.listing import ListedPage, ListQuery, ListService
from tests.unit.services.fakes import BrowserLike, DurableLike, FakeAdapter, context, fleet_of

EVERYTHING = ListQuery(filter=ListFilter())
HANGS = TransportFailure("timeout", Phase.SENT, operation=Operation.LIST)
REFUSES = TransportFailure("refused", Phase.CONNECTING, operation=Operation.LIST)


def _fill(adapter: FakeAdapter, count: int, **fields: Any) -> FakeAdapter:
    for number in range(count):
        adapter.put(f"n{number}", created_at=f"2026-03-01T10:00:{number:02}Z", **fields)
    return adapter


async def _pages(query: ListQuery, *adapters: FakeAdapter, most: int = 100) -> list[ListedPage]:
    """All pages, each from another replica."""
    pages: list[ListedPage] = []
    while len(pages) < most:
        pages.append(await ListService(fleet_of(adapters)).page(query, context()))
        if pages[-1].next_cursor is None:
            return pages
        query = replace(query, cursor=pages[-1].next_cursor)
    raise AssertionError("the list does not end")


def _ids(pages: list[ListedPage]) -> list[str]:
    return [runtime.id for page in pages for runtime in page.items]


async def test_the_pages_contain_every_runtime_once_in_provider_order() -> None:
    one, two = _fill(DurableLike("one"), 7), _fill(BrowserLike("two"), 3)
    pages = await _pages(replace(EVERYTHING, limit=4), one, two)
    assert sorted(_ids(pages)) == sorted(r.id for a in (one, two) for r in a.world.runtimes.values())
    for page in pages:
        providers = [runtime.provider for runtime in page.items]
        assert providers == sorted(providers)


async def test_finished_providers_leave_their_share_to_the_others() -> None:
    one, two, three = (_fill(DurableLike(name), count) for name, count in (("one", 9), ("two", 2), ("three", 9)))
    await _pages(replace(EVERYTHING, limit=8), one, two, three)
    assert [query.limit for query in one.world.queries] == [3, 4, 4]
    assert [query.limit for query in two.world.queries] == [3]
    assert [query.limit for query in three.world.queries] == [2, 4, 4]


async def test_a_limit_below_the_number_of_providers_queries_them_one_after_another() -> None:
    adapters = [_fill(DurableLike(name), 2) for name in ("one", "two", "three")]
    pages = await _pages(replace(EVERYTHING, limit=1), *adapters)
    assert all(len(page.items) <= 1 for page in pages)
    assert len(_ids(pages)) == len(set(_ids(pages))) == 6


async def test_rows_beyond_the_limit_are_on_the_next_pages() -> None:
    class Generous(DurableLike):
        async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
            return await super().list(structs.replace(query, limit=5), call)

    adapter = _fill(Generous("one"), 9)
    pages = await _pages(replace(EVERYTHING, limit=2), adapter)
    assert [len(page.items) for page in pages] == [2, 2, 1, 2, 2]
    assert _ids(pages) == [runtime.id for runtime in adapter.world.runtimes.values()]


async def test_providers_are_queried_concurrently() -> None:
    one, two = DurableLike("one"), DurableLike("two")
    both = asyncio.Barrier(2)

    async def meet() -> None:
        await both.wait()

    one.world.before["list"] = two.world.before["list"] = meet
    await asyncio.wait_for(_pages(EVERYTHING, one, two), timeout=5)


async def test_each_provider_has_its_own_deadline() -> None:
    one, two = DurableLike("one", deadlines={"list": 0.5}), DurableLike("two")
    await _pages(EVERYTHING, one, two)
    assert [one.world.calls[0].deadline, two.world.calls[0].deadline] == [1_000.5, 1_010.0]


async def test_the_limit_may_change_between_pages() -> None:
    one, two = _fill(DurableLike("one"), 12), _fill(DurableLike("two"), 5)
    query, seen = EVERYTHING, []
    for limit in (3, 1, 7, 2, 100):
        page = await ListService(fleet_of([one, two])).page(replace(query, limit=limit), context())
        seen += [runtime.id for runtime in page.items]
        query = replace(query, cursor=page.next_cursor)
    assert query.cursor is None
    assert len(seen) == len(set(seen)) == 17


FIRST = replace(EVERYTHING, limit=1)


async def _cursor(query: ListQuery = FIRST) -> str:
    page = await ListService(fleet_of([_fill(DurableLike("one"), 3)])).page(query, context())
    assert page.next_cursor is not None
    return page.next_cursor


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRST, filter=ListFilter(kinds=frozenset({"durable"}))),
        replace(FIRST, filter=ListFilter(states=frozenset({State.IDLE}))),
        replace(FIRST, filter=ListFilter(name="n1")),
        replace(FIRST, filter=ListFilter(project="p")),
        replace(FIRST, owner="me"),
        replace(FIRST, providers=frozenset({"one"})),
        replace(FIRST, scopes=frozenset({"home"})),
    ],
)
async def test_a_cursor_with_other_filters_is_refused(other: ListQuery) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await ListService(fleet_of([DurableLike("one")])).page(replace(other, cursor=await _cursor()), context())
    assert [fault.parameter for fault in caught.value.errors] == ["cursor"]


async def test_the_order_in_which_filters_are_given_does_not_matter() -> None:
    states = [State.IDLE, State.RUNNING, State.PAUSED, State.STOPPED]
    cursor = await _cursor(replace(FIRST, filter=ListFilter(states=frozenset(states))))
    again = replace(FIRST, filter=ListFilter(states=frozenset(reversed(states))), cursor=cursor)
    await ListService(fleet_of([DurableLike("one")])).page(again, context())


async def test_partial_may_change_between_pages() -> None:
    query = replace(FIRST, cursor=await _cursor(), partial=False)
    assert (await ListService(fleet_of([_fill(DurableLike("one"), 3)])).page(query, context())).items


async def _refused(cursor: str) -> bool:
    adapter = DurableLike("one")
    try:
        await ListService(fleet_of([adapter])).page(replace(FIRST, cursor=cursor), context())
    except InvalidRequest:
        return not adapter.world.asked
    return False


async def test_a_cursor_with_any_character_changed_is_refused_without_a_call() -> None:
    cursor = await _cursor()
    for place in range(len(cursor)):
        for other in {"A", "z", "-", "=", "é", "\0"} - {cursor[place]}:
            assert await _refused(cursor[:place] + other + cursor[place + 1 :]), (place, other)
        assert await _refused(cursor[:place] + cursor[place + 1 :])
    assert await _refused(cursor + "A")
    assert not await _refused(cursor)


@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_-]{1,80}", fullmatch=True))
def test_an_invented_cursor_is_refused(cursor: str) -> None:
    assert asyncio.run(_refused(cursor))


async def test_a_failing_provider_is_queried_twice_and_then_finished() -> None:
    well, sick = _fill(DurableLike("well"), 5), _fill(DurableLike("sick"), 5)
    sick.world.fail("list", HANGS, REFUSES)
    pages = await _pages(replace(EVERYTHING, limit=4), well, sick)
    assert [[name for name, _ in page.failures] for page in pages[:2]] == [["sick"], ["sick"]]
    assert [type(error) for page in pages for _, error in page.failures] == [ProviderTimeout, ProviderUnavailable]
    assert sick.world.asked == ["list", "list"]
    assert _ids(pages) == [runtime.id for runtime in well.world.runtimes.values()]


async def test_a_provider_that_recovers_continues_at_its_cursor() -> None:
    well, sick = _fill(DurableLike("well"), 9), _fill(DurableLike("sick"), 4)
    sick.world.fail("list", None, HANGS, None, HANGS, None, HANGS)
    pages = await _pages(replace(EVERYTHING, limit=2), well, sick)
    assert len(_ids(pages)) == len(set(_ids(pages))) == 13


async def test_only_consecutive_failures_finish_a_provider() -> None:
    well, sick = _fill(DurableLike("well"), 1), _fill(DurableLike("sick"), 3)
    sick.world.fail("list", HANGS, None, HANGS, None, HANGS, None)
    pages = await _pages(replace(EVERYTHING, limit=2), well, sick)
    assert len(_ids(pages)) == 4


async def test_the_list_fails_with_all_errors_if_all_providers_fail() -> None:
    one, two = DurableLike("one"), DurableLike("two")
    one.world.fail("list", RateLimited("slow", retry_after=7, failure=ProviderFailure("one", status=429)))
    two.world.fail("list", RateLimited("slow", retry_after=3, failure=ProviderFailure("two", status=429)))
    with pytest.raises(ProviderUnavailable) as caught:
        await _pages(EVERYTHING, one, two)
    assert caught.value.retry_after == 3
    assert [(name, type(error)) for name, error in caught.value.extra["incomplete"]] == [
        ("one", RateLimited),
        ("two", RateLimited),
    ]


async def test_failures_on_later_pages_still_end_the_list() -> None:
    well, sick = _fill(DurableLike("well"), 1), _fill(DurableLike("sick"), 4)
    sick.world.fail("list", None, HANGS, HANGS)
    pages = await _pages(replace(EVERYTHING, limit=4), well, sick)
    assert [len(page.items) for page in pages] == [3, 0, 0]


async def test_partial_deny_fails_as_soon_as_one_fails() -> None:
    well, sick = _fill(DurableLike("well"), 5), DurableLike("sick")
    sick.world.fail("list", ProviderError("x", failure=ProviderFailure("sick", status=500)))
    with pytest.raises(ProviderUnavailable) as caught:
        await _pages(replace(EVERYTHING, partial=False), well, sick)
    assert [name for name, _ in caught.value.extra["incomplete"]] == ["sick"]
    assert len(_ids(await _pages(replace(EVERYTHING, partial=False), well, sick))) == 5


async def test_an_open_provider_without_a_scope_is_reported_once_and_not_called() -> None:
    pinned, open_ = _fill(DurableLike("pinned"), 5), DurableLike("open", scope=None)
    pages = await _pages(replace(EVERYTHING, limit=4), pinned, open_)
    reported = [(name, error.errors[0].parameter) for page in pages for name, error in page.failures]
    assert reported == [("open", "scope")]
    assert open_.world.asked == []
    assert len(_ids(pages)) == 5


@pytest.mark.parametrize(
    ("query", "adapters"),
    [
        (EVERYTHING, [DurableLike("open", scope=None), DurableLike("wide", scope=None)]),
        (replace(EVERYTHING, partial=False), [DurableLike("pinned"), DurableLike("open", scope=None)]),
    ],
    ids=["all are open", "partial=deny"],
)
async def test_a_missing_scope_alone_is_a_client_error(query: ListQuery, adapters: list[FakeAdapter]) -> None:
    """No provider has failed, so a retry would not help."""
    with pytest.raises(InvalidRequest) as caught:
        await _pages(query, *adapters)
    assert [fault.parameter for fault in caught.value.errors] == ["scope"]


async def test_scopes_select_pinned_providers_and_scopes_of_open_ones() -> None:
    home, other, open_ = (
        _fill(DurableLike("home"), 1),
        _fill(DurableLike("other", scope="away"), 1),
        DurableLike("open", scope=None),
    )
    for scope in ("home", "far", "unasked"):
        open_.put("x", scope=scope)
    query = replace(EVERYTHING, scopes=frozenset({"home", "far", "not/a/scope/of/this/api"}))
    pages = await _pages(query, home, other, open_)
    assert sorted(runtime.scope for page in pages for runtime in page.items if runtime.provider == "open") == [
        "far",
        "home",
    ]
    assert (home.world.asked, other.world.asked) == (["list"], [])


async def test_a_scope_in_two_spellings_is_listed_once() -> None:
    open_ = DurableLike("open", scope=None)
    open_.put("x", scope="far")
    pages = await _pages(replace(EVERYTHING, scopes=frozenset({"far", "FAR"})), open_)
    assert len(_ids(pages)) == 1


async def test_kinds_and_providers_restrict_the_queried_providers() -> None:
    one, two = _fill(DurableLike("one"), 1), _fill(BrowserLike("two"), 1)
    await _pages(replace(EVERYTHING, filter=ListFilter(kinds=frozenset({"browser"}))), one, two)
    assert (one.world.asked, two.world.asked) == ([], ["list"])
    await _pages(replace(EVERYTHING, providers=frozenset({"one"})), one, two)
    assert (one.world.asked, two.world.asked) == (["list"], ["list"])


async def test_a_list_without_providers_is_empty() -> None:
    (page,) = await _pages(replace(EVERYTHING, filter=ListFilter(kinds=frozenset({"desktop"}))), DurableLike("one"))
    assert (page.items, page.failures) == ([], [])


async def test_an_unknown_provider_is_the_callers_fault() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await _pages(replace(EVERYTHING, providers=frozenset({"one", "gone"})), DurableLike("one"))
    assert [fault.parameter for fault in caught.value.errors] == ["provider"]


class LongCursors(DurableLike):
    length = 2001

    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        page = await super().list(structs.replace(query, cursor=(query.cursor or "").strip() or None), call)
        cursor = page.next_cursor
        return page if cursor is None else ProviderPage(page.items, cursor.ljust(self.length))


async def test_a_provider_cursor_that_is_too_long_is_a_failure_of_the_provider() -> None:
    well, wordy = _fill(DurableLike("well"), 3), _fill(LongCursors("wordy"), 3)
    pages = await _pages(replace(EVERYTHING, limit=2), well, wordy)
    assert {type(error) for page in pages for _, error in page.failures} == {ProviderBadResponse}
    assert len(_ids(pages)) == 3


async def test_a_returned_cursor_is_always_accepted_or_the_list_is_refused() -> None:
    class Wordy(LongCursors):
        length = 1900

    two = [_fill(Wordy(name), 3) for name in ("a", "b")]
    assert len(_ids(await _pages(replace(EVERYTHING, limit=2), *two))) == 6
    many = [_fill(Wordy(name), 3) for name in ("a", "b", "c", "d")]
    with pytest.raises(InvalidRequest) as caught:
        await _pages(replace(EVERYTHING, limit=4), *many)
    assert [fault.parameter for fault in caught.value.errors] == ["scope"]


FAILURES = st.sampled_from([None, HANGS, REFUSES, RateLimited("x"), ProviderBadResponse("x")])


@settings(max_examples=150, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    failures=st.lists(st.lists(FAILURES, max_size=8), max_size=4),
    limits=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    comings=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.booleans()), max_size=12),
)
def test_paging_ends_with_each_runtime_of_healthy_providers_once(
    counts: list[int], failures: list[list[Any]], limits: list[int], comings: list[tuple[int, int, bool]]
) -> None:
    adapters = [_fill(DurableLike(f"p{number}"), count) for number, count in enumerate(counts)]
    lasting = {runtime.id for adapter in adapters for runtime in adapter.world.runtimes.values()}
    for adapter, script in zip(adapters, failures, strict=False):
        adapter.world.fail("list", *script)

    async def loop() -> tuple[list[str], set[str]]:
        query, seen, sick = EVERYTHING, [], set()
        for number in range(200):
            asked = replace(query, limit=limits[number % len(limits)])
            try:
                page = await ListService(fleet_of(adapters)).page(asked, context())
            except ProviderUnavailable:
                assert query.cursor is None, "only a first page fails as a whole"
                sick |= {adapter.name for adapter in adapters if adapter.world.failures}
                continue
            seen += [runtime.id for runtime in page.items]
            sick |= {name for name, _ in page.failures}
            for where, second, comes in comings[number : number + 1]:
                world, key = adapters[where % len(adapters)], f"passing-{second}"
                if comes:
                    world.put("passing", provider_id=key, created_at=f"2026-03-01T10:00:{second:02}.5Z")
                else:
                    world.world.runtimes.pop(key, None)
            if page.next_cursor is None:
                return seen, sick
            query = replace(query, cursor=page.next_cursor)
        raise AssertionError("the loop does not end")

    seen, sick = asyncio.run(loop())
    stayed = {identity for identity in lasting if identity.partition(".")[0] not in sick}
    assert stayed <= set(seen)
    assert all(seen.count(identity) == 1 for identity in set(seen) & lasting)
