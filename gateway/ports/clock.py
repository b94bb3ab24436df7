"""Time as an input, so that no rule depends on the real clock and no test waits for it."""

import asyncio
import time
from abc import ABC, abstractmethod


class Clock(ABC):
    """Where all times come from."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; for deadlines and durations."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch on the wall clock; for what people read."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock(Clock):
    """The machine's own clock. ``monotonic`` is the clock that asyncio's timeouts use."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
