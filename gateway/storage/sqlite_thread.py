"""A thread that owns one SQLite connection and runs what it is given, in order."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

from gateway.domain.errors import StoreUnavailable
from gateway.storage.sql import TRIES, Operation, RetryTransaction, Rollback, SqlFlavour
from gateway.storage.sql_store import unavailable

T = TypeVar("T")
Connect: TypeAlias = Callable[[], sqlite3.Connection]

_TOGETHER: Final = 64  # operations that one commit takes along, at most
_READS_TOGETHER: Final = 8  # that are answered at once


def run_steps(connection: sqlite3.Connection, dialect: SqlFlavour, operation: Operation[T]) -> T:
    """Run an operation that leaves nothing to undo."""
    result = drive(connection, dialect, operation)
    return result.result if isinstance(result, Rollback) else result


def drive(connection: sqlite3.Connection, dialect: SqlFlavour, operation: Operation[T]) -> T | Rollback[T]:
    steps = operation()
    try:
        statement = next(steps)
        while True:
            statement = steps.send(connection.execute(dialect.render(statement.sql), statement.values).fetchall())
    except StopIteration as end:
        result: T | Rollback[T] = end.value
        return result


class _Job(Generic[T]):
    """An operation and who waits for it, in an event loop. One that nobody waits for when its turn comes is skipped."""

    __slots__ = ("error", "future", "operation", "result")

    def __init__(self, operation: Operation[T], future: "asyncio.Future[T]") -> None:
        self.operation = operation
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def tell(self) -> None:
        """Let the caller know, in its event loop. It may have given up meanwhile."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def _tell(jobs: "list[_Job[Any]]") -> None:
    for job in jobs:
        job.tell()


class SqliteThread:
    """Runs operations on a connection of its own. All who ask for them are in one event loop.

    Any trouble with the file closes the connection, and the next operation opens another one. So does a file that was
    replaced: what is written to the old one would be lost.
    """

    def __init__(self, connect: Connect, path: Path, dialect: SqlFlavour, *, writes: bool, limit: int) -> None:
        self._connect = connect
        self._path = path
        self._dialect = dialect
        self._run = self._commit if writes else self._answer
        self._together = _TOGETHER if writes else _READS_TOGETHER
        self._jobs: queue.Queue[_Job[Any] | None] = queue.Queue(limit)
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._closing = threading.Event()
        self._smooth = True
        name = "store-writer" if writes else "store-reader"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T]) -> "asyncio.Future[T]":
        """Get in line, in the running event loop. Raises :class:`StoreUnavailable` when the line is too long."""
        job = _Job(operation, asyncio.get_running_loop().create_future())
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise unavailable("The store has too much to do.") from None
        return job.future

    def close(self, seconds: float) -> None:
        """Finish what is in line and end, or leave it after so many seconds. Nothing is submitted any more."""
        self._closing.set()
        with suppress(queue.Full):
            self._jobs.put_nowait(None)  # only to wake it up
        self._thread.join(seconds)

    def _work(self) -> None:
        while not (self._closing.is_set() and self._jobs.empty()):
            jobs = [job for job in self._next() if not job.future.done()]
            if not jobs:
                continue
            try:
                self._run(self._ready(), jobs)
            except StoreUnavailable as exc:
                self._fail(jobs, exc)
            except (sqlite3.Error, OSError) as exc:
                error = unavailable("The store cannot be used now.")
                error.__cause__ = exc
                self._fail(jobs, error)
            except BaseException as exc:  # noqa: BLE001 (nobody may wait for ever, whatever went wrong)
                self._fail(jobs, exc)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                jobs[0].future.get_loop().call_soon_threadsafe(_tell, jobs)
        self._disconnect()

    def _next(self) -> list[_Job[Any]]:
        jobs = [self._jobs.get()]
        with suppress(queue.Empty):
            while len(jobs) < self._together:
                jobs.append(self._jobs.get_nowait())
        return [job for job in jobs if job is not None]

    def _fail(self, jobs: list[_Job[Any]], error: BaseException) -> None:
        self._disconnect()
        for job in jobs:
            job.error = job.error or error

    def _ready(self) -> sqlite3.Connection:
        found = self._path.stat()
        if self._connection is None or self._file != (found.st_dev, found.st_ino):
            self._disconnect()
            self._connection = self._connect()
            self._file = (found.st_dev, found.st_ino)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # it may be the reason why the connection is given up
                connection.close()

    def _answer(self, connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
        for job in jobs:
            job.result = run_steps(connection, self._dialect, job.operation)

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
        """Run all jobs in one transaction. Nobody is told before all is on the disk.

        A savepoint for each costs as much as a third of its work, and is needed only where one leaves something to
        undo: then all begin again, each in its own, as do the next ones until nothing is undone any more.
        """
        if not self._smooth or not self._at_once(connection, jobs):
            connection.execute("BEGIN IMMEDIATE")
            self._smooth = False not in [self._within(connection, job) for job in jobs]
            connection.execute("COMMIT")

    def _at_once(self, connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> bool:
        """Run the jobs without savepoints; False: nothing was done, for one of them has something to undo."""
        results = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                before = connection.total_changes
                result = drive(connection, self._dialect, job.operation)
                if isinstance(result, Rollback):
                    if connection.total_changes != before:
                        break
                    result = result.result
                results.append(result)
        except sqlite3.IntegrityError:
            pass  # it comes again where it counts for its own job only
        except sqlite3.Error:
            raise
        except Exception:  # noqa: BLE001, S110 (the same)
            pass
        if len(results) < len(jobs):
            connection.execute("ROLLBACK")
            return False
        connection.execute("COMMIT")
        for job, result in zip(jobs, results, strict=True):
            job.result = result
        return True

    def _within(self, connection: sqlite3.Connection, job: _Job[Any]) -> bool:
        """Run one job, which may fail for a reason of its own. True: there was nothing to undo."""
        smooth = True
        for _ in range(TRIES):
            connection.execute("SAVEPOINT job")
            before = connection.total_changes
            try:
                result = drive(connection, self._dialect, job.operation)
            except (sqlite3.IntegrityError, RetryTransaction):
                connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
                smooth = False
                continue
            except sqlite3.Error:
                raise  # the transaction may be gone, and the others' work with it
            except Exception as exc:  # noqa: BLE001 (the caller's, who hears it)
                connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
                job.error = exc
                return False
            if isinstance(result, Rollback):
                connection.execute("ROLLBACK TO job")
                result = result.result
                smooth = smooth and connection.total_changes == before
            connection.execute("RELEASE job")
            job.result = result
            return smooth
        job.error = unavailable("Others kept changing the same thing.")
        return False
