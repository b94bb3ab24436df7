"""The clock as a dependency, so that no code depends on the real time and no test waits for it."""

import asyncio
import time
from abc import ABC, abstractmethod


class Clock(ABC):
    """The source of all times."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds on a clock that never goes backwards, for deadlines and durations."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch on the wall clock, for times that people read."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait for this many seconds."""


class SystemClock(Clock):
    """The machine's clock. :meth:`monotonic` is the clock of asyncio's timeouts."""

    # Not methods around them: a request reads the clock ten times.
    monotonic = staticmethod(time.monotonic)
    now = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
