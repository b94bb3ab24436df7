"""Writes at providers of announced moves go through rows of the store, so that none reaches a runtime while it is moved
(docs/moves.md)."""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from gateway.domain.errors import Retryable, StateConflict, StoreUnavailable
from gateway.domain.values import WorkClass
from gateway.ports.clock import Clock
from gateway.ports.moves import MoveStore
from gateway.services.moves.holding import new_work
from gateway.services.moves.map import ANNOUNCED_FOR, CURRENT_FOR, MoveMap

MARGIN: Final = 5.0
"""Seconds for which a write counts as under way after its deadline: what was sent may arrive a little later."""

LATE: Final = 10.0
"""Seconds for which a write without an answer counts as under way: the provider may still carry it out."""


@dataclass(slots=True, eq=False)
class _Write:
    """A write at a provider until a moment of the monotonic clock. ``begins``: it begins something. ``entered``
    are those of its rows that the store has, or may have; ``refused``: a mover held one when this process learned of
    its move."""

    provider: str
    work: WorkClass
    until: float
    begins: bool
    rows: set[str] = field(default_factory=set)
    entered: set[str] = field(default_factory=set)
    refused: bool = False


class WritePermits:
    """The writes of this process that are under way. Only those at providers of announced moves are in the store."""

    def __init__(self, moves: MoveMap, store: MoveStore, clock: Clock, age: Callable[[], float]) -> None:
        """``age``: how many seconds ago ``moves`` was as the store is."""
        self._moves = moves
        self._store = store
        self._clock = clock
        self._age = age
        self._process = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._writes: dict[str, _Write] = {}
        self._announced: frozenset[str] = frozenset()
        self._leaving: set[asyncio.Task[None]] = set()

    async def begin(
        self, provider: str, rows: Iterable[str], work: WorkClass, until: float, *, begins: bool = False
    ) -> str:
        """A write begins; ``rows`` are those of its runtime as far as it is known. ``begins``: as for :func:`new_work`.
        Returns the name for :meth:`enter` and :meth:`end`.

        Raises :class:`StateConflict` while the runtime is moved, and :class:`StoreUnavailable` if moves may have begun
        without this process knowing it. Writes that end something need no store."""
        self._require_current(work)
        writer = f"{self._process}-{next(self._numbers)}"
        self._writes[writer] = _Write(provider, work, until, begins)
        try:
            await self.enter(writer, rows)
        except BaseException:
            await self.end(writer)
            raise
        return writer

    async def enter(self, writer: str, rows: Iterable[str]) -> None:
        """More rows of a write become known, before it is sent. Raises as :meth:`begin`."""
        write = self._writes[writer]
        for row in rows:
            write.rows.update((row, new_work(row)) if write.begins else (row,))
        self._require_there(write)
        if write.provider in self._moves.active and not await self._entered(writer, write):
            write.rows &= write.entered
            raise is_moving()

    def require(self, writer: str) -> None:
        """Before a request of a write is sent, which may be long after it began: raise as :meth:`begin`."""
        write = self._writes[writer]
        self._require_current(write.work)
        self._require_there(write)
        is_open = write.provider in self._moves.active and not write.rows <= write.entered
        if write.refused or (is_open and write.work is not WorkClass.RELEASE):
            raise is_moving()

    def _require_current(self, work: WorkClass) -> None:
        if self._store.shared and work is not WorkClass.RELEASE and self._age() > CURRENT_FOR:
            detail = "Whether the runtime is moved is not known, because the store cannot be reached; nothing was sent."
            raise StoreUnavailable(detail, retry_after=2.0)

    def _require_there(self, write: _Write) -> None:
        if self._moves and any(self._moves.of_source(write.provider, row) for row in write.rows):
            raise is_moving()

    async def _entered(self, writer: str, write: _Write) -> bool:
        """Enter the rows that are not entered. False: a mover holds one."""
        new = write.rows - write.entered
        if not new:
            return True
        write.entered |= new
        seconds = write.until - self._clock.monotonic() + MARGIN
        try:
            entered = await self._store.enter_write(write.provider, new, writer, seconds)
        except StoreUnavailable:
            write.entered -= new
            if write.work is not WorkClass.RELEASE:
                raise
            return True
        if not entered:
            write.entered -= new
        return entered

    async def end(self, writer: str, *, answered: bool = True) -> bool:
        """A write has ended; without an answer its rows have it for :data:`LATE` seconds more. Returns whether no mover
        can have switched the runtime while it was under way."""
        write = self._writes.pop(writer)
        if not write.entered:
            outdated = self._store.shared and self._age() > ANNOUNCED_FOR
            return write.work is WorkClass.RELEASE or not (outdated or write.refused)
        in_time = self._clock.monotonic() < write.until + MARGIN
        leaving = asyncio.create_task(self._left(writer, write, 0.0 if answered else LATE))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        if answered:
            await asyncio.shield(leaving)
        return in_time

    async def _left(self, writer: str, write: _Write, after: float = 0.0) -> None:
        if after:
            await self._clock.sleep(after)
        with contextlib.suppress(StoreUnavailable):  # the rows forget it at its end
            await self._store.leave_write(write.provider, write.entered, writer)

    async def announced(self) -> None:
        """After ``moves`` was read: enter the writes under way at providers whose move was announced since they began.
        The mover begins when all replicas have done so. Raises :class:`StoreUnavailable`."""
        new = self._moves.active - self._announced
        for writer, write in list(self._writes.items()) if new else ():
            if write.provider in new and write.rows:
                write.refused = not await self._entered(writer, write)
                if writer not in self._writes:  # it has ended meanwhile
                    await self._left(writer, write)
        self._announced = self._moves.active


def moved_meanwhile() -> StateConflict:
    """The error for a runtime that is not where a request looked for it, while relocations have changed."""
    detail = "The runtime may have moved to another provider while it was looked up; nothing was done."
    return StateConflict(detail, retryable=Retryable.YES, retry_after=1.0)


def is_moving() -> StateConflict:
    """The error for a write to a runtime while it is moved."""
    detail = "The runtime is being moved to another provider; nothing was sent."
    return StateConflict(detail, retryable=Retryable.YES, retry_after=2.0)


def overtaken() -> StoreUnavailable:
    """The error for a write that a provider answered, but maybe one from which the runtime had gone meanwhile."""
    detail = (
        "The provider has answered, but the store could not be reached meanwhile, so whether the runtime was moved"
        " before is not known. Repeat the request."
    )
    return StoreUnavailable(detail, retry_after=2.0)
