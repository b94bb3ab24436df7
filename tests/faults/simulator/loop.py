"""An event loop without a selector, a thread or a real clock: it runs what is ready, and its time is a number.

A timer belongs to the replica that set it (:data:`REPLICA`). The timers of a stopped replica fire when it continues;
those of a dead one never fire.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Process:
    """The state of a simulated process. ``dead``: it was killed. ``stopped_until``: it does not run before this loop
    time, as after SIGSTOP. ``ending``: it accepts no new requests, as after SIGTERM."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.ending = False
        self.stopped_until = 0.0


OUTSIDE: Final = Process("outside")
REPLICA: ContextVar[Process] = ContextVar("REPLICA", default=OUTSIDE)


class _Handle(asyncio.TimerHandle):
    """A callback, without the debug mode of asyncio's own handles: a run makes hundreds of them."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._when, self._callback, self._args, self._loop = when, callback, args, loop
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._source_traceback = None

    def cancel(self) -> None:
        self._cancelled = True


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The part of an event loop that tasks, futures, locks and timeouts need.

    ``unhandled`` has the contexts of exceptions that no task awaited.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.unhandled: list[dict[str, Any]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle, Process]] = []
        self._order = count()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make this the thread's running loop within the context."""
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def run_ready(self) -> None:
        """Run callbacks until all tasks wait."""
        ready = self._ready
        while ready:
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def next_timer(self) -> float | None:
        """The time at which the next timer can fire; None without one. Timers of dead processes do not count."""
        due = [
            max(when, process.stopped_until)
            for when, _, handle, process in self._timers
            if not handle.cancelled() and not process.dead
        ]
        return min(due, default=None)

    def advance(self, moment: float) -> None:
        """Set the time, and fire in order the timers that are due by then."""
        self.now = max(self.now, moment)
        waiting: list[tuple[float, int, _Handle, Process]] = []
        while self._timers and self._timers[0][0] <= self.now:
            timer = heapq.heappop(self._timers)
            *_, handle, process = timer
            if handle.cancelled() or process.dead:
                continue
            if process.stopped_until > self.now:
                waiting.append(timer)
                continue
            handle._run()
            self.run_ready()
        for timer in waiting:
            heapq.heappush(self._timers, timer)

    def end(self) -> None:
        """Cancel the remaining tasks, so that asyncio does not report them as pending."""
        for _ in range(20):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            self.run_ready()
        self._timers.clear()

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(self.now, callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _Handle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle, REPLICA.get()))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.unhandled.append(context)
