"""A cache of reads: single runtimes and the first page of lists, for about a second.

Only responses shown to callers come from here. Reads that decide something (the look-up before a verb, the choice of a
provider, the comparison of an ``If-Match``, settling a create) always ask the provider.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.api.cache.entries import EncodedResponse, Key, Stored, StoredReads
from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.domain.ids import RuntimeRef
from gateway.services.fleet import Fleet

__all__ = ["CacheDirectives", "EncodedResponse", "Key", "Read", "ReadCache", "Result", "Served"]

Read = Callable[[], Awaitable[EncodedResponse]]
"""Asks the providers. Raises :class:`GatewayError`."""

_GONE: Final = (errors.NotFound, errors.RuntimeReplaced, errors.PermissionDenied, errors.ProviderCredentialsRejected)
"""After these errors, an earlier response must not be used any more."""

_DOWN: Final = (
    errors.ProviderUnavailable,
    errors.ProviderTimeout,
    errors.ProviderError,
    errors.ProviderBadResponse,
    errors.CapacityExceeded,
    errors.Overloaded,
)


_MAX_WAITING_LISTS: Final = 256
"""Lists that may wait for the result of the same list. They cannot be counted per provider, hence a limit here."""


class Result(StrEnum):
    """The result of a read, for metrics and logs."""

    HIT = "hit"
    MISS = "miss"
    COLLAPSED = "collapsed"  # shared the response of another read in flight
    STALE = "stale"  # the provider failed, and an older response was used
    BYPASS = "bypass"  # the caller asked for a new response


class Forward(StrEnum):
    """Why a provider was asked, in the directives of RFC 9211."""

    URI_MISS = "uri-miss"
    STALE = "stale"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class CacheDirectives:
    """What the caller accepts: ``max_age`` is the maximum age of a response in seconds (None: any stored one; negative:
    only a new one), ``store`` whether a new response may be stored."""

    max_age: float | None = None
    store: bool = True

    def accept(self, age: float) -> bool:
        return self.max_age is None or age <= self.max_age


ANY: Final = CacheDirectives()


class Served(NamedTuple):
    """A response and its origin. ``age`` and ``ttl`` (the rest of its freshness) are seconds; ``age`` None: a new
    one. ``error`` is why a stale one was used."""

    response: EncodedResponse
    result: Result
    forward: Forward | None = None
    age: float | None = None
    ttl: float | None = None
    stored: bool = False
    error: GatewayError | None = None


_Outcome = EncodedResponse | GatewayError | None


@dataclass(slots=True, eq=False, repr=False)
class _Flight:
    """A read in flight, and the futures of its waiters, the caller that started it included. It ends with its last
    waiter. ``outdated``: something was written since it started. ``bug`` is an exception that is not shared."""

    outdated: bool = False
    stored: Stored | None = None
    bug: Exception | None = None
    reading: asyncio.Task[None] | None = None
    waiting: set[asyncio.Future[_Outcome]] = field(default_factory=set)

    def land(self, outcome: _Outcome) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(outcome)


class ReadCache:
    """Stores responses per principal. A response is fresh for ``ttl`` seconds, and for ``stale_if_error`` seconds after
    that it is used if the provider fails (0: never).

    The gateway's own writes invalidate it (:meth:`written`, which the fleet calls); a write made elsewhere becomes
    visible when ``ttl`` is over.
    """

    def __init__(self, fleet: Fleet, *, ttl: float, stale_if_error: float, max_entries: int, max_bytes: int) -> None:
        fleet.on_write.append(self.written)
        self._now = fleet.clock.monotonic
        self._ttl = ttl
        self._longest = ttl + stale_if_error
        self._kept = StoredReads(max_entries, max_bytes)
        self._flights: dict[Key, _Flight] = {}
        self._rounds: dict[str | None, int] = {}
        self._lists_waiting = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> float:
        return self._kept.currsize

    def fresh(self, key: Key, directives: CacheDirectives = ANY) -> Served | None:
        """The stored response to a read if it is fresh and young enough for the caller; else None."""
        stored = self._kept.get(key)
        if stored is None:
            return None
        age = self._now() - stored.since
        if not self._is_fresh(key, stored, age) or not directives.accept(age):
            return None
        return Served(stored.response, Result.HIT, None, age, self._ttl - age)

    async def read(self, key: Key, ask: Read, directives: CacheDirectives = ANY) -> Served:
        """The response to a read that is not fresh in the cache: from the same read in flight, or from ``ask``, which
        has the full deadline of its operation; or an older response if the provider fails.

        A shared read has the same outcome for all waiters. It does not depend on the caller that started it: it is
        cancelled when all its waiters were. Raises what ``ask`` raises.
        """
        stored = self._kept.get(key)
        forward = Forward.URI_MISS
        if stored is not None:
            age = self._now() - stored.since
            forward = Forward.REQUEST if self._is_fresh(key, stored, age) else Forward.STALE
        result = Result.BYPASS if forward is Forward.REQUEST else Result.MISS
        outcome: _Outcome = None
        kept: Stored | None = None
        if directives.max_age is None and directives.store:
            while outcome is None and (flight := self._flight_to_share(key)) is not None:
                outcome, result = await self._share(flight, key), Result.COLLAPSED
        if outcome is None:
            result = Result.MISS if result is Result.COLLAPSED else result
            outcome, kept = await self._ask(key, ask, directives)
        if isinstance(outcome, EncodedResponse):
            ttl = None if kept is None else self._ttl - (self._now() - kept.since)
            return Served(outcome, result, forward, ttl=ttl, stored=kept is not None)
        return self._stale_or_raise(key, directives, forward, outcome)

    def written(self, provider: str, runtime: RuntimeRef | None = None) -> None:
        """Something was, or may have been, written at a provider: to one of its runtimes, or (None) to any of them.

        Removes the responses about a known runtime, and the provider's lists. For None, no stored response of the
        provider is fresh any more. The affected reads in flight are neither stored nor shared with later ones.
        """
        self._kept.forget((provider, None))
        if runtime is None:
            self._rounds[provider] = self._rounds.get(provider, 0) + 1
        else:
            self._kept.forget((provider, runtime))
        for key in [key for key in self._flights if _concerns(key, provider, runtime)]:
            self._flights.pop(key).outdated = True

    def clear(self) -> None:
        """Remove everything, and do not store the reads in flight: the providers were replaced."""
        self._kept.clear()
        for flight in self._flights.values():
            flight.outdated = True
        self._flights.clear()

    def _is_fresh(self, key: Key, stored: Stored, age: float) -> bool:
        return age < self._ttl and stored.round == self._rounds.get(key.provider, 0)

    def _flight_to_share(self, key: Key) -> _Flight | None:
        return None if key.provider is None and self._lists_waiting >= _MAX_WAITING_LISTS else self._flights.get(key)

    async def _share(self, flight: _Flight, key: Key) -> _Outcome:
        if key.provider is not None:
            return await self._landed(flight, key)
        self._lists_waiting += 1
        try:
            return await self._landed(flight, key)
        finally:
            self._lists_waiting -= 1

    async def _landed(self, flight: _Flight, key: Key) -> _Outcome:
        """Wait for the outcome; None for an exception that is not shared. The last waiter that leaves ends the read."""
        future: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        flight.waiting.add(future)
        try:
            return await future
        finally:
            flight.waiting.discard(future)
            if not flight.waiting and flight.reading is not None and not flight.reading.done():
                flight.reading.cancel()
                self._remove(flight, key)

    async def _ask(
        self, key: Key, ask: Read, directives: CacheDirectives
    ) -> tuple[EncodedResponse | GatewayError, Stored | None]:
        flight = _Flight()
        older, self._flights[key] = self._flights.get(key), flight
        if older is not None:
            older.outdated = True
        flight.reading = asyncio.create_task(self._fly(flight, key, ask, store=directives.store))
        outcome = await self._landed(flight, key)
        if outcome is None:
            raise flight.bug or RuntimeError("a read ended without an outcome")
        return outcome, flight.stored

    async def _fly(self, flight: _Flight, key: Key, ask: Read, *, store: bool) -> None:
        since, in_round = self._now(), self._rounds.get(key.provider, 0)
        outcome: _Outcome = None
        try:
            outcome = await ask()
            if outcome.whole and store and not flight.outdated:
                flight.stored = self._kept[key] = Stored(outcome, since, in_round, len(key.query))
        except GatewayError as error:
            outcome = error
        except Exception as bug:  # noqa: BLE001 (raised again to the caller that started the read)
            flight.bug = bug
        finally:
            self._remove(flight, key)
            flight.land(outcome)

    def _remove(self, flight: _Flight, key: Key) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _stale_or_raise(self, key: Key, directives: CacheDirectives, forward: Forward, error: GatewayError) -> Served:
        if isinstance(error, _GONE):
            self._kept.forget_all_about(key)
        stored = self._kept.get(key)
        if stored is not None and is_down(error):
            age = self._now() - stored.since
            if age < self._longest and directives.accept(age):
                return Served(stored.response, Result.STALE, forward, age=age, ttl=self._ttl - age, error=error)
        raise error


def is_down(error: GatewayError) -> bool:
    """Whether an error means that the provider is down: not reachable, or not responding correctly. A refusal (4xx)
    does not. For a list, all providers that failed have to be down."""
    failed = error.extra.get("incomplete")
    if failed:
        return all(is_down(each) for _, each in failed)
    status = error.failure.status if error.failure is not None else None
    return isinstance(error, _DOWN) and not (status is not None and 400 <= status < 500)


def _concerns(key: Key, provider: str, runtime: RuntimeRef | None) -> bool:
    return key.provider is None or (key.provider == provider and runtime in {None, key.runtime})
