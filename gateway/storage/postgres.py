"""The store in PostgreSQL, for several replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg
from pydantic import SecretStr

from gateway.storage.migrations import SchemaStatus, read_status, status_of, upgrade
from gateway.storage.sql import TRIES, Operation, RetryTransaction, Rollback, SqlFlavour
from gateway.storage.sql_store import SqlStore, require_usable, unavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[Any] | PoolConnectionProxy[Any]

T = TypeVar("T")

POSTGRES: Final = SqlFlavour(
    now="CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)",
    now_of_change="CAST(extract(epoch FROM statement_timestamp()) AS DOUBLE PRECISION)",
    locked=" FOR UPDATE",
    unlocked_only=" FOR UPDATE SKIP LOCKED",
    binary="BYTEA",
    migration_lock="SELECT pg_advisory_xact_lock(7270941862014537)",
    notify_access="SELECT pg_notify('rtgw_access', '')",
)
_CONFLICTS: Final = (
    asyncpg.UniqueViolationError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    RetryTransaction,
)
_WRITABLE: Final = "SELECT current_setting('transaction_read_only') = 'off'"
_WAITING: Final = 1000  # operations that run or wait for a connection; more are refused
_UPGRADE: Final = 60.0  # seconds; the limit for an upgrade


class PostgresStore(SqlStore):
    """A store in the database at ``dsn``, with at most ``connections`` connections. ``timeout``, in seconds, limits
    every call, and every statement at the server."""

    shared = True

    def __init__(self, dsn: SecretStr, *, connections: int = 4, timeout: float = 5.0) -> None:
        self._dsn = dsn
        self._connections = connections
        self._timeout = timeout
        self._pool: asyncpg.Pool | None = None
        self._running = 0

    async def open(self) -> None:
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                self._dsn.get_secret_value(),
                min_size=0,
                max_size=self._connections,
                timeout=self._timeout,
                init=_check,
                reset=_no_reset,
                server_settings=_settings(self._timeout),
            )

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(self._timeout):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def ping(self) -> None:
        async with self._connection() as connection:
            writable = await connection.fetchval(_WRITABLE)
            status = await _run(connection, read_status)
        if status.fault is not None and self._pool is not None:
            await self._pool.expire_connections()  # new ones check the schema
        require_usable(status)
        if not writable:
            raise unavailable("The store cannot be written to.")

    async def schema(self) -> SchemaStatus:
        async with self._outside_pool(self._timeout) as connection:
            if await connection.fetchval("SELECT to_regclass('store_schema')") is None:
                return status_of(0, 0)
            return await _run(connection, read_status)

    async def listen(self, changed: Callable[[], object]) -> None:
        """Uses a connection of its own. It notices the end of that connection, but not a server that hangs."""
        ended = asyncio.Event()
        connection = None

        def notified(*_: object) -> None:
            changed()

        try:
            async with _bounded(self._timeout):
                connection = await asyncpg.connect(
                    self._dsn.get_secret_value(), timeout=self._timeout, server_settings=_settings(self._timeout)
                )
                connection.add_termination_listener(lambda _: ended.set())
                await connection.add_listener("rtgw_access", notified)
            changed()  # for what changed before
            await ended.wait()
        finally:
            if connection is not None:
                connection.terminate()
        raise unavailable("The store has closed the connection.")

    async def upgrade(self) -> SchemaStatus:
        async with self._outside_pool(_UPGRADE) as connection:
            return await _transact(connection, lambda: upgrade(POSTGRES))

    async def _write(self, operation: Operation[T]) -> T:
        async with self._connection() as connection:
            for _ in range(TRIES):
                try:
                    return await _transact(connection, operation)
                except _CONFLICTS:
                    continue
        raise unavailable("Concurrent changes kept conflicting.")

    async def _read(self, operation: Operation[T]) -> T:
        async with self._connection() as connection:
            return await _run(connection, operation)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool. Raises :class:`StoreUnavailable`, after ``timeout`` at the latest.

        An interrupted connection is terminated: a clean close would wait for a server that may hang."""
        pool = self._pool
        if pool is None:
            raise unavailable("The store is not open.")
        if self._running >= _WAITING:
            raise unavailable("The store has too many operations waiting.")
        self._running += 1
        try:
            async with _bounded(self._timeout):
                connection = await pool.acquire()
                try:
                    yield connection
                except (asyncio.CancelledError, asyncpg.ReadOnlySQLTransactionError, asyncpg.InternalClientError):
                    # The second: a primary has become a standby. The third: the server was closing the connection.
                    connection.terminate()
                    raise
                finally:
                    await pool.release(connection)
        finally:
            self._running -= 1

    @asynccontextmanager
    async def _outside_pool(self, seconds: float) -> AsyncIterator[Connection]:
        """A connection outside the pool, which does not check the schema. All of its use takes ``seconds`` at most."""
        async with _bounded(seconds):
            connection = await asyncpg.connect(
                self._dsn.get_secret_value(), timeout=self._timeout, server_settings=_settings(seconds)
            )
            try:
                yield connection
            finally:
                connection.terminate()


@asynccontextmanager
async def _bounded(seconds: float) -> AsyncIterator[None]:
    """Raise every failure, and a timeout after ``seconds``, as :class:`StoreUnavailable`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as exc:
        raise unavailable("The store took too long.") from exc
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as exc:
        raise unavailable("The store cannot be used now.") from exc


def _settings(seconds: float) -> dict[str, str]:
    """The session's settings: the server times out when the client does, and confirms a commit only once it is on
    disk."""
    limit = f"{int(seconds * 1000)}ms"
    return {
        "application_name": "runtime-gateway",
        "statement_timeout": limit,
        "lock_timeout": limit,
        "idle_in_transaction_session_timeout": limit,
        "default_transaction_isolation": "read committed",
        "synchronous_commit": "on",
        "jit": "off",
    }


async def _check(connection: Connection) -> None:
    """Reject a connection whose commits may be lost, for example through a pooler that drops our settings, and a schema
    that this version cannot use. Raises :class:`StoreUnavailable`."""
    if await connection.fetchval("SELECT current_setting('synchronous_commit')") != "on":
        raise unavailable("The store cannot be used: its commits need synchronous_commit=on.")
    try:
        status = await _run(connection, read_status)
    except asyncpg.UndefinedTableError:
        status = status_of(0, 0)
    require_usable(status)


async def _no_reset(_: Connection) -> None:
    """Operations leave no state in the session, so the pool saves the round trip of a reset."""


async def _transact(connection: Connection, operation: Operation[T]) -> T:
    transaction = connection.transaction()
    await transaction.start()
    try:
        result = await _driven(connection, operation)
    except Exception:
        await transaction.rollback()
        raise
    if isinstance(result, Rollback):
        await transaction.rollback()
        return result.result
    await transaction.commit()
    return result


async def _run(connection: Connection, operation: Operation[T]) -> T:
    result = await _driven(connection, operation)
    return result.result if isinstance(result, Rollback) else result


async def _driven(connection: Connection, operation: Operation[T]) -> T | Rollback[T]:
    steps = operation()
    try:
        statement = next(steps)
        while True:
            text = POSTGRES.render(statement.sql, is_change=statement.changed is not None)
            if statement.changed is not None:
                text += f" RETURNING {statement.changed}"
            statement = steps.send(await connection.fetch(text, *statement.values))
    except StopIteration as end:
        result: T | Rollback[T] = end.value
        return result
