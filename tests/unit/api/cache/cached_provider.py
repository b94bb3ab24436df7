"""A read cache over a fake provider, for tests."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.api.cache.cache import CacheDirectives, EncodedResponse, Key, ReadCache, Served
from gateway.domain import errors
from gateway.domain.errors import GatewayError, ProviderFailure
from gateway.domain.ids import RuntimeRef
from tests.unit.services.fakes import DurableLike, FakeClock, fleet_of

ANY, NEW = CacheDirectives(), CacheDirectives(max_age=-1)
ONE, TWO = RuntimeRef("home", "1"), RuntimeRef("home", "2")
GET, OTHER = Key(("alice", None, None), "one", ONE), Key("alice", "one", TWO)
LIST = Key(("alice", None, None), query="limit=5")


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


def refused(cls: type[GatewayError] = errors.ProviderUnavailable, status: int | None = None) -> GatewayError:
    return cls("x", failure=ProviderFailure("one", status=status))


class Gate:
    """Blocks reads until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = asyncio.Event()
        self.waiting = 0

    async def __call__(self) -> None:
        self.reached.set()
        self.waiting += 1
        try:
            await self.open.wait()
        finally:
            self.waiting -= 1


async def started(cache: Cache, *reads: Awaitable[Served]) -> list[asyncio.Task[Served]]:
    """The reads as tasks, each run until it blocks."""
    tasks = []
    for read in reads:
        tasks.append(asyncio.ensure_future(read))
        await asyncio.sleep(0)
    assert isinstance(cache.meanwhile, Gate)
    await cache.meanwhile.reached.wait()
    return tasks
