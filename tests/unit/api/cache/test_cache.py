"""The read cache: freshness, invalidation by writes, shared reads in flight, stale responses on failure."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.api.cache.cache import CacheDirectives, EncodedResponse, Forward, Key, ReadCache, Result, Served
from gateway.domain import errors
from gateway.domain.errors import GatewayError, ProviderFailure
from gateway.domain.ids import RuntimeRef
from tests.unit.services.fakes import DurableLike, FakeClock, fleet_of

ANY, NEW = CacheDirectives(), CacheDirectives(max_age=-1)
ONE, TWO = RuntimeRef("home", "1"), RuntimeRef("home", "2")
GET, OTHER = Key("alice", "one", ONE), Key("alice", "one", TWO)
LIST = Key("alice", query="limit=5")


class Cache:
    """A cache over a provider called ``one``, whose responses are numbered."""

    def __init__(self, **options: float) -> None:
        self.clock = FakeClock()
        known = {"ttl": 1, "stale_if_error": 10, "max_entries": 100, "max_bytes": 1 << 20, **options}
        self.fleet = fleet_of([DurableLike("one")], self.clock)
        self.reads = ReadCache(
            self.fleet,
            ttl=known["ttl"],
            stale_if_error=known["stale_if_error"],
            max_entries=int(known["max_entries"]),
            max_bytes=int(known["max_bytes"]),
        )
        self.asked = 0
        self.failure: BaseException | None = None
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.whole = True

    async def ask(self) -> EncodedResponse:
        self.asked += 1
        number = self.asked
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.failure is not None:
            raise self.failure
        return EncodedResponse(f"answer {number}".encode(), f'"{number}"', ("one",), self.whole)

    async def read(self, key: Key = GET, terms: CacheDirectives = ANY) -> Served:
        return self.reads.fresh(key, terms) or await self.reads.read(key, self.ask, terms)


def _refused(cls: type[GatewayError] = errors.ProviderUnavailable, status: int | None = None) -> GatewayError:
    return cls("x", failure=ProviderFailure("one", status=status))


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
        await cache.read(Key("alice", query=f"name={number:08000}"))
    assert len(cache.reads) * 8000 < cache.reads.size <= 1 << 16


async def test_at_most_256_lists_wait_for_another_one() -> None:
    """Otherwise lists of a hanging provider would fill the gateway: the next one asks itself and is refused there."""
    cache, answer = Cache(), asyncio.Event()

    async def when_told() -> None:
        await answer.wait()

    cache.meanwhile = when_told
    tasks = [asyncio.create_task(cache.read(LIST)) for _ in range(258)]
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
    other = await cache.read(key._replace(principal="bob"))
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
    bobs = GET._replace(principal="bob")
    for key in (GET, bobs, OTHER, LIST):
        await cache.read(key)
    cache.reads.written("one", ONE)
    assert [(await cache.read(key)).result for key in (GET, bobs, OTHER, LIST)] == ["miss", "miss", "hit", "miss"]


async def test_a_write_to_an_unknown_runtime_makes_all_of_its_provider_stale() -> None:
    cache = Cache()
    elsewhere = Key("alice", "two", ONE)
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


class Gate:
    """Blocks reads until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.open.wait()


async def _begun(cache: Cache, *reads: Awaitable[Served]) -> list[asyncio.Task[Served]]:
    """The reads as tasks, each run until it blocks."""
    tasks = []
    for read in reads:
        tasks.append(asyncio.ensure_future(read))
        await asyncio.sleep(0)
    assert isinstance(cache.meanwhile, Gate)
    await cache.meanwhile.reached.wait()
    return tasks


async def test_concurrent_reads_of_the_same_share_one_request() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    tasks = await _begun(cache, *(cache.read() for _ in range(3)))
    gate.open.set()
    served = [await task for task in tasks]
    assert [each.result for each in served] == [Result.MISS, Result.COLLAPSED, Result.COLLAPSED]
    assert {each.response.body for each in served} == {b"answer 1"}
    assert cache.asked == 1


async def test_a_read_after_a_write_does_not_share_a_read_from_before_it() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    (early,) = await _begun(cache, cache.read())
    cache.reads.written("one", ONE)
    (late,) = await _begun(cache, cache.read())
    gate.open.set()
    assert ((await early).response.body, (await late).response.body) == (b"answer 1", b"answer 2")
    assert (await cache.read()).response.body == b"answer 2"


async def test_a_new_response_is_not_shared_nor_replaced_by_an_older_read() -> None:
    cache = Cache()
    slow = cache.meanwhile = Gate()
    (early,) = await _begun(cache, cache.read())
    cache.meanwhile = None
    assert (await cache.read(terms=NEW)).response.body == b"answer 2"
    slow.open.set()
    assert (await early).response.body == b"answer 1"
    assert (await cache.read()).response.body == b"answer 2"


async def test_principals_do_not_share_reads_in_flight() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    tasks = await _begun(cache, cache.read(), cache.read(GET._replace(principal="bob")))
    gate.open.set()
    assert [(await task).result for task in tasks] == [Result.MISS, Result.MISS]


async def test_a_cancelled_waiter_does_not_affect_the_others() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    first, leaving, staying = await _begun(cache, *(cache.read() for _ in range(3)))
    leaving.cancel()
    await asyncio.wait([leaving])
    gate.open.set()
    assert ((await first).response, (await staying).result) == ((await staying).response, Result.COLLAPSED)


async def test_when_the_reader_is_cancelled_the_next_waiter_asks() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    first, second, third = await _begun(cache, *(cache.read() for _ in range(3)))
    first.cancel()
    await asyncio.wait([first])
    gate.open.set()
    assert [(await task).result for task in (second, third)] == [Result.MISS, Result.COLLAPSED]
    assert cache.asked == 2


async def test_a_failure_is_shared_and_not_stored() -> None:
    cache = Cache()
    gate, cache.failure = Gate(), _refused(errors.NotFound, 404)
    cache.meanwhile = gate
    tasks = await _begun(cache, cache.read(), cache.read())
    gate.open.set()
    for task in tasks:
        with pytest.raises(errors.NotFound):
            await task
    assert cache.asked == 1
    cache.failure = None
    assert (await cache.read()).response.body == b"answer 2"


async def test_an_unexpected_exception_is_not_shared() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    first, second = await _begun(cache, cache.read(), cache.read())
    cache.failure = RuntimeError("a bug")
    gate.open.set()
    for task in (first, second):
        with pytest.raises(RuntimeError):
            await task
    assert cache.asked == 2


DOWN = [
    _refused(errors.ProviderUnavailable),
    _refused(errors.ProviderUnavailable, 503),
    _refused(errors.ProviderTimeout),
    _refused(errors.ProviderError, 500),
    _refused(errors.ProviderBadResponse, 200),
    errors.Overloaded("too many", provider="one"),
    errors.ProviderUnavailable("x", extra={"incomplete": [("one", _refused(errors.ProviderError, 500))]}),
]
REFUSED = [
    _refused(errors.RateLimited, 429),
    _refused(errors.ValidationFailed, 422),
    _refused(errors.ProviderBadResponse, 404),
    errors.ProviderUnavailable("x", extra={"incomplete": [("one", _refused(errors.RateLimited, 429))]}),
]
GONE = [
    _refused(errors.NotFound, 404),
    _refused(errors.RuntimeReplaced, 200),
    _refused(errors.PermissionDenied, 403),
    _refused(errors.ProviderCredentialsRejected, 401),
]


@pytest.mark.parametrize("failure", DOWN, ids=lambda error: f"{error.code} {error.failure and error.failure.status}")
async def test_while_the_provider_is_down_a_stale_response_is_used(failure: GatewayError) -> None:
    cache = Cache()
    first = await cache.read()
    cache.clock.time += 5
    cache.failure = failure
    served = await cache.read()
    assert (served.response, served.result, served.forward) == (first.response, Result.STALE, Forward.STALE)
    assert (served.age, served.ttl, served.error) == (5, -4, failure)
    cache.clock.time += 6
    with pytest.raises(type(failure)):
        await cache.read()


@pytest.mark.parametrize("failure", REFUSED + GONE, ids=lambda error: f"{error.code} {error.failure is None}")
async def test_a_refusal_of_the_provider_is_raised(failure: GatewayError) -> None:
    cache = Cache()
    await cache.read()
    cache.clock.time += 2
    cache.failure = failure
    with pytest.raises(type(failure)):
        await cache.read()


@pytest.mark.parametrize("failure", GONE, ids=lambda error: error.code)
async def test_a_runtime_that_is_gone_is_removed_for_all_principals(failure: GatewayError) -> None:
    cache = Cache()
    bobs = GET._replace(principal="bob")
    await cache.read()
    await cache.read(bobs)
    cache.clock.time += 2
    for cache.failure in (failure, _refused()):
        with pytest.raises(GatewayError):
            await cache.read()
    with pytest.raises(errors.ProviderUnavailable):
        await cache.read(bobs)


@pytest.mark.parametrize("terms", [NEW, CacheDirectives(max_age=4)])
async def test_a_caller_that_accepts_nothing_stale_gets_the_error(terms: CacheDirectives) -> None:
    cache = Cache()
    await cache.read()
    cache.clock.time += 5
    cache.failure = _refused()
    with pytest.raises(errors.ProviderUnavailable):
        await cache.read(terms=terms)


async def test_after_a_write_to_a_runtime_no_stale_response_is_used() -> None:
    cache = Cache()
    for key in (GET, OTHER, LIST):
        await cache.read(key)
    cache.reads.written("one", ONE)
    cache.failure = _refused()
    for key in (GET, LIST):
        with pytest.raises(errors.ProviderUnavailable):
            await cache.read(key)


async def test_a_write_to_an_unknown_runtime_keeps_stale_responses_usable() -> None:
    cache = Cache()
    await cache.read()
    cache.reads.written("one")
    cache.failure = _refused()
    assert (await cache.read()).result is Result.STALE


async def test_stale_if_error_of_zero_disables_stale_responses() -> None:
    cache = Cache(stale_if_error=0)
    await cache.read()
    cache.clock.time += 1
    cache.failure = _refused()
    with pytest.raises(errors.ProviderUnavailable):
        await cache.read()


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
    (flying,) = await _begun(cache, cache.read(OTHER))
    cache.reads.clear()
    gate.open.set()
    assert (await flying).stored is False
    assert (len(cache.reads), cache.reads.size) == (0, 0)
    cache.reads.written("one", ONE)
