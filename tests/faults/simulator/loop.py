"""An event loop without a selector, a thread or a real clock: it does what is ready, and its time is a number.

Callbacks belong to the replica that asked for them (:data:`REPLICA`): a stopped one's timers wait, a dead one's never
come.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from itertools import count
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Life:
    """Whether a process runs. ``stopped_until`` is a moment of the loop's time, as after a SIGSTOP; ``ending``: it
    takes no new requests, as after a SIGTERM."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.ending = False
        self.stopped_until = 0.0


OUTSIDE: Final = Life("outside")
REPLICA: ContextVar[Life] = ContextVar("REPLICA", default=OUTSIDE)


class SimulatedLoop(asyncio.AbstractEventLoop):
    """What tasks, futures, locks and timeouts need of a loop, and no more.

    ``complaints`` is what went wrong where nobody was waiting for it.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.complaints: list[dict[str, Any]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Life]] = []
        self._order = count()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the thread's running loop."""
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def run_ready(self) -> None:
        """Go on until everybody waits."""
        ready = self._ready
        while ready:
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def next_timer(self) -> float | None:
        """When the next timer is due, of those that can be."""
        due = [
            max(when, life.stopped_until)
            for when, _, handle, life in self._timers
            if not handle.cancelled() and not life.dead
        ]
        return min(due, default=None)

    def advance(self, moment: float) -> None:
        """Let it be then, and let what is due by then come, in its order."""
        self.now = max(self.now, moment)
        waiting: list[tuple[float, int, asyncio.TimerHandle, Life]] = []
        while self._timers and self._timers[0][0] <= self.now:
            timer = heapq.heappop(self._timers)
            *_, handle, life = timer
            if handle.cancelled() or life.dead:
                continue
            if life.stopped_until > self.now:
                waiting.append(timer)
                continue
            handle._run()
            self.run_ready()
        for timer in waiting:
            heapq.heappush(self._timers, timer)

    def end(self) -> None:
        """Cancel whatever is left, so that nothing complains about being forgotten."""
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
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle, REPLICA.get()))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked for by ``TimerHandle.cancel``; a cancelled timer is passed over when it is due."""

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(context)
