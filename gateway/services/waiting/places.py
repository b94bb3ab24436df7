"""The places of callers that wait: how many there may be, who may keep one, and how all of them are answered."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from gateway.domain.errors import GatewayError, Overloaded, RateLimited, Source
from gateway.ports.clock import Clock

CHECK_EVERY: Final = 2.0
"""Seconds between two checks of the rights of those that wait."""


class Pausing:
    """A pause that another task can end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._woken: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """End the pause, if there is one now."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def pause(self, seconds: float | None = None, *others: asyncio.Future[Any]) -> None:
        """Return when it is woken, after ``seconds``, or when one of the others is done."""
        self._woken = asyncio.get_running_loop().create_future()
        sleeping = [] if seconds is None else [asyncio.create_task(self._clock.sleep(seconds))]
        try:
            await asyncio.wait((self._woken, *sleeping, *others), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in sleeping:
                task.cancel()


class Waiter(Pausing):
    """One place. ``principal`` is the name of the caller. ``check`` raises a :class:`GatewayError` once the caller may
    not wait any longer, which is then ``revoked``; None: nothing is checked. ``work`` continues without the caller and
    keeps the place until it ends. ``waited`` is the sum of the pauses in seconds."""

    def __init__(self, principal: str, check: Callable[[], None] | None, clock: Clock) -> None:
        super().__init__(clock)
        self.principal = principal
        self.check = check
        self.revoked: GatewayError | None = None
        self.work: asyncio.Task[Any] | None = None
        self.waited = 0.0

    def verify(self) -> None:
        """Check whether the caller may still wait, and wake it if not."""
        try:
            if self.check is not None:
                self.check()
        except GatewayError as error:
            self.revoked = error
            self.wake()

    async def pause(self, seconds: float | None = None, *others: asyncio.Future[Any]) -> None:
        began = self._clock.monotonic()
        try:
            await super().pause(seconds, *others)
        finally:
            self.waited += self._clock.monotonic() - began


class Places:
    """At most ``limit`` places. Those of one principal may be at most half of the free ones, so that one caller cannot
    take all of them. ``draining``: the gateway is shutting down, and every waiter is answered now."""

    def __init__(self, limit: int, clock: Clock, on_refused: Callable[[], object] = lambda: None) -> None:
        self.clock = clock
        self.draining = False
        self._limit = limit
        self._on_refused = on_refused
        self._waiters: set[Waiter] = set()
        self._by_principal: dict[str, int] = {}
        self._checking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiters)

    def take(self, principal: str, check: Callable[[], None] | None = None) -> Waiter:
        """A place, until :meth:`leave`. Raises :class:`Overloaded` if all are taken, and :class:`RateLimited` if the
        principal has too many."""
        held, taken = self._by_principal.get(principal, 0), len(self._waiters)
        if taken >= self._limit or held > self._limit - taken:
            self._on_refused()
            if taken >= self._limit:
                detail = f"As many callers as http.max_waiting allows ({self._limit}) are waiting."
                raise Overloaded(detail, retry_after=1.0)
            detail = f"The caller waits in too many of the places that http.max_waiting allows ({self._limit})."
            raise RateLimited(detail, source=Source.GATEWAY, retry_after=1.0)
        waiter = Waiter(principal, check, self.clock)
        self._waiters.add(waiter)
        self._by_principal[principal] = held + 1
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Give a place back, as soon as the waiter's work has ended."""
        if waiter.work is not None and not waiter.work.done():
            waiter.check = None
            waiter.work.add_done_callback(lambda _: self.leave(waiter))
            return
        self._waiters.remove(waiter)
        self._by_principal[waiter.principal] -= 1
        if not self._by_principal[waiter.principal]:
            del self._by_principal[waiter.principal]
        if not self._waiters and self._checking is not None:
            self._checking.cancel()

    def drain(self) -> None:
        """Wake all, to be answered now."""
        self.draining = True
        for waiter in self._waiters:
            waiter.wake()

    async def _check(self) -> None:
        while True:
            await self.clock.sleep(CHECK_EVERY)
            for waiter in tuple(self._waiters):
                waiter.verify()
