"""The stores under test: SQLite over a file, PostgreSQL over a database of the tests' own cluster, and memory."""

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from time import time
from weakref import WeakSet

import asyncpg
from pydantic import SecretStr

from gateway.ports.store import Store
from gateway.storage.memory import MemoryDatabase, MemoryStore
from gateway.storage.postgres import PostgresStore
from gateway.storage.sql_store import SqlStore
from gateway.storage.sqlite import SqliteStore
from gateway.testing.postgres_cluster import PostgresCluster
from gateway.testing.store_subject import StoreSubject

# PostgreSQL's clock is moved by a function of the same name that is found before its own.
_CLOCK = """
CREATE SCHEMA shifted;
CREATE TABLE shifted.by (seconds double precision NOT NULL);
INSERT INTO shifted.by VALUES (0);
CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT pg_catalog.clock_timestamp() + make_interval(secs => seconds) FROM shifted.by';
"""
_EMPTY: list[bytes] = []  # a file with the schema
_WITH_A_CLOCK: WeakSet[PostgresCluster] = WeakSet()
# Faster than to truncate them, because they are small and have many indexes.
_RESET = """
DELETE FROM intents; DELETE FROM pins; DELETE FROM decisions; DELETE FROM specs; DELETE FROM leases;
UPDATE shifted.by SET seconds = 0
"""
_BUSY = """
SELECT query FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
"""


class _Opened(StoreSubject):
    def __init__(self) -> None:
        self.opened: list[SqlStore] = []

    @abstractmethod
    def make(self) -> SqlStore:
        """A store that nobody has opened."""

    async def another(self) -> Store:
        store = self.make()
        self.opened.append(store)
        await store.open()
        return store


class MemorySubject(StoreSubject):
    """Rows in memory, and a clock that goes on a little whenever it is read."""

    def __init__(self) -> None:
        self._rows = MemoryDatabase()
        self._time = 1_800_000_000.0

    def _now(self) -> float:
        self._time += 0.001
        return self._time

    async def another(self) -> Store:
        store = MemoryStore(self._now, database=self._rows)
        await store.open()
        return store

    async def advance(self, seconds: float) -> None:
        self._time += seconds


class SqliteSubject(_Opened):
    """A file; all stores over it share one clock."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._ahead = 0.0

    def make(self) -> SqlStore:
        return SqliteStore(self.path, clock=lambda: time() + self._ahead)

    async def advance(self, seconds: float) -> None:
        self._ahead += seconds


class PostgresSubject(_Opened):
    """A database."""

    def __init__(self, dsn: str, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        super().__init__()
        self.dsn = dsn
        self._connection = connection

    def make(self) -> SqlStore:
        return PostgresStore(SecretStr(self.dsn))

    async def advance(self, seconds: float) -> None:
        await self._connection.execute("UPDATE shifted.by SET seconds = seconds + $1", seconds)


@asynccontextmanager
async def connected(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection for what the store does not do."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def database(cluster: PostgresCluster) -> AsyncIterator[str]:
    """An empty database, by its address. One that somebody is connected to at the end cannot be dropped."""
    name = f"test_{token_hex(8)}"
    async with connected(cluster.dsn()) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
    yield cluster.dsn(name)
    async with connected(cluster.dsn()) as connection:
        await connection.execute(f"DROP DATABASE {name}")


async def database_with_a_clock(cluster: PostgresCluster) -> str:
    """The address of a database that all tests use, one after the other, with the schema and a clock to be moved."""
    dsn = cluster.dsn("stores")
    if cluster in _WITH_A_CLOCK:
        return dsn
    async with connected(cluster.dsn()) as connection:
        await connection.execute("CREATE DATABASE stores")
    await PostgresStore(SecretStr(dsn)).upgrade()
    async with connected(dsn) as connection:
        await connection.execute(_CLOCK)
        await connection.execute("ALTER DATABASE stores SET search_path = shifted, pg_catalog, public")
    _WITH_A_CLOCK.add(cluster)
    return dsn


async def _with_the_schema(subject: SqliteSubject) -> None:
    """Give it a copy of the first file that was made."""
    if _EMPTY:
        subject.path.write_bytes(_EMPTY[0])
    else:
        await subject.make().upgrade()
        _EMPTY.append(subject.path.read_bytes())


@asynccontextmanager
async def memory_stores() -> AsyncIterator[MemorySubject]:
    """Nothing yet."""
    subject = MemorySubject()
    subject.store = await subject.another()
    yield subject


@asynccontextmanager
async def sqlite_stores(folder: Path) -> AsyncIterator[SqliteSubject]:
    """A fresh file."""
    subject = SqliteSubject(folder / "store.db")
    await _with_the_schema(subject)
    subject.store = await subject.another()
    try:
        yield subject
    finally:
        for store in subject.opened:
            await store.close()


@asynccontextmanager
async def postgres_stores(cluster: PostgresCluster) -> AsyncIterator[PostgresSubject]:
    """An empty store. At the end of a test, no connection is in use."""
    async with connected(await database_with_a_clock(cluster)) as connection:
        await connection.execute(_RESET)
        subject = PostgresSubject(cluster.dsn("stores"), connection)
        subject.store = await subject.another()
        try:
            yield subject
            assert not await connection.fetch(_BUSY), "a connection was left checked out"
        finally:
            for store in subject.opened:
                await store.close()
