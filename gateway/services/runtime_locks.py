"""Locks by runtime, within one process, for requests that read a runtime and then act on it."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from gateway.domain.errors import Overloaded


class RuntimeLocks:
    """One lock for each key. A lock exists only while a request holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, key: Hashable, seconds: float, refusal: str) -> AsyncIterator[bool]:
        """Hold the lock of ``key``; whether it had to be waited for. Raises :class:`Overloaded` with the text
        ``refusal`` if other requests hold it for ``seconds``. Requests hold it in the order in which they asked for
        it."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        waited = lock.locked()
        try:
            async with asyncio.timeout(seconds):
                await lock.acquire()
        except TimeoutError as exc:
            raise Overloaded(refusal) from exc
        try:
            yield waited
        finally:
            lock.release()
