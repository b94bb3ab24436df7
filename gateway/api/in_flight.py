"""The requests that are being worked on: how many there may be at once, and how they end when the gateway does."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any, Final

from gateway.domain.errors import GatewayError, OutcomeUnknown, Overloaded, Source
from gateway.ports.context import RequestContext
from gateway.telemetry.metrics import Metrics

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_INTERRUPTED_SECONDS: Final = 5.0  # for what is interrupted to clean up behind itself and be answered

Task = asyncio.Task[Any]


class InFlight:
    """``api`` holds the tasks of requests of the API and the dialects, at most ``most``; ``native`` those of requests
    that are passed through, which have limits of their own; ``site`` those of probes and documents.

    ``draining``: the gateway is about to end, and every answer closes its connection. ``interrupted``: a request that
    is cancelled is still answered.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self.api: set[Task] = set()
        self.native: set[Task] = set()
        self.site: set[Task] = set()
        self.draining = False
        self.interrupted = False
        self._most = most
        self._rejected = metrics.requests_rejected.labels("requests")
        self._dropped = metrics.dropped.labels("interrupted")
        self._hurry = asyncio.Event()
        metrics.requests_in_flight.set_function(lambda: len(self.api))

    def admit(self) -> None:
        """Raise :class:`Overloaded` when there are more requests than there may be, the last one among them."""
        if len(self.api) > self._most:
            self._rejected.inc()
            raise Overloaded(
                f"As many requests as http.max_requests_in_flight allows ({self._most}) are being worked on.",
                retry_after=1,
            )

    async def ended(self) -> None:
        """Wait for the end of all requests of the API that are in flight now."""
        await _ended(set(self.api))

    def hurry(self) -> None:
        """Give those that are in flight no more time."""
        self._hurry.set()

    async def wait(self, seconds: float) -> None:
        """Wait for so many seconds, or until there is no more time."""
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return

    async def drain(self, seconds: float) -> int:
        """Let all requests end within so many seconds. Those that have not are interrupted; returns how many."""
        self.draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        hurried = asyncio.create_task(self._hurry.wait())
        try:
            while (running := self._running()) and not hurried.done() and loop.time() < deadline:
                ended = asyncio.create_task(_ended(running))
                await asyncio.wait({ended, hurried}, timeout=deadline - loop.time(), return_when="FIRST_COMPLETED")
                ended.cancel()  # (which cancels the waiting alone)
        finally:
            hurried.cancel()
        return await self._interrupt(self._running())

    async def _interrupt(self, running: AbstractSet[Task]) -> int:
        self.interrupted = True
        for task in running:
            task.cancel()
        if running:
            self._dropped.inc(len(running))
            await asyncio.wait(running, timeout=_INTERRUPTED_SECONDS)
        return len(running)

    def _running(self) -> AbstractSet[Task]:
        return self.api | self.native | self.site

    def interruption(self, method: str, ctx: RequestContext) -> GatewayError:
        """What a request is told that was interrupted."""
        if method in _SAFE or ctx.provider is None:
            return Overloaded("The gateway is shutting down; nothing was done.", retry_after=1)
        return OutcomeUnknown(
            "The gateway is shutting down, and did not wait for what becomes of this request.",
            source=Source.GATEWAY,
            provider=ctx.provider,
        )


async def _ended(tasks: AbstractSet[Task]) -> None:
    if tasks:
        await asyncio.wait(tasks)
