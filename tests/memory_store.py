"""A store in memory, for tests: the same SQL as in a file, run by SQLite over a database that no file backs.

A call runs in the thread of its caller, without a wait: no two operations overlap, so a test that schedules every step
is deterministic. The rows are lost with the process. No gateway runs on this store.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from types import GeneratorType
from typing import Any, Final, TypeAlias, TypeVar, cast
from weakref import finalize

from gateway.domain.intents import Intent
from gateway.storage.migrations import SchemaStatus, read_status, upgrade
from gateway.storage.sql import COLUMNS, Operation, Rollback, Row, intent_of
from gateway.storage.sql_store import SqlStore, require_usable, unavailable
from gateway.storage.sqlite_thread import SQLITE, drive

T = TypeVar("T")

OnCall: TypeAlias = Callable[[str, bool], Awaitable[None] | None]
"""Called with the name of an operation: before it runs (False), and after its commit but before its caller receives the
result (True). It may wait, and it may raise :class:`StoreUnavailable`. None: there is nothing to wait for.

The name is that of the generator function in :mod:`gateway.storage.intent_writes` or
:mod:`gateway.storage.intent_reads` (and beside them); that of :meth:`MemoryStore.ping` is ``ping``."""

_ALL: Final = f"SELECT {COLUMNS} FROM intents ORDER BY rowid"  # noqa: S608 (constants)
_TABLES: Final = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'store_schema'"


class MemoryDatabase:
    """The rows. Stores over one database act as replicas of one gateway."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Row, Intent]] = {}
        self._intents: dict[str, Intent] = {}
        self._read_at = 0
        self._connection = _connect()
        _template().backup(self._connection)
        finalize(self, self._connection.close)

    @property
    def intents(self) -> Mapping[str, Intent]:
        """All intents by id, oldest first. An unchanged intent is the same object on each read."""
        if self._read_at != self._connection.total_changes:
            rows = self._connection.execute(_ALL).fetchall()
            known = ((row, self._rows.get(row[0])) for row in rows)
            self._rows = {row[0]: old if old and old[0] == row else (row, intent_of(row)) for row, old in known}
            self._intents = {intent_id: intent for intent_id, (_, intent) in self._rows.items()}
            self._read_at = self._connection.total_changes
        return self._intents

    def clear(self) -> None:
        """Delete all rows, which takes a tenth of the time of a new database."""
        for (table,) in self._connection.execute(_TABLES).fetchall():
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 (the schema's own)

    def run(self, operation: Operation[T], now: float, *, writes: bool) -> T:
        """Run an operation at a time in seconds since the epoch; one that writes runs in a transaction. Raises what the
        operation raises, and :class:`StoreUnavailable` for an error of SQLite; nothing is changed then."""
        try:
            if writes:
                self._connection.execute("BEGIN")
            result = drive(self._connection, operation, now)
            if isinstance(result, Rollback):
                return result.result
            if writes:
                self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            raise unavailable("The store cannot be used now.") from exc
        else:
            return result
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


class MemoryStore(SqlStore):
    """A store over a database in memory. It is open from the start, and again after :meth:`open`."""

    def __init__(
        self, clock: Callable[[], float], *, database: MemoryDatabase | None = None, on_call: OnCall | None = None
    ) -> None:
        """``clock`` is the database's own, in seconds since the epoch; an operation reads it once."""
        self.database: Final = database or MemoryDatabase()
        self._clock = clock
        self._on_call = on_call
        self._is_open = True

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def ping(self) -> None:
        require_usable(await self._run(read_status, "ping"))

    async def schema(self) -> SchemaStatus:
        return await self._run(read_status)

    async def upgrade(self) -> SchemaStatus:
        return await self._run(lambda: upgrade(SQLITE), writes=True)

    async def _write(self, operation: Operation[T]) -> T:
        return await self._run(operation, writes=True)

    async def _read(self, operation: Operation[T]) -> T:
        return await self._run(operation)

    async def _run(self, operation: Operation[T], name: str | None = None, *, writes: bool = False) -> T:
        if not self._is_open:
            raise unavailable("The store is closed.")
        if self._on_call is None:
            return self.database.run(operation, self._clock(), writes=writes)
        name = name or cast("GeneratorType[Any, Any, Any]", operation()).__name__
        if (before := self._on_call(name, False)) is not None:
            await before
        result = self.database.run(operation, self._clock(), writes=writes)
        if (after := self._on_call(name, True)) is not None:
            await after
        return result


def _connect() -> sqlite3.Connection:
    # The garbage collector closes the connection, and runs in any thread.
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


@lru_cache(maxsize=1)
def _template() -> sqlite3.Connection:
    """An empty database with the current schema: copying it takes a quarter of the time of an upgrade."""
    connection = _connect()
    drive(connection, lambda: upgrade(SQLITE), 0.0)
    return connection
