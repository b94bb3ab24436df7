"""The places of one class of work: so many calls under way, so many more in a row for their turn, and nobody else."""

import asyncio
from collections import deque
from enum import Enum
from typing import Final


class Wait(Enum):
    """How waiting in the row ended."""

    ACQUIRED = "come"  # with a place
    TIMED_OUT = "timed_out"
    TURNED_AWAY = "turned_away"  # there is nothing to wait for any more


class SlotPool:
    """First come, first served. Who has a place gives it back, whatever happens. One event loop uses them; there are
    no locks."""

    __slots__ = ("_row", "in_flight", "limit", "most_waiting")

    def __init__(self, limit: int, most_waiting: int) -> None:
        self.limit: Final = limit
        self.most_waiting: Final = most_waiting
        self.in_flight = 0
        self._row: deque[asyncio.Future[Wait]] = deque()

    @property
    def waiting(self) -> int:
        """How many are in the row."""
        return len(self._row)

    def take(self) -> bool:
        """Take a free place; False when there is none."""
        if self.in_flight < self.limit:  # (then nobody waits: a place that is given back goes to the row first)
            self.in_flight += 1
            return True
        return False

    async def wait(self, seconds: float) -> Wait:
        """Stand in the row, for at most so long. The row has to have room (:attr:`most_waiting`). Only after
        :attr:`Wait.ACQUIRED` there is a place to give back."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Wait] = loop.create_future()
        self._row.append(turn)
        timer = loop.call_later(seconds, self._time_out, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                if turn in self._row:
                    self._row.remove(turn)
            elif turn.result() is Wait.ACQUIRED:  # the turn came, and in the same moment the caller was cancelled
                self.give_back()
            raise
        finally:
            timer.cancel()

    def _time_out(self, turn: asyncio.Future[Wait]) -> None:
        if not turn.done():
            self._row.remove(turn)
            turn.set_result(Wait.TIMED_OUT)

    def give_back(self) -> None:
        """The place goes to the first in the row, or is free."""
        while self._row:
            turn = self._row.popleft()
            if not turn.done():
                turn.set_result(Wait.ACQUIRED)
                return
        self.in_flight -= 1

    def turn_away(self) -> None:
        """Nobody in the row will get a place."""
        row, self._row = self._row, deque()
        for turn in row:
            if not turn.done():
                turn.set_result(Wait.TURNED_AWAY)
