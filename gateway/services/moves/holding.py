"""Holds the rows of a runtime while it is moved, so that no write to it begins or is under way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final

from gateway.domain.errors import StoreUnavailable
from gateway.ports.clock import Clock
from gateway.ports.moves import MoveStore
from gateway.services.moves.planned import LostLease, Waits

HOLD: Final = 15.0
"""Seconds after which the rows are free again if the mover has died."""

WRITES_WITHIN: Final = 10.0
"""Seconds for which the rows are held while writes to the runtime are under way. Longer ones are waited for without."""

_POLL: Final = 0.5

Rows = Sequence[tuple[str, Collection[str]]]
"""Keys of rows by provider, as in :meth:`MoveStore.hold_runtime`."""


class Hold:
    def __init__(self, store: MoveStore, clock: Clock, holder: str, rows: Rows) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder
        self._rows = rows
        self._until = 0.0

    def require(self) -> None:
        """Before every effect: raise :class:`LostLease` if another mover may hold the rows by now."""
        if self._clock.monotonic() >= self._until:
            raise LostLease

    async def take(self) -> None:
        """Hold the rows, and wait until no write is under way. Raises :class:`Waits`."""
        patience = self._clock.monotonic() + WRITES_WITHIN
        while busy := await self._held():
            if self._clock.monotonic() >= patience:
                raise Waits("writes to the runtime that are under way")
            await self._clock.sleep(min(busy, _POLL))

    async def keep(self) -> None:
        """Hold them longer and longer, until cancelled."""
        while True:
            await self._clock.sleep(HOLD / 3)
            with contextlib.suppress(StoreUnavailable, Waits):
                await self._held()

    async def release(self) -> None:
        """Let writers enter again."""
        with contextlib.suppress(StoreUnavailable):  # they enter when the hold ends
            for provider, keys in self._rows:
                await self._store.release_runtime(provider, keys, self._holder)

    async def _held(self) -> float:
        """For how many seconds writers may be under way. Raises :class:`Waits` if another mover holds a row."""
        began, busy = self._clock.monotonic(), 0.0
        for provider, keys in self._rows:
            left = await self._store.hold_runtime(provider, keys, self._holder, HOLD)
            if left is None:
                raise Waits("another mover that holds the runtime")
            busy = max(busy, left)
        self._until = began + HOLD
        return busy


@asynccontextmanager
async def holding(store: MoveStore, clock: Clock, holder: str, rows: Rows) -> AsyncIterator[Hold]:
    """Hold rows for the time of the block. Raises :class:`Waits` if that is not possible now."""
    hold = Hold(store, clock, holder, rows)
    keeping: asyncio.Task[None] | None = None
    try:
        await hold.take()
        keeping = asyncio.create_task(hold.keep())
        yield hold
    finally:
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        await asyncio.shield(hold.release())


def new_work(provider_id: str) -> str:
    """The key of the row that a write enters which begins something on a runtime (a start, a resume, new addresses)
    besides those of :func:`keys_of`: a mover holds it while it waits for what has begun."""
    return f"new:{provider_id}"


def keys_of(provider_id: str | None, name: str | None) -> list[str]:
    """The keys of the rows of a runtime at its provider."""
    return [*([] if provider_id is None else [provider_id]), *([] if name is None else [f"name:{name}"])]
