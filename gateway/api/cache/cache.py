"""Reads that are answered from memory: a runtime, and the first page of a list, for a second or so.

Only what callers are shown comes from here. Whatever decides something (a verb's look before it acts, the choice of a
provider, the comparison of an ``If-Match``, the reads that settle a create) asks the provider.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.api.cache.entries import Answer, Key, Stored, StoredReads
from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.domain.ids import RuntimeRef
from gateway.services.fleet import Fleet

__all__ = ["Answer", "CacheDirectives", "Key", "Read", "ReadCache", "Result", "Served"]

Read = Callable[[], Awaitable[Answer]]
"""Asks the providers. Raises :class:`GatewayError`."""

_GONE: Final = (
    errors.NotFound,
    errors.RuntimeReplaced,
    errors.PermissionDenied,
    errors.ProviderCredentialsRejected,
)
"""After these, what was read before must not be shown any more."""

_DOWN: Final = (
    errors.ProviderUnavailable,
    errors.ProviderTimeout,
    errors.ProviderError,
    errors.ProviderBadResponse,
    errors.CapacityExceeded,
    errors.Overloaded,
)


_MOST_WAITING: Final = 256
"""How many lists wait at most for the answer of another one: which provider they wait for, nobody can tell."""


class Result(StrEnum):
    """What became of a read, for metrics and logs."""

    HIT = "hit"
    MISS = "miss"
    COLLAPSED = "collapsed"  # shared the answer of another read that was on its way
    STALE = "stale"  # the provider failed, and an older answer was given instead
    BYPASS = "bypass"  # the caller wanted a new one


class Forward(StrEnum):
    """Why a provider was asked, in the words of RFC 9211."""

    URI_MISS = "uri-miss"
    STALE = "stale"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class CacheDirectives:
    """What the caller accepts: an answer of at most so many seconds (None: any that is kept; below zero: only a new
    one), and whether the new one may be kept."""

    max_age: float | None = None
    store: bool = True

    def accept(self, age: float) -> bool:
        """Whether an answer of this age will do."""
        return self.max_age is None or age <= self.max_age


ANY: Final = CacheDirectives()


class Served(NamedTuple):
    """An answer, and where it is from. ``age`` and ``ttl`` (what is left of its freshness) are seconds; ``age`` is None
    for a new one. ``error`` is why a stale one was given."""

    answer: Answer
    result: Result
    forward: Forward | None = None
    age: float | None = None
    ttl: float | None = None
    stored: bool = False
    error: GatewayError | None = None


class _Flight:
    """A read that is on its way, and who waits for it. ``outdated``: something was written meanwhile."""

    __slots__ = ("outdated", "waiting")

    def __init__(self) -> None:
        self.outdated = False
        self.waiting: list[asyncio.Future[Answer | GatewayError | None]] = []

    async def landed(self) -> Answer | GatewayError | None:
        """How it ended; None when it was given up. Who stops waiting disturbs nobody else."""
        future: asyncio.Future[Answer | GatewayError | None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return await future

    def land(self, outcome: Answer | GatewayError | None) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(outcome)


class ReadCache:
    """Keeps answers per principal. An answer is fresh for ``ttl`` seconds, and for ``stale_if_error`` seconds after
    that it is given where the provider fails (0: never).

    The gateway's own writes end that (:meth:`written`, which the fleet calls); one that was made elsewhere is seen when
    the time is over.
    """

    def __init__(self, fleet: Fleet, *, ttl: float, stale_if_error: float, max_entries: int, max_bytes: int) -> None:
        fleet.on_write = self.written
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
        """Bytes that the answers take, about."""
        return self._kept.currsize

    def fresh(self, key: Key, terms: CacheDirectives = ANY) -> Served | None:
        """The answer to a read if it is fresh, and young enough for the caller."""
        stored = self._kept.get(key)
        if stored is None:
            return None
        age = self._now() - stored.since
        if not self._is_fresh(key, stored, age) or not terms.accept(age):
            return None
        return Served(stored.answer, Result.HIT, None, age, self._ttl - age)

    async def read(self, key: Key, ask: Read, terms: CacheDirectives = ANY) -> Served:
        """The answer to a read that is not fresh here: of one that is on its way, or of ``ask``, which has all the time
        of its operation; an older one where the provider fails.

        A read that is shared ends for all as it ends for the first, but for a first one that was given up: then the
        next asks. Raises what ``ask`` raises.
        """
        stored = self._kept.get(key)
        forward = Forward.URI_MISS
        if stored is not None:
            age = self._now() - stored.since
            forward = Forward.REQUEST if self._is_fresh(key, stored, age) else Forward.STALE
        result = Result.BYPASS if forward is Forward.REQUEST else Result.MISS
        outcome: Answer | GatewayError | None = None
        kept: Stored | None = None
        if terms.max_age is None and terms.store:
            while outcome is None and (flight := self._flight_to_share(key)) is not None:
                outcome, result = await self._landed(flight, key), Result.COLLAPSED
        if outcome is None:
            result = Result.MISS if result is Result.COLLAPSED else result
            outcome, kept = await self._ask(key, ask, terms)
        if isinstance(outcome, Answer):
            ttl = None if kept is None else self._ttl - (self._now() - kept.since)
            return Served(outcome, result, forward, ttl=ttl, stored=kept is not None)
        return self._instead(key, terms, forward, outcome)

    def written(self, provider: str, runtime: RuntimeRef | None = None) -> None:
        """Something was written at a provider, or may have been: on one of its runtimes, or (None) on any of them.

        Everything about a known runtime is removed, and so are the lists. Of the others nothing is fresh any more. No
        read that is on its way now is kept, nor shared with one that begins later.
        """
        self._kept.forget((provider, None))
        if runtime is None:
            self._rounds[provider] = self._rounds.get(provider, 0) + 1
        else:
            self._kept.forget((provider, runtime))
        for key in [key for key in self._flights if _concerns(key, provider, runtime)]:
            self._flights.pop(key).outdated = True

    def clear(self) -> None:
        """Forget everything, what is on its way included: the providers are others now."""
        self._kept.clear()
        for flight in self._flights.values():
            flight.outdated = True
        self._flights.clear()

    def _is_fresh(self, key: Key, stored: Stored, age: float) -> bool:
        return age < self._ttl and stored.round == self._rounds.get(key.provider, 0)

    def _flight_to_share(self, key: Key) -> _Flight | None:
        return None if key.provider is None and self._lists_waiting >= _MOST_WAITING else self._flights.get(key)

    async def _landed(self, flight: _Flight, key: Key) -> Answer | GatewayError | None:
        if key.provider is not None:
            return await flight.landed()
        self._lists_waiting += 1
        try:
            return await flight.landed()
        finally:
            self._lists_waiting -= 1

    async def _ask(self, key: Key, ask: Read, terms: CacheDirectives) -> tuple[Answer | GatewayError, Stored | None]:
        flight = _Flight()
        older, self._flights[key] = self._flights.get(key), flight
        if older is not None:
            older.outdated = True
        since, in_round = self._now(), self._rounds.get(key.provider, 0)
        outcome: Answer | GatewayError | None = None
        stored = None
        try:
            outcome = await ask()
            if outcome.whole and terms.store and not flight.outdated:
                stored = Stored(outcome, since, in_round, len(key.query))
                self._kept[key] = stored
        except GatewayError as error:
            outcome = error
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.land(outcome)
        return outcome, stored

    def _instead(self, key: Key, terms: CacheDirectives, forward: Forward, error: GatewayError) -> Served:
        if isinstance(error, _GONE):
            self._kept.forget_all_about(key)
        stored = self._kept.get(key)
        if stored is not None and is_down(error):
            age = self._now() - stored.since
            if age < self._longest and terms.accept(age):
                return Served(stored.answer, Result.STALE, forward, age=age, ttl=self._ttl - age, error=error)
        raise error


def is_down(error: GatewayError) -> bool:
    """Whether an error is the provider's trouble: that it cannot be asked, or does not answer as it should. What it
    refuses (a 4xx) is none. A list is in trouble when every provider that failed it is."""
    failed = error.extra.get("incomplete")
    if failed:
        return all(is_down(each) for _, each in failed)
    status = error.failure.status if error.failure is not None else None
    return isinstance(error, _DOWN) and not (status is not None and 400 <= status < 500)


def _concerns(key: Key, provider: str, runtime: RuntimeRef | None) -> bool:
    return key.provider is None or (key.provider == provider and runtime in {None, key.runtime})
