"""A thread that owns one SQLite connection and runs what it is given, in order."""

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from gateway.domain.errors import StoreUnavailable
from gateway.storage.sql_store import unavailable
from gateway.storage.statements import TRIES, Dialect, Operation, TryAgain, Undo

T = TypeVar("T")
Connect: TypeAlias = Callable[[], sqlite3.Connection]

_TOGETHER: Final = 64  # operations that one commit takes along, at most


def run_steps(connection: sqlite3.Connection, dialect: Dialect, operation: Operation[T]) -> T:
    """Run an operation that leaves nothing to undo."""
    result = _driven(connection, dialect, operation)
    return result.result if isinstance(result, Undo) else result


def _driven(connection: sqlite3.Connection, dialect: Dialect, operation: Operation[T]) -> T | Undo[T]:
    steps = operation()
    try:
        statement = next(steps)
        while True:
            values = {str(number): value for number, value in enumerate(statement.values, 1)}
            statement = steps.send(connection.execute(dialect.render(statement.sql), values).fetchall())
    except StopIteration as end:
        result: T | Undo[T] = end.value
        return result


class _Job:
    """An operation and who waits for it. A caller that gave up before its turn is skipped."""

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        self.future: Future[Any] = Future()
        self.result: Any = None

    def fail(self, error: BaseException) -> None:
        if self.future.running() or self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class SqliteThread:
    """Runs operations on a connection of its own.

    Any trouble with the file closes the connection, and the next operation opens another one. So does a file that was
    replaced: what is written to the old one would be lost.
    """

    def __init__(self, connect: Connect, path: Path, dialect: Dialect, *, writes: bool, limit: int) -> None:
        self._connect = connect
        self._path = path
        self._dialect = dialect
        self._run = self._commit if writes else self._answer
        self._together = _TOGETHER if writes else 1
        self._jobs: queue.Queue[_Job | None] = queue.Queue(limit)
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._closing = threading.Event()
        name = "store-writer" if writes else "store-reader"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T]) -> "Future[T]":
        """Get in line. Raises :class:`StoreUnavailable` when the line is too long."""
        job = _Job(operation)
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
            jobs = self._next()
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
        self._disconnect()

    def _next(self) -> list[_Job]:
        jobs = [self._jobs.get()]
        while len(jobs) < self._together:
            try:
                jobs.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        return [job for job in jobs if job is not None]

    def _fail(self, jobs: list[_Job], error: BaseException) -> None:
        self._disconnect()
        for job in jobs:
            if not job.future.done():
                job.fail(error)

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

    def _answer(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        for job in jobs:
            if job.future.set_running_or_notify_cancel():
                job.future.set_result(run_steps(connection, self._dialect, job.operation))

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """Run every job in a savepoint of its own, and tell nobody before all is on the disk."""
        connection.execute("BEGIN IMMEDIATE")
        ran = [job for job in jobs if job.future.set_running_or_notify_cancel() and self._within(connection, job)]
        connection.execute("COMMIT")
        for job in ran:
            job.future.set_result(job.result)

    def _within(self, connection: sqlite3.Connection, job: _Job) -> bool:
        """Run one job. False when it failed for a reason of its own, of which its caller has been told."""
        for _ in range(TRIES):
            connection.execute("SAVEPOINT job")
            try:
                result = _driven(connection, self._dialect, job.operation)
            except (sqlite3.IntegrityError, TryAgain):
                connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
                continue
            except sqlite3.Error:
                raise  # the transaction may be gone, and the others' work with it
            except Exception as exc:  # noqa: BLE001 (the caller's, who hears it)
                connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
                job.future.set_exception(exc)
                return False
            if isinstance(result, Undo):
                connection.execute("ROLLBACK TO job")
                result = result.result
            connection.execute("RELEASE job")
            job.result = result
            return True
        job.future.set_exception(unavailable("Others kept changing the same thing."))
        return False
