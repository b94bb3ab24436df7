"""The slots of one class of work: a bounded FIFO semaphore with a bounded queue."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import Enum


class Wait(Enum):
    """How a wait in the queue ended."""

    ACQUIRED = "acquired"  # with a slot
    TIMED_OUT = "timed_out"
    REJECTED = "rejected"  # the queue was emptied by ``reject_waiting``


@dataclass(slots=True, eq=False, repr=False)
class SlotPool:
    """First come, first served. Every acquired slot has to be released, whatever happens. One event loop uses the pool;
    there are no locks."""

    limit: int
    max_waiting: int
    in_flight: int = 0
    _queue: deque[asyncio.Future[Wait]] = field(default_factory=deque)

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return len(self._queue)

    def try_acquire(self) -> bool:
        """Take a free slot; False when all are taken."""
        if self.in_flight < self.limit:  # (then the queue is empty: a released slot goes to the queue first)
            self.in_flight += 1
            return True
        return False

    async def wait(self, seconds: float) -> Wait:
        """Wait in the queue for up to ``seconds``. The caller checks first that the queue has room
        (:attr:`max_waiting`). Only :attr:`Wait.ACQUIRED` means that there is a slot to release."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Wait] = loop.create_future()
        self._queue.append(turn)
        timer = loop.call_later(seconds, self._time_out, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                if turn in self._queue:
                    self._queue.remove(turn)
            elif turn.result() is Wait.ACQUIRED:  # the slot was assigned at the moment of the cancellation
                self.release()
            raise
        finally:
            timer.cancel()

    def _time_out(self, turn: asyncio.Future[Wait]) -> None:
        if not turn.done():
            self._queue.remove(turn)
            turn.set_result(Wait.TIMED_OUT)

    def release(self) -> None:
        """Pass the slot to the first in the queue, or free it."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(Wait.ACQUIRED)
                return
        self.in_flight -= 1

    def reject_waiting(self) -> None:
        """Empty the queue: every wait in it ends with :attr:`Wait.REJECTED`."""
        queue, self._queue = self._queue, deque()
        for turn in queue:
            if not turn.done():
                turn.set_result(Wait.REJECTED)
