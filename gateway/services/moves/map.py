"""Where runtimes have gone: a copy of the store's relocations in memory, which every call on a runtime looks at, and
which is kept current and in a file, for a start without the store."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from msgspec.structs import replace

from gateway.domain.errors import StoreUnavailable
from gateway.domain.ids import RuntimeRef
from gateway.domain.runtime import Runtime
from gateway.ports.clock import Clock
from gateway.ports.moves import Arriving, MoveStore, Relocation, Relocations


class Relocated(NamedTuple):
    """The present place of a runtime: the provider's name, and the runtime's address there."""

    provider: str
    ref: RuntimeRef


class MoveMap:
    """The relocations that apply. It is falsy while there are none, and everything in it is a look-up in a dictionary.

    ``active`` are the providers of announced moves: writes to their runtimes go through the store. ``latest`` is the
    number of the last change that is known here, also if it was read from a file."""

    def __init__(self) -> None:
        self.active: frozenset[str] = frozenset()
        self.change = 0
        self.latest = 0
        self._arriving: frozenset[tuple[str, ...]] = frozenset()
        self._switched: dict[tuple[str, str], int] = {}
        self._known: dict[tuple[str, str], Relocation] = {}
        self._by_source: dict[tuple[str, str], Relocation] = {}
        self._by_id: dict[str, Relocation] = {}
        self._first: dict[str, str] = {}
        self._by_target: dict[tuple[str, str], Relocation] = {}
        self._by_name: dict[tuple[str, str, str, str], Relocation] = {}
        self._by_native: dict[tuple[str, str], Relocation] = {}
        self._successors: dict[tuple[str, str], str] = {}

    def __bool__(self) -> bool:
        return bool(self._by_source)

    def update(self, known: Relocations) -> Sequence[Relocation]:
        """Apply what has changed in the store. Returns the rows that were not known."""
        self.change, self.active = known.change, frozenset(known.active)
        self.latest = max([self.latest, known.change, *(row.change for row in known.rows)])
        self._arriving = frozenset(key for row in known.arriving for key in _keys_of(row))
        if known.whole:
            current = {(row.source, row.source_id): row for row in known.rows}
        elif known.rows:
            current = self._known | {(row.source, row.source_id): row for row in known.rows}
        else:
            return ()
        news = [row for key, row in current.items() if self._known.get(key) != row]
        self._known = {key: row for key, row in current.items() if row.continues or not row.removed}
        self._by_source = {key: row for key, row in current.items() if not row.removed}
        rows = self._by_source.values()
        self._by_id = {row.source_runtime_id: row for row in rows}
        self._first = {row.target_runtime_id: row.runtime_id for row in rows} | {
            row.source_runtime_id: row.runtime_id for row in rows
        }
        self._by_target = {
            (row.target, row.target_id): row for row in rows if row.source_runtime_id == row.runtime_id
        } | {(row.target, row.target_id): row for row in rows if is_back(row)}
        self._by_native = {(row.target, row.source_id): row for row in rows}
        self._by_name = {
            (row.source, row.source_scope, row.kind, row.name): row for row in rows if row.name is not None
        }
        self._switched = {}
        for row in rows:
            place = (row.target, row.target_id)
            self._switched[place] = max(row.change, self._switched.get(place, 0))
        self._successors = {
            (row.runtime_id, row.source_instance): row.target_instance
            for row in self._known.values()
            if row.source_instance is not None and row.target_instance is not None
        }
        return news

    def rows(self) -> Sequence[Relocation]:
        return list(self._by_source.values())

    def known(self) -> Sequence[Relocation]:
        """All relocations, and those removed ones whose instances are continued."""
        return list(self._known.values())

    def of_id(self, runtime_id: str) -> Relocation | None:
        """The relocation of the runtime that had this public id; None if it is where the id says."""
        return self._by_id.get(runtime_id)

    def of_source(self, provider: str, provider_id: str) -> Relocation | None:
        """The relocation of a runtime from this place; None if it has not gone from there."""
        return self._by_source.get((provider, provider_id))

    def of_target(self, provider: str, provider_id: str) -> Relocation | None:
        """The relocation of a runtime to this place."""
        return self._by_target.get((provider, provider_id))

    def of_native(self, target: str, source_id: str) -> Relocation | None:
        """The relocation to this provider of the runtime that had this provider's id where it was."""
        return self._by_native.get((target, source_id))

    def of_place(self, provider: str, provider_id: str) -> Relocation | None:
        """The relocation of a runtime to this place, or from it."""
        key = provider, provider_id
        return self._by_target.get(key) or self._by_source.get(key)

    def of_name(self, provider: str, scope: str, kind: str, name: str) -> Relocation | None:
        """The relocation of the runtime that had this name, at its provider, in this scope."""
        return self._by_name.get((provider, scope, kind, name))

    def is_last_switch(self, row: Relocation) -> bool:
        """Whether a runtime went to its present place from the source of a relocation."""
        return row.change == self._switched[row.target, row.target_id]

    def listed(self, since: int, provider: str, rows: Sequence[Runtime]) -> Sequence[Runtime]:
        """The rows of a provider's page that belong to a list which began at a change: those that it :meth:`lists`."""
        if not self and provider not in self.active:
            return rows
        return [row for row in rows if self.lists(since, provider, row.scope, row.kind, row.provider_id, row.name)]

    def lists(self, since: int, provider: str, scope: str, kind: str, provider_id: str, name: str | None) -> bool:
        """Whether a list that began at a change (``latest`` at that time) has a runtime at this place; ``name`` is its
        name there. It has a runtime that was switched later where it was, and none that a move has only created."""
        if (gone := self._by_source.get((provider, provider_id))) is not None:
            return gone.change > since and self.is_last_switch(gone)
        if (came := self._by_target.get((provider, provider_id))) is not None:
            return came.change <= since
        return not self._arriving or self._arriving.isdisjoint(
            [(provider, provider_id), (provider, scope, kind, name or "")]
        )

    def away(self, since: int, provider: str, scope: str, kind: str) -> Iterator[tuple[str, str, str, str]]:
        """The runtimes of a place that were elsewhere when a list began, at a change: the id that each had at the
        place, and the provider, the scope and the id where it was."""
        at, rows = (provider, scope, kind), self._by_source.values()
        later = {row.runtime_id: row for row in rows if row.change > since and self.is_last_switch(row)}
        for row in rows:
            moved = later.get(row.runtime_id)
            if (row.source, row.source_scope, row.kind) == at:
                if moved is None:
                    yield row.source_id, row.target, row.target_scope, row.target_id
                elif moved is not row:
                    yield row.source_id, moved.source, moved.source_scope, moved.source_id
            elif moved is row and is_back(row) and (row.target, row.target_scope, row.kind) == at:
                yield row.target_id, row.source, row.source_scope, row.source_id

    def translated(self, provider: str, ref: RuntimeRef) -> Relocated | None:
        """Where a runtime is now that was at this place; None if it has not gone from there."""
        row = self._by_source.get((provider, ref.provider_id))
        return None if row is None else place_of(row)

    def shown(self, runtime: Runtime) -> Runtime:
        """A runtime that its provider returned, with :meth:`shown_id`."""
        shown_id = self.shown_id(runtime)
        return runtime if shown_id == runtime.id else replace(runtime, id=shown_id)

    def shown_id(self, runtime: Runtime) -> str:
        """The id that clients use for a runtime, as its provider returned it."""
        row = self.of_place(runtime.provider, runtime.provider_id)
        return runtime.id if row is None else row.runtime_id

    def first_id(self, runtime_id: str) -> str:
        """The one id of a runtime by which it is known, for any of the public ids that it had or has."""
        return self._first.get(runtime_id, runtime_id)

    def ids_of(self, runtime_id: str) -> Sequence[str]:
        """All public ids that a runtime had and has, for any of them."""
        first = self.first_id(runtime_id)
        return [*dict.fromkeys((first, runtime_id, *(known for known, one in self._first.items() if one == first)))]

    def instance(self, first_id: str, instance: str | None) -> str | None:
        """The instance that continues the one for which an address of a runtime was made. ``first_id`` is that of
        :meth:`first_id`."""
        return instance if instance is None else self._successors.get((first_id, instance), instance)


def is_back(relocation: Relocation) -> bool:
    """Whether it leads a runtime back where it was first."""
    return relocation.runtime_id == relocation.target_runtime_id


def _keys_of(row: Arriving) -> Iterator[tuple[str, ...]]:
    if row.provider_id is not None:
        yield row.provider, row.provider_id
    elif row.name:
        yield row.provider, row.scope, row.kind, row.name


def place_of(relocation: Relocation) -> Relocated:
    ref = RuntimeRef(relocation.target_scope, relocation.target_id, relocation.target_name)
    return Relocated(relocation.target, ref)


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
