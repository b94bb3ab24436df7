"""The read cache: freshness, limits, and invalidation by writes."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.api.cache.cache import CacheDirectives, EncodedResponse, Forward, Key, Result
from gateway.domain.ids import RuntimeRef
from tests.unit.api.cache.cached_provider import GET, LIST, NEW, ONE, OTHER, TWO, Cache, Gate, started


async def test_a_read_is_answered_from_the_cache_until_its_ttl_is_over() -> None:
    cache = Cache()
    first = await cache.read()
    assert (first.result, first.forward, first.stored, first.ttl) == (Result.MISS, Forward.URI_MISS, True, 1)
    cache.clock.time += 0.75
    again = await cache.read()
    assert (again.response, again.result, again.age, again.ttl) == (first.response, Result.HIT, 0.75, 0.25)
    cache.clock.time += 0.25
    later = await cache.read()
    assert (later.result, later.forward, later.response.body, cache.asked) == (
        Result.MISS,
        Forward.STALE,
        b"answer 2",
        2,
    )


async def test_long_queries_count_towards_the_size() -> None:
    cache = Cache(max_bytes=1 << 16)
    for number in range(100):
        await cache.read(Key(("alice", None, None), query=f"name={number:08000}"))
    assert len(cache.reads) * 8000 < cache.reads.size <= 1 << 16


async def test_at_most_256_lists_wait_for_another_one() -> None:
    """Otherwise lists of a hanging provider would fill the gateway: the next one asks itself and is refused there."""
    cache, answer = Cache(), asyncio.Event()

    async def when_told() -> None:
        await answer.wait()

    cache.meanwhile = when_told
    tasks = [asyncio.create_task(cache.read(LIST)) for _ in range(258)]
    for _ in range(2):
        await asyncio.sleep(0)
    assert cache.asked == 2
    answer.set()
    assert {served.response.body for served in await asyncio.gather(*tasks)} == {b"answer 1", b"answer 2"}
    tasks = [asyncio.create_task(cache.read(GET)) for _ in range(258)]
    await asyncio.gather(*tasks)
    assert cache.asked == 3


async def test_the_age_counts_from_the_start_of_the_read() -> None:
    cache = Cache()

    async def take_long() -> None:
        cache.clock.time += 0.75

    cache.meanwhile = take_long
    first = await cache.read()
    assert first.ttl == 0.25
    assert (await cache.read()).age == 0.75
    cache.clock.time += 0.25
    assert (await cache.read()).result is Result.MISS


@pytest.mark.parametrize("key", [GET, LIST], ids=["get", "list"])
async def test_a_cached_response_is_not_given_to_another_principal(key: Key) -> None:
    cache = Cache()
    await cache.read(key)
    other = await cache.read(key._replace(reader=("bob", None, None)))
    assert (other.result, cache.asked) == (Result.MISS, 2)


async def test_an_incomplete_response_is_not_stored() -> None:
    cache = Cache()
    cache.whole = False
    assert (await cache.read(LIST)).stored is False
    assert (await cache.read(LIST)).result is Result.MISS
    assert len(cache.reads) == 0


async def test_a_new_response_asked_for_by_one_caller_is_shared_with_others() -> None:
    cache = Cache()
    await cache.read()
    new = await cache.read(terms=NEW)
    assert (new.result, new.forward, new.response.body, new.stored) == (
        Result.BYPASS,
        Forward.REQUEST,
        b"answer 2",
        True,
    )
    assert (await cache.read()).response.body == b"answer 2"


async def test_a_caller_with_a_max_age_gets_nothing_older() -> None:
    cache = Cache(ttl=30)
    await cache.read()
    cache.clock.time += 5
    assert (await cache.read(terms=CacheDirectives(max_age=5))).result is Result.HIT
    cache.clock.time += 1
    assert (await cache.read(terms=CacheDirectives(max_age=5))).result is Result.BYPASS


async def test_a_no_store_read_is_not_stored() -> None:
    cache = Cache()
    served = await cache.read(terms=CacheDirectives(max_age=-1, store=False))
    assert (served.stored, len(cache.reads)) == (False, 0)


async def test_a_write_to_a_runtime_removes_it_and_the_lists_for_all_principals() -> None:
    cache = Cache()
    bobs = GET._replace(reader=("bob", None, None))
    for key in (GET, bobs, OTHER, LIST):
        await cache.read(key)
    cache.reads.written("one", ONE)
    assert [(await cache.read(key)).result for key in (GET, bobs, OTHER, LIST)] == ["miss", "miss", "hit", "miss"]


async def test_a_write_to_an_unknown_runtime_makes_all_of_its_provider_stale() -> None:
    cache = Cache()
    elsewhere = Key(("alice", None, None), "two", ONE)
    for key in (GET, OTHER, LIST, elsewhere):
        await cache.read(key)
    cache.reads.written("one")
    assert [(await cache.read(key)).result for key in (GET, OTHER, LIST, elsewhere)] == ["miss", "miss", "miss", "hit"]
    assert [(await cache.read(key)).result for key in (GET, OTHER, LIST)] == ["hit", "hit", "hit"]


@pytest.mark.parametrize("written", [ONE, None], ids=["this runtime", "unknown"])
@pytest.mark.parametrize("key", [GET, LIST], ids=["get", "list"])
async def test_a_read_in_flight_during_a_write_is_not_stored(key: Key, written: RuntimeRef | None) -> None:
    cache = Cache()

    async def write() -> None:
        cache.meanwhile = None
        cache.reads.written("one", written)

    cache.meanwhile = write
    assert (await cache.read(key)).stored is False
    assert (await cache.read(key)).response.body == b"answer 2"


async def test_a_read_in_flight_is_stored_when_something_else_was_written() -> None:
    cache = Cache()

    async def write() -> None:
        cache.reads.written("one", TWO)
        cache.reads.written("two")

    cache.meanwhile = write
    assert (await cache.read()).stored is True


async def test_the_least_recently_used_entries_are_evicted() -> None:
    cache = Cache(max_entries=2)
    for key in (GET, OTHER, GET, LIST):
        await cache.read(key)
    assert len(cache.reads) == 2
    assert [(await cache.read(key)).result for key in (GET, LIST, OTHER)] == ["hit", "hit", "miss"]


async def test_the_total_size_is_bounded_and_an_oversized_response_is_not_stored() -> None:
    cache = Cache(max_bytes=10_000)

    def answers(size: int) -> Callable[[], Awaitable[EncodedResponse]]:
        async def ask() -> EncodedResponse:
            return EncodedResponse(b"x" * size, None, ("one",))

        return ask

    for number in range(20):
        await cache.reads.read(LIST._replace(query=str(number)), answers(1000), CacheDirectives())
        assert 0 < cache.reads.size <= 10_000
    kept = len(cache.reads)
    await cache.reads.read(LIST, answers(10_000), CacheDirectives())
    assert (len(cache.reads), cache.reads.fresh(LIST)) == (kept, None)
    cache.reads.written("one")
    assert (len(cache.reads), cache.reads.size) == (0, 0)


async def test_replaced_providers_start_with_an_empty_cache() -> None:
    cache = Cache()
    for key in (GET, LIST):
        await cache.read(key)
    gate = cache.meanwhile = Gate()
    (flying,) = await started(cache, cache.read(OTHER))
    cache.reads.clear()
    gate.open.set()
    assert (await flying).stored is False
    assert (len(cache.reads), cache.reads.size) == (0, 0)
    cache.reads.written("one", ONE)
