"""A thread that owns one SQLite connection and runs operations in order."""

import asyncio
import queue
import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

from gateway.domain.errors import StoreUnavailable
from gateway.storage.sql import TRIES, Operation, RetryTransaction, Rollback, SqlFlavour
from gateway.storage.sql_store import unavailable

T = TypeVar("T")
Connect: TypeAlias = Callable[[], sqlite3.Connection]

SQLITE: Final = SqlFlavour(
    now="{now}",  # the last parameter (:func:`_rendered`)
    now_of_change="{now}",
    locked="",
    unlocked_only="",
    binary="BLOB",
    migration_lock="SELECT 1",  # BEGIN IMMEDIATE is the lock
    parameter="?",
)
_NUMBER: Final = re.compile(r"\$(\d+)")
_BATCH: Final = 64  # operations of a commit, after which no further group is added to it
_READ_BATCH: Final = 8  # the same for reads whose results are delivered together


# Without an adapter of their own, sqlite3 looks in each of these values for a method that adapts it, and raises and
# catches two errors; this takes longer than to bind it.
for _kind in (bytes, type(None)):
    sqlite3.register_adapter(_kind, lambda value: value)


@lru_cache(maxsize=512)
def _rendered(sql: str) -> tuple[str, bool]:
    """The SQL for SQLite, and whether its last parameter is the time. (A function of SQL that returns the time would
    wait for the interpreter's lock, several times in each statement.)"""
    last = max(map(int, _NUMBER.findall(sql)), default=0) + 1
    return SQLITE.render(sql).replace("{now}", f"?{last}"), "{now}" in sql


def run_steps(connection: sqlite3.Connection, operation: Operation[T], now: float) -> T:
    """Run an operation that needs no rollback, and return its result."""
    result = drive(connection, operation, now)
    return result.result if isinstance(result, Rollback) else result


def drive(connection: sqlite3.Connection, operation: Operation[T], now: float) -> T | Rollback[T]:
    """Run the statements of an operation, at a time in seconds. The caller begins and ends the transaction."""
    steps, execute = operation(), connection.execute
    try:
        statement = next(steps)
        while True:
            text, takes_now = _rendered(statement.sql)
            cursor = execute(text, (*statement.values, now) if takes_now else statement.values)
            rows = cursor.fetchall() if statement.changed is None else [(now,)] * cursor.rowcount
            statement = steps.send(rows)
    except StopIteration as end:
        result: T | Rollback[T] = end.value
        return result


class _Job(Generic[T]):
    """An operation, and the future of its caller in an event loop. It is skipped if the future is done by then."""

    __slots__ = ("error", "future", "operation", "result")

    def __init__(self, operation: Operation[T], future: "asyncio.Future[T]") -> None:
        self.operation = operation
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def deliver(self) -> None:
        """Set the result of the future, in its event loop. The caller may have been cancelled meanwhile."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Group:
    """The jobs of one iteration of the event loop. They reach the thread together, and have one timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self.jobs: list[_Job[Any]] = []
        self.timer = loop.call_later(timeout, self._time_out)

    def _time_out(self) -> None:
        for job in self.jobs:
            if not job.future.done():
                job.future.set_exception(unavailable("The store took too long."))


class SqliteThread:
    """Runs operations on its own connection. All callers are in one event loop.

    After any error of the file the connection is closed, and the next operation opens a new one. The same happens when
    the file was replaced: writes to the old file would be lost.
    """

    def __init__(
        self, connect: Connect, path: Path, clock: Callable[[], float], *, writes: bool, limit: int, timeout: float
    ) -> None:
        self._connect = connect
        self._path = path
        self._clock = clock
        self._limit = limit
        self._timeout = timeout
        self._run = self._commit if writes else self._run_reads
        self._batch = _BATCH if writes else _READ_BATCH
        self._group: _Group | None = None
        self._waiting = 0
        # Bounded by _waiting. (With a queue.Queue, which is Python code, a create takes a twentieth more.)
        self._groups: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._no_savepoints = True
        self._loop = asyncio.get_running_loop()
        name = "store-writer" if writes else "store-reader"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T]) -> "asyncio.Future[T]":
        """Queue an operation, in the event loop. Raises :class:`StoreUnavailable` when too many are waiting."""
        if self._waiting >= self._limit:
            raise unavailable("The store has too many operations waiting.")
        self._waiting += 1
        job = _Job(operation, self._loop.create_future())
        group = self._group
        if group is None or len(group.jobs) >= self._batch:
            group = self._group = _Group(self._loop, self._timeout)
            self._loop.call_soon(self._hand_over, group)
        group.jobs.append(job)
        return job.future

    def _hand_over(self, group: _Group) -> None:
        if self._group is group:
            self._group = None
        self._groups.put(group)

    def renew(self) -> None:
        """Open a new connection, which checks the schema, for the next operation."""
        self._file = None

    async def close(self) -> None:
        """Finish the queued operations and end the thread. Waits until the timeout at most and then leaves the thread
        behind. Nothing may be submitted afterwards."""
        self._loop.call_soon(self._groups.put, None)  # after the last group
        await asyncio.to_thread(self._thread.join, self._timeout)

    def _work(self) -> None:
        ended = False
        while not ended:
            groups, ended = self._next()
            jobs = [job for group in groups for job in group.jobs if not job.future.done()]
            try:
                if jobs:
                    self._run(self._ready(), jobs)
            except StoreUnavailable as exc:
                self._fail(jobs, exc)
            except (sqlite3.Error, OSError) as exc:
                error = unavailable("The store cannot be used now.")
                error.__cause__ = exc
                self._fail(jobs, error)
            except BaseException as exc:  # noqa: BLE001 (no caller may wait forever, whatever failed)
                self._fail(jobs, exc)
            with suppress(RuntimeError):  # the loop is closed: no caller waits
                self._loop.call_soon_threadsafe(self._deliver, groups)
        self._disconnect()

    def _next(self) -> tuple[list[_Group], bool]:
        """Wait for a group, and return it with those behind it, up to one batch; and whether they are the last."""
        groups: list[_Group] = []
        size = 0
        with suppress(queue.Empty):
            while size < self._batch:
                group = self._groups.get(block=not groups)
                if group is None:
                    return groups, True
                groups.append(group)
                size += len(group.jobs)
        return groups, False

    def _deliver(self, groups: list[_Group]) -> None:
        for group in groups:
            group.timer.cancel()
            self._waiting -= len(group.jobs)
            for job in group.jobs:
                job.deliver()

    def _fail(self, jobs: list[_Job[Any]], error: BaseException) -> None:
        self._disconnect()
        for job in jobs:
            job.error = job.error or error

    def _ready(self) -> sqlite3.Connection:
        stat = self._path.stat()
        if self._connection is None or self._file != (stat.st_dev, stat.st_ino):
            self._disconnect()
            self._connection = self._connect()
            self._file = (stat.st_dev, stat.st_ino)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # the connection may be broken
                connection.close()

    def _run_reads(self, connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
        for job in jobs:
            job.result = run_steps(connection, job.operation, self._clock())

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
        """Run all jobs in one transaction. Results are delivered after all of it is on disk.

        A savepoint per job adds a third to its cost, and is needed only if a job must be rolled back. So jobs run
        without savepoints first. If one must be rolled back, all run again with savepoints, and so do later batches
        until a batch needs no rollback.
        """
        if not self._no_savepoints or not self._without_savepoints(connection, jobs):
            connection.execute("BEGIN IMMEDIATE")
            self._no_savepoints = False not in [self._in_savepoint(connection, job) for job in jobs]
            connection.execute("COMMIT")

    def _without_savepoints(self, connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> bool:
        """Run the jobs without savepoints. False: all was rolled back, because one of them must be rolled back."""
        results = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                before = connection.total_changes
                result = drive(connection, job.operation, self._clock())
                if isinstance(result, Rollback):
                    if connection.total_changes != before:
                        break
                    result = result.result
                results.append(result)
        except sqlite3.IntegrityError:
            pass  # occurs again with savepoints, where it affects its own job only
        except sqlite3.Error:
            raise
        except Exception:  # noqa: BLE001, S110 (the same applies)
            pass
        if len(results) < len(jobs):
            connection.execute("ROLLBACK")
            return False
        connection.execute("COMMIT")
        for job, result in zip(jobs, results, strict=True):
            job.result = result
        return True

    def _in_savepoint(self, connection: sqlite3.Connection, job: _Job[Any]) -> bool:
        """Run one job in a savepoint; its own failure becomes its error. True: it needed no rollback."""
        clean = True
        for _ in range(TRIES):
            connection.execute("SAVEPOINT job")
            before = connection.total_changes
            try:
                result = drive(connection, job.operation, self._clock())
            except (sqlite3.IntegrityError, RetryTransaction):
                connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
                clean = False
                continue
            except sqlite3.Error:
                raise  # SQLite may have rolled back the whole transaction
            except Exception as exc:  # noqa: BLE001 (raised to the caller)
                connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
                job.error = exc
                return False
            if isinstance(result, Rollback):
                connection.execute("ROLLBACK TO job")
                result = result.result
                clean = clean and connection.total_changes == before
            connection.execute("RELEASE job")
            job.result = result
            return clean
        job.error = unavailable("Concurrent changes kept conflicting.")
        return False
