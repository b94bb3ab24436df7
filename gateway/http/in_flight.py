"""The requests in flight: how many there may be, and how they end at shutdown."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

from gateway.domain.errors import GatewayError, OutcomeUnknown, Overloaded, Source
from gateway.ports.context import Admission, RequestContext
from gateway.telemetry.metrics import Metrics

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing at a provider."""

_INTERRUPTED_SECONDS: Final = 5.0  # for interrupted requests to clean up and to be answered

Task = asyncio.Task[Any]
_T = TypeVar("_T")


class InFlight:
    """``api`` holds the tasks of requests of the API and the dialects, at most ``limit``; ``native`` those of requests
    of the pass-through, which has its own limits; ``site`` those of probes and documents; ``waiting`` those of callers
    that wait, which have their own limit too; ``works`` the creates and starts that continue without their requests.
    ``on_drain`` is called when the drain begins.

    ``draining``: the gateway is shutting down, and every response closes its connection. ``interrupted``: a request
    that is cancelled now is still answered.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.api: set[Task] = set()
        self.native: set[Task] = set()
        self.site: set[Task] = set()
        self.waiting: set[Task] = set()
        self.works: set[Task] = set()
        self.on_drain: Callable[[], None] = lambda: None
        self.draining = False
        self.interrupted = False
        self._limit = limit
        self._rejected = metrics.requests_rejected.labels("requests")
        self._rejected_by_provider = metrics.requests_rejected.labels("provider")
        self._bound: dict[str, int] = {}
        self._dropped = metrics.dropped.labels("interrupted")
        self._stop_waiting = asyncio.Event()
        self._awaited: dict[Task, asyncio.Future[None]] = {}  # ends of requests that something waits for

    def admit(self) -> "AdmissionTicket":
        """Admit the request of the API whose task was just added. Raises :class:`Overloaded` when it exceeds the
        limit."""
        if len(self.api) > self._limit:
            self._rejected.inc()
            raise Overloaded(
                f"As many requests as http.max_requests_in_flight allows ({self._limit}) are being worked on.",
                retry_after=1,
            )
        return AdmissionTicket(self)

    def done(self, tasks: set[Task], task: Task) -> None:
        """A request has ended, whose task was added to ``tasks``. The task serves its connection, and continues."""
        tasks.discard(task)
        if self._awaited and (end := self._awaited.pop(task, None)) is not None:
            end.set_result(None)

    def enter(self, provider: str, *, always: bool) -> None:
        """Bind a request to a provider. Requests bound to one provider may use at most half of the free capacity, so a
        slow provider cannot exhaust it, and a second slow one at most half of the rest. ``always`` skips the check.
        Raises :class:`Overloaded` beyond that."""
        bound = self._bound.get(provider, 0)
        if not always and bound > self._limit - len(self.api):
            self._rejected_by_provider.inc()
            raise Overloaded(
                f"Too many of the requests that http.max_requests_in_flight allows ({self._limit}) are for the "
                f"provider {provider}; nothing was sent.",
                provider=provider,
                retry_after=1,
            )
        self._bound[provider] = bound + 1

    def leave(self, provider: str) -> None:
        """Undo one :meth:`enter`."""
        self._bound[provider] -= 1
        if not self._bound[provider]:
            del self._bound[provider]

    @contextmanager
    def set_aside(self, ctx: RequestContext) -> Iterator[None]:
        """The request of the current task, which is one of the API, waits: from now on it counts as waiting."""
        task = cast("Task", asyncio.current_task())
        self.api.discard(task)
        self.waiting.add(task)
        if isinstance(ctx.admission, AdmissionTicket):
            ctx.admission.end()
        try:
            yield
        finally:
            self.waiting.discard(task)

    def begin(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        """Do work that continues when its request has ended."""
        task = asyncio.create_task(work)
        self.works.add(task)
        task.add_done_callback(self.works.discard)
        return task

    async def ended(self) -> None:
        """Wait until all requests of the API, and all works, that are in flight now have ended."""
        await self._ended(self.api | self.works)

    def stop_waiting(self) -> None:
        """End :meth:`wait` and the waiting of :meth:`drain` at once."""
        self._stop_waiting.set()

    async def wait(self, seconds: float) -> None:
        """Wait for ``seconds``, or until :meth:`stop_waiting`."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop_waiting.wait()
        except TimeoutError:
            return

    async def drain(self, seconds: float) -> int:
        """Wait up to ``seconds`` for all requests to end, interrupt the others, and return how many those were."""
        self.draining = True
        self.on_drain()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        stopped = asyncio.create_task(self._stop_waiting.wait())
        try:
            while (running := self._running()) and not stopped.done() and loop.time() < deadline:
                ended = asyncio.create_task(self._ended(running))
                await asyncio.wait({ended, stopped}, timeout=deadline - loop.time(), return_when="FIRST_COMPLETED")
                ended.cancel()  # (cancels only the waiting)
        finally:
            stopped.cancel()
        return await self._interrupt(self._running())

    async def _interrupt(self, running: AbstractSet[Task]) -> int:
        self.interrupted = True
        for task in running:
            task.cancel()
        if running:
            self._dropped.inc(len(running))
            await self._ended(running, _INTERRUPTED_SECONDS)
        return len(running)

    async def _ended(self, running: AbstractSet[Task], seconds: float | None = None) -> None:
        """Wait until these requests and works have ended, for at most ``seconds``."""
        loop = asyncio.get_running_loop()
        ends: set[asyncio.Future[Any]] = {
            task if task in self.works else self._awaited.setdefault(task, loop.create_future()) for task in running
        }
        if ends:
            await asyncio.wait(ends, timeout=seconds)

    def _running(self) -> AbstractSet[Task]:
        return self.api | self.native | self.site | self.waiting | self.works

    def interruption(self, method: str, ctx: RequestContext) -> GatewayError:
        """The error for a request that was interrupted."""
        if method in SAFE_METHODS or ctx.provider is None:
            return Overloaded("The gateway is shutting down; nothing was done.", retry_after=1)
        return OutcomeUnknown(
            "The gateway is shutting down and did not wait for the outcome of this request.",
            source=Source.GATEWAY,
            provider=ctx.provider,
        )


class AdmissionTicket(Admission):
    """What one admitted request holds: the providers that it is bound to."""

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
        """The request has ended; work that continues without it is not counted."""
        providers, self._providers = self._providers or (), None
        for provider in providers:
            self._in_flight.leave(provider)
