"""The requests that are being worked on: how many there may be at once, and how they end when the gateway does."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any, Final

from gateway.domain.errors import GatewayError, OutcomeUnknown, Overloaded, Source
from gateway.ports.context import Admission, RequestContext
from gateway.telemetry.metrics import Metrics

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing at a provider."""

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
        self._too_many_of_one = metrics.requests_rejected.labels("provider")
        self._needed: dict[str, int] = {}
        self._dropped = metrics.dropped.labels("interrupted")
        self._hurry = asyncio.Event()

    def admit(self) -> "AdmissionTicket":
        """The part that the last request of the API has in what there may be. Raises :class:`Overloaded` when it is
        one too many."""
        if len(self.api) > self._most:
            self._rejected.inc()
            raise Overloaded(
                f"As many requests as http.max_requests_in_flight allows ({self._most}) are being worked on.",
                retry_after=1,
            )
        return AdmissionTicket(self)

    def enter(self, provider: str, *, always: bool) -> None:
        """One more request needs a provider. Those that do may be no more than there is room for others: whatever a
        sick one keeps waiting, as much is left, and of that the same holds for a second one."""
        needed = self._needed.get(provider, 0)
        if not always and needed > self._most - len(self.api):
            self._too_many_of_one.inc()
            raise Overloaded(
                f"Too many of the requests that http.max_requests_in_flight allows ({self._most}) are for the "
                f"provider {provider}; nothing was sent.",
                provider=provider,
                retry_after=1,
            )
        self._needed[provider] = needed + 1

    def leave(self, provider: str) -> None:
        """One request less needs it."""
        self._needed[provider] -= 1
        if not self._needed[provider]:
            del self._needed[provider]

    async def ended(self) -> None:
        """Wait for the end of all requests of the API that are in flight now."""
        await _ended(set(self.api))

    def stop_waiting(self) -> None:
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
        if method in SAFE_METHODS or ctx.provider is None:
            return Overloaded("The gateway is shutting down; nothing was done.", retry_after=1)
        return OutcomeUnknown(
            "The gateway is shutting down, and did not wait for what becomes of this request.",
            source=Source.GATEWAY,
            provider=ctx.provider,
        )


class AdmissionTicket(Admission):
    """The part of one request."""

    __slots__ = ("_in_flight", "_providers")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._providers: list[str] | None = []

    def enter(self, provider: str, *, always: bool = False) -> bool:
        if self._providers is None or provider in self._providers:
            return False
        self._in_flight.enter(provider, always=always)
        self._providers.append(provider)
        return True

    def leave(self, provider: str) -> None:
        if self._providers is not None:
            self._providers.remove(provider)
            self._in_flight.leave(provider)

    def end(self) -> None:
        """The request has ended; what goes on without it is not counted."""
        providers, self._providers = self._providers or (), None
        for provider in providers:
            self._in_flight.leave(provider)


async def _ended(tasks: AbstractSet[Task]) -> None:
    if tasks:
        await asyncio.wait(tasks)
