"""Moves in simulated time: the clock of the machine and of the database are those of the event loop."""

import asyncio

from gateway.ports.clock import Clock


def loop_time() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


class LoopTime(Clock):
    """The time of the running event loop."""

    def monotonic(self) -> float:
        return loop_time()

    def now(self) -> float:
        return loop_time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
