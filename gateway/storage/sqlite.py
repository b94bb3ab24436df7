"""The store in one SQLite file, for all processes of one machine. A network file system is not supported.

One thread writes. It commits all waiting operations together, because the flush to disk is the cost of a commit: thirty
concurrent creates share one flush. Reads have their own thread and connection, so they never wait for a write.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from gateway.storage.migrations import SchemaStatus, read_status, status_of, upgrade
from gateway.storage.sql import Operation, Statement, Steps
from gateway.storage.sql_store import SqlStore, require_usable, unavailable
from gateway.storage.sqlite_thread import SQLITE, SqliteThread, run_steps

T = TypeVar("T")

_OLDEST: Final = (3, 35, 0)  # the first SQLite with RETURNING
_FREED: Final = 2000  # pages (4 KiB each) that one purge returns to the file system, at most
_WAITING: Final = 1000  # queued operations per thread; more are refused


class SqliteStore(SqlStore):
    """A store in the file at ``path``. ``timeout`` bounds every call, in seconds; ``clock`` is the database's clock.

    Only :meth:`upgrade` creates the file, with mode 0600. A file that disappears while the gateway runs is a failure,
    not an empty store.
    """

    def __init__(self, path: Path, *, timeout: float = 5.0, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._timeout = timeout
        self._clock = clock
        self._threads: tuple[SqliteThread, SqliteThread] | None = None

    async def open(self) -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise ValueError(f"SQLite {'.'.join(map(str, _OLDEST))} or newer is needed, not {sqlite3.sqlite_version}")
        if self._threads is None:
            start = partial(SqliteThread, self._connect, self._path, self._clock, limit=_WAITING, timeout=self._timeout)
            self._threads = (start(writes=True), start(writes=False))

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        for thread in threads or ():
            await thread.close()

    async def ping(self) -> None:
        status = await self._write(read_status)
        if status.fault is not None:
            for thread in self._threads or ():
                thread.renew()
        require_usable(status)

    async def schema(self) -> SchemaStatus:
        return await self._outside(self._status)

    async def upgrade(self) -> SchemaStatus:
        return await self._outside(self._upgrade)

    async def purge(self, *, settled: float, kept: float, limit: int) -> int:
        """As in every store. The pages that became free are returned to the file system, up to :data:`_FREED` per call,
        if the file was created with incremental vacuum."""
        purged = await super().purge(settled=settled, kept=kept, limit=limit)
        if purged:
            await self._write(_shrink)
        return purged

    def _write(self, operation: Operation[T]) -> Coroutine[Any, Any, T]:
        return self._on(0, operation)

    def _read(self, operation: Operation[T]) -> Coroutine[Any, Any, T]:
        return self._on(1, operation)

    async def _on(self, thread: int, operation: Operation[T]) -> T:
        if self._threads is None:
            raise unavailable("The store is not open.")
        return await self._threads[thread].submit(operation)

    async def _outside(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except (sqlite3.Error, OSError) as exc:
            raise unavailable("The store cannot be opened.") from exc

    def _status(self) -> SchemaStatus:
        if not self._path.exists():
            return status_of(0, 0)
        connection = self._raw("ro")
        try:
            known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'store_schema'").fetchone()
            return run_steps(connection, read_status, self._clock()) if known else status_of(0, 0)
        finally:
            connection.close()

    def _upgrade(self) -> SchemaStatus:
        # An existing file is not opened: closing it again would release all locks of this process on the file.
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        connection = self._raw("rw")
        try:
            connection.execute("BEGIN IMMEDIATE")
            status = run_steps(connection, lambda: upgrade(SQLITE), self._clock())
            connection.execute("COMMIT")
            return status
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        """A connection to a store with a usable schema; otherwise raises :class:`StoreUnavailable`."""
        connection = self._raw("rw")
        try:
            try:
                status = run_steps(connection, read_status, self._clock())
            except sqlite3.OperationalError:
                status = status_of(0, 0)
            require_usable(status)
        except BaseException:
            connection.close()
            raise
        return connection

    def _raw(self, mode: str) -> sqlite3.Connection:
        uri = f"file:{quote(str(self._path.absolute()))}?mode={mode}"
        # Shorter than the timeout of a call, so that the call fails with the real reason.
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=self._timeout * 0.8)
        try:
            if mode != "ro":
                self._make_durable(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_durable(self, connection: sqlite3.Connection) -> None:
        """Set what a commit needs to survive a power loss. The journal mode is stored in the file. Changing it needs
        exclusive access, and SQLite itself does not wait for that."""
        if self._path.stat().st_size == 0:  # later it has no effect
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        deadline = time.monotonic() + self._timeout * 0.8
        while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                if mode != "wal":
                    raise sqlite3.OperationalError(f"the file system allows no write-ahead log (journal mode {mode})")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")


def _shrink() -> Steps[int]:
    """Return free pages to the file system. Returns how many there were."""
    ((incremental,),) = yield Statement("SELECT auto_vacuum = 2 FROM pragma_auto_vacuum")
    ((free,),) = yield Statement("SELECT freelist_count FROM pragma_freelist_count")
    for _ in range(min(free, _FREED) if incremental else 0):
        # The sqlite3 module runs one step of this statement, which frees one page, whatever number it has.
        yield Statement("PRAGMA incremental_vacuum(1)")
    return int(free)
