"""Keeps a replica's copy of all relocations current, and a file of them for a start without the store."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from gateway.domain.errors import StoreUnavailable
from gateway.ports.clock import Clock
from gateway.ports.moves import MoveStore, Relocation, Relocations
from gateway.services.moves.map import MoveMap

CURRENT_FOR: Final = 5.0
"""Seconds after a read of the store in which the copy is current: writes rely on it."""
ANNOUNCED_FOR: Final = 10.0
"""Seconds between the announcement of a move, by the clock of the database, and its first effect. By then every replica
knows of it, or refuses writes because it cannot read the store."""
USED_FOR: Final = 86_400.0
"""Seconds for which the copy is used without the store. After that, no call on a runtime that has moved is served."""
SAVED_EVERY: Final = 60.0
"""Seconds between two writes of the file while nothing changes."""
SAVED_AFTER: Final = 2.0
"""The same while something changes."""


class Snapshot(Protocol):
    """The file. ``read_at`` is when the store was read, in seconds since the epoch."""

    def load(self) -> tuple[float, Relocations] | None:
        """What was saved last; None if there is nothing that can be read."""

    def save(self, read_at: float, known: Relocations) -> None:
        """Replace the content. Raises ``OSError``."""


class MoveReplica:
    """Reads what has changed in the store; ``refresh`` is called after every notification and every two seconds."""

    def __init__(
        self,
        store: MoveStore,
        moves: MoveMap,
        clock: Clock,
        snapshot: Snapshot | None = None,
        *,
        on_read: Callable[[], Awaitable[None]] | None = None,
        on_moved: Callable[[Sequence[Relocation]], None] = lambda _: None,
        on_unsaved: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        """``on_read`` is called after every read, and raises :class:`StoreUnavailable` if it does not count.
        ``on_moved`` is called with relocations that were not known, ``on_unsaved`` if the file cannot be written."""
        self._store = store
        self._moves = moves
        self._clock = clock
        self._snapshot = snapshot
        self._on_read = on_read
        self._on_moved = on_moved
        self._on_unsaved = on_unsaved
        self._current_at = -math.inf
        self._saved: tuple[int, float] | None = None
        self._reading = asyncio.Lock()

    @property
    def age(self) -> float:
        """How many seconds ago the copy was current; infinite if it never was."""
        return self._clock.monotonic() - self._current_at

    async def refresh(self) -> None:
        """Bring the copy up to date now. Raises :class:`StoreUnavailable`."""
        async with self._reading:  # an older copy must not replace a newer one
            began = self._clock.monotonic()
            news = self._moves.update(await self._store.relocations(self._moves.change))
            if news:
                self._on_moved(news)
            if self._on_read is not None:
                await self._on_read()
            self._current_at = began
            self._save(began)

    async def begin(self, within: float) -> None:
        """Read the store, or the file if the store cannot be read within these seconds."""
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(within):
                await self.refresh()
                return
        saved = None if self._snapshot is None else self._snapshot.load()
        if saved is not None:
            read_at, known = saved
            self._moves.update(known)
            self._current_at = self._clock.monotonic() - max(0.0, self._clock.now() - read_at)

    def _save(self, now: float) -> None:
        """Write the file if it is needed. Without a move, there never is one."""
        change, moves = self._moves.change, self._moves
        if self._snapshot is None or (self._saved is None and not moves and not moves.active):
            return
        if self._saved is not None:
            saved, at = self._saved
            if now - at < (SAVED_EVERY if saved == change else SAVED_AFTER):
                return
        self._saved = change, now
        known = Relocations(change=0, active=sorted(moves.active), rows=moves.known(), whole=True)
        try:
            self._snapshot.save(self._clock.now(), known)
        except OSError as error:
            self._on_unsaved(error)
