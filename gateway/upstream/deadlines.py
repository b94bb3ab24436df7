"""Deadlines of many waits on one timer.

They do what :func:`asyncio.timeout` does. Nearly every wait ends long before its deadline, though, so that a timer for
each is made for nothing: one twentieth of the time of a request.
"""

import asyncio
from types import TracebackType
from typing import Self


class Deadlines:
    """The waits of one event loop that have a deadline, and the alarm of (about) the earliest."""

    def __init__(self) -> None:
        self._waits: set[Wait] = set()
        self._alarm: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> "Wait":
        """Cancels what runs in the block when the time is over, and raises ``TimeoutError`` in its place; at once where
        no time is left: ``with deadlines.within(10): ...``."""
        return Wait(self, seconds)

    def _add(self, wait: "Wait") -> None:
        self._waits.add(wait)
        if self._alarm is None or wait.deadline < self._alarm.when():
            self._set(wait.deadline)

    def _set(self, moment: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_at(moment, self._ring)

    def _ring(self) -> None:
        # The wait that the alarm was set for may be over: the next one is looked for only now.
        self._alarm = None
        now = asyncio.get_running_loop().time()
        for wait in [wait for wait in self._waits if wait.deadline <= now]:
            self._waits.remove(wait)
            wait.expire()
        if self._waits:
            self._set(min(wait.deadline for wait in self._waits))


class Wait:
    """One block with a deadline, a moment of the event loop's clock."""

    __slots__ = ("_all", "_cancelling", "_expired", "_seconds", "_task", "deadline")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._seconds = seconds
        self._all = deadlines
        self._expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can wait until a deadline")
        if self._seconds <= 0:
            raise TimeoutError
        self.deadline = asyncio.get_running_loop().time() + self._seconds
        self._task = task
        self._cancelling = task.cancelling()
        self._all._add(self)
        return self

    def expire(self) -> None:
        """The deadline is here."""
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._expired:
            self._all._waits.discard(self)
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from exc
