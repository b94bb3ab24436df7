"""Rate limits: the requests of a principal, and those to a provider's account (docs/access.md#limits).

Without shared windows everything is counted in memory, without a wait, and each worker admits its share of a rate. If
they cannot be reached, this process counts alone, and asks for them again after :data:`PAUSE` seconds with one request.
"""

from collections.abc import Awaitable
from hashlib import sha256
from typing import Final

from cachetools import LRUCache

from gateway.domain.access import Rate, Window, rate_limited
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.policies import SharedWindows, SharedWindowsAway
from gateway.telemetry.signals import LimitSignals

PAUSE: Final = 1.0
"""Seconds without a call to shared windows that could not be reached."""

MAX_WINDOWS: Final = 10_000
"""Rates that are counted in memory at the same time; the one that was not used for the longest time is forgotten."""


class LocalWindows:
    """The windows of this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: LRUCache[tuple[str, Rate], Window] = LRUCache(MAX_WINDOWS)

    def take(self, key: str, rate: Rate, *, counts: bool = True) -> tuple[bool, Window]:
        """Count one request if the rate allows it and it ``counts``."""
        now = self._clock.monotonic()
        previous, current, end = self._windows.get((key, rate), (0, 0, now + rate.seconds))
        if now >= end:
            previous = current if now < end + rate.seconds else 0
            current, end = 0, end + rate.seconds if previous else now + rate.seconds
        window = Window(previous, current, end - now)
        if not counts or window.used(rate) >= rate.amount:
            return False, window
        self._windows[key, rate] = Window(previous, current + 1, end)  # here ``left`` is the time of the end
        return True, Window(previous, current + 1, end - now)


class RateLimits:
    """Admits requests. ``shared`` None: every process counts on its own, as one of ``workers``."""

    def __init__(
        self, clock: Clock, observer: LimitSignals, shared: SharedWindows | None = None, workers: int = 1
    ) -> None:
        self._clock = clock
        self._observer = observer
        self._shared = shared
        self._parts = workers if shared is None else 1
        self._local = LocalWindows(clock)
        self._away_until: float | None = None

    def admit(self, ctx: RequestContext, *, counts: bool = True) -> Awaitable[None] | None:
        """Count a request of its caller, and set its rate in the context. Raises :class:`RateLimited`, now or from
        what is returned; None: there is nothing to wait for. A request that does not ``count`` is always admitted."""
        limits = ctx.principal.limits
        if limits is None or limits.requests is None:
            return None
        rate, key = limits.requests.share(self._parts), f"principal/{ctx.principal.name}"
        if self._asks():
            return self._admit_shared(ctx, key, rate, counts=counts)
        self._settle(ctx, rate, *self._take_alone(key, rate, counts=counts), counts=counts)
        return None

    async def charge(self, ctx: RequestContext, provider: str, rate: Rate) -> None:
        """Count a request to a provider's account, once per request of a caller. Raises :class:`RateLimited`."""
        if provider in ctx.charged:
            return
        ctx.charged = (*ctx.charged, provider)
        rate = rate.share(self._parts)
        taken, window = await self._take(f"provider/{provider}", rate, counts=True)
        if not taken:
            ctx.charged = tuple(name for name in ctx.charged if name != provider)
            self._observer.refused("provider_requests")
            raise rate_limited(rate, window, provider=provider)

    async def close(self) -> None:
        """Close the connections to the shared windows."""
        if self._shared is not None:
            await self._shared.close()

    async def _admit_shared(self, ctx: RequestContext, key: str, rate: Rate, *, counts: bool) -> None:
        self._settle(ctx, rate, *await self._take(key, rate, counts=counts), counts=counts)

    async def _take(self, key: str, rate: Rate, *, counts: bool) -> tuple[bool, Window]:
        shared = self._shared if self._asks() else None
        if shared is None:
            return self._take_alone(key, rate, counts=counts)
        if self._away_until is not None:  # one request asks, the others do not wait for its answer
            self._away_until = self._clock.monotonic() + PAUSE
        # A name can be long and contain anything, so the key is its digest.
        digest = sha256(f"{key} {rate.amount}/{rate.seconds}".encode()).hexdigest()
        try:
            taken = await shared.take(digest, rate) if counts else (False, await shared.look(digest, rate))
        except SharedWindowsAway as exc:
            before, self._away_until = self._away_until, self._clock.monotonic() + PAUSE
            if before is None:
                self._observer.shared(str(exc))
            return self._take_alone(key, rate, counts=counts)
        if self._away_until is not None:
            self._away_until = None
            self._observer.shared(None)
        return taken

    def _asks(self) -> bool:
        """Whether the shared windows are to be asked now."""
        if self._shared is None:
            return False
        return self._away_until is None or self._clock.monotonic() >= self._away_until

    def _take_alone(self, key: str, rate: Rate, *, counts: bool) -> tuple[bool, Window]:
        if self._shared is not None:
            self._observer.counted_alone()
        return self._local.take(key, rate, counts=counts)

    def _settle(self, ctx: RequestContext, rate: Rate, taken: bool, window: Window, *, counts: bool) -> None:
        ctx.rate = rate, window
        if counts and not taken:
            self._observer.refused("requests")
            raise rate_limited(rate, window)
