"""Deadlines of many waits on one timer.

They behave like :func:`asyncio.timeout`. Nearly every wait ends long before its deadline, so a timer for each one is
wasted: it costs a twentieth of the time of a request.
"""

import asyncio
from collections.abc import Callable
from functools import cached_property
from operator import attrgetter
from types import TracebackType
from typing import Final, Self

_DEADLINE: Final = attrgetter("deadline")


class Deadlines:
    """The waits of one event loop that have a deadline, and a timer for (about) the earliest one."""

    def __init__(self) -> None:
        self._waits: set[Wait] = set()
        self._timer: asyncio.Handle | None = None
        self._moment = 0.0  # for which the timer is set

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of all waits. Asking for the running one is a system call."""
        return asyncio.get_running_loop()

    def within(self, seconds: float) -> "Wait":
        """A context manager that cancels its block after ``seconds`` and raises ``TimeoutError`` instead; at once if
        ``seconds`` is not positive: ``with deadlines.within(10): ...``."""
        return Wait(self, seconds)

    def _add(self, wait: "Wait") -> None:
        self._waits.add(wait)
        if self._timer is None or wait.deadline < self._moment:
            self._set(wait.deadline)

    def _set(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._moment = moment
        self._timer = self.loop.call_at(moment, self._fire)

    def _fire(self) -> None:
        # The wait that the timer was set for may have ended or moved: the next deadline is searched for only now.
        self._timer = None
        now = self.loop.time()
        passed = (wait for wait in self._waits if wait.deadline <= now)
        for wait in sorted(passed, key=_DEADLINE):  # in a late event loop, several have passed
            if wait.may_continue is None or not wait.may_continue():
                wait.expire()
        if self._waits:
            self._set(min(wait.deadline for wait in self._waits))


class Wait:
    """One block with a deadline, in the event loop's time. ``expired``: it was cancelled.

    ``may_continue`` is called when the deadline has passed. If it returns True, the block is not cancelled, and it is
    called again in the next iteration of the event loop, or at the deadline that it has set."""

    __slots__ = ("_all", "_cancelling", "_seconds", "_task", "deadline", "expired", "may_continue")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._all = deadlines
        self._seconds = seconds
        self.expired = False
        self.may_continue: Callable[[], bool] | None = None

    def __enter__(self) -> Self:
        loop = self._all.loop
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline needs a running task")
        if self._seconds <= 0:
            raise TimeoutError
        self._task = task
        self._cancelling = task.cancelling()
        self.deadline = loop.time() + self._seconds
        self._all._add(self)
        return self

    def move(self, seconds: float) -> None:
        """Set the deadline to ``seconds`` from now. Without effect on a block that has ended or was cancelled."""
        self.deadline = self._all.loop.time() + seconds
        if self in self._all._waits:
            self._all._add(self)

    def expire(self) -> None:
        """Cancel the block now, if it has not ended."""
        if self in self._all._waits:
            self._all._waits.remove(self)
            self.expired = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.may_continue = None  # it may refer to this wait
        if not self.expired:
            self._all._waits.discard(self)
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from exc
