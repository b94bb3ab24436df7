"""Waiting for conditions, held calls, and runtimes that reads do not show yet."""

import asyncio
from collections.abc import Callable, Collection
from typing import Literal

Read = Literal["list", "get"]


class Watch:
    """Waits for a condition, so that tests need no sleep."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def changed(self) -> None:
        """Make all waiting tasks check their conditions again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition is true."""
        while not condition():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)


class Gate:
    """Where held calls wait. A release continues the calls that wait at that moment, not later ones."""

    def __init__(self) -> None:
        self._held: dict[asyncio.Future[None], str] = {}

    async def wait(self, operation: str) -> None:
        """Wait for the next release of this operation, or of all."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held[future] = operation
        try:
            await future
        finally:
            del self._held[future]

    def release(self, operation: str | None = None) -> int:
        """Continue the held calls of an operation, or all, and return how many there were."""
        ready = [future for future, held in self._held.items() if operation in {None, held} and not future.done()]
        for future in ready:
            future.set_result(None)
        return len(ready)


class Unseen:
    """What lists, or GETs, do not show yet: the effect of a read replica that lags."""

    def __init__(self) -> None:
        self._left: dict[Read, dict[str, int | None]] = {"list": {}, "get": {}}

    def hide(self, read: Read, thing: str, reads: int | None) -> None:
        """Hide a thing from the next ``reads`` reads; None: until the release."""
        self._left[read][thing] = reads

    def in_list(self) -> frozenset[str]:
        """The things that this list does not show. Each call counts as one read of each."""
        left = self._left["list"]
        hidden = frozenset(left)
        self._count(left, hidden)
        return hidden

    def in_get(self, thing: str) -> bool:
        """Whether this GET does not show the thing. Each call counts as one read of it."""
        left = self._left["get"]
        if thing not in left:
            return False
        self._count(left, [thing])
        return True

    def release(self) -> int:
        """Show everything, and return how many things were hidden."""
        count = len(self._left["list"].keys() | self._left["get"].keys())
        for left in self._left.values():
            left.clear()
        return count

    @staticmethod
    def _count(left: dict[str, int | None], things: Collection[str]) -> None:
        for thing in things:
            reads = left[thing]
            if reads is not None:
                left[thing] = reads - 1
                if reads <= 1:
                    del left[thing]
