"""The stores under test: SQLite with a file, PostgreSQL with a database of the test cluster, and memory."""

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
from gateway.storage.postgres import PostgresStore
from gateway.storage.sql_store import SqlStore
from gateway.storage.sqlite import SqliteStore
from tests.contract.store.subject import StoreSubject
from tests.memory_store import MemoryDatabase, MemoryStore
from tests.postgres_cluster import PostgresCluster

# Shifts PostgreSQL's clock: this schema precedes pg_catalog in the search path.
_CLOCK = """
CREATE SCHEMA shifted;
CREATE TABLE shifted.by (seconds double precision NOT NULL);
INSERT INTO shifted.by VALUES (0);
CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT pg_catalog.clock_timestamp() + make_interval(secs => seconds) FROM shifted.by';
CREATE FUNCTION shifted.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
    'SELECT pg_catalog.statement_timestamp() + make_interval(secs => seconds) FROM shifted.by';
"""
_EMPTY: list[bytes] = []  # the content of a file with the schema
_PREPARED: WeakSet[PostgresCluster] = WeakSet()
# DELETE is faster than TRUNCATE, because the tables are small and have many indexes.
_RESET = """
DELETE FROM intents; DELETE FROM pins; DELETE FROM decisions; DELETE FROM specs; DELETE FROM leases;
DELETE FROM base_urls; DELETE FROM api_keys; DELETE FROM principals; DELETE FROM owners; DELETE FROM access_version;
DELETE FROM ends; DELETE FROM places; DELETE FROM place_owners; DELETE FROM audit_events; DELETE FROM releases;
DELETE FROM moves; DELETE FROM move_items; DELETE FROM runtime_holds; DELETE FROM relocations;
DELETE FROM relocation_changes; DELETE FROM kept_creates;
UPDATE shifted.by SET seconds = 0
"""
_BUSY = """
SELECT query FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle' AND backend_type = 'client backend'
"""
"""Statements of stores that have not ended. Workers of the server, such as autovacuum's, are active there too."""


class _Opened(StoreSubject):
    def __init__(self) -> None:
        self.opened: list[SqlStore] = []

    @abstractmethod
    def make(self) -> SqlStore:
        """Create a store, not opened."""

    async def another(self) -> Store:
        store = self.make()
        self.opened.append(store)
        await store.open()
        return store


class MemorySubject(StoreSubject):
    """A database in memory, and a clock that advances by 1 ms on each read."""

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
    """A file. All stores over it share one clock."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._ahead = 0.0

    def make(self) -> SqlStore:
        return SqliteStore(self.path, clock=lambda: time() + self._ahead)

    async def advance(self, seconds: float) -> None:
        self._ahead += seconds


class PostgresSubject(_Opened):
    """A database of the test cluster."""

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
    """A connection for statements that a store does not have."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def database(cluster: PostgresCluster) -> AsyncIterator[str]:
    """The URL of an empty database. Dropping it at the end fails if a connection to it is open."""
    name = f"test_{token_hex(8)}"
    async with connected(cluster.dsn()) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
    yield cluster.dsn(name)
    async with connected(cluster.dsn()) as connection:
        await connection.execute(f"DROP DATABASE {name}")


async def shared_database(cluster: PostgresCluster) -> str:
    """The URL of a database that all tests use in turn, with the schema and an adjustable clock."""
    dsn = cluster.dsn("stores")
    if cluster in _PREPARED:
        return dsn
    async with connected(cluster.dsn()) as connection:
        await connection.execute("CREATE DATABASE stores")
    await PostgresStore(SecretStr(dsn)).upgrade()
    async with connected(dsn) as connection:
        await connection.execute(_CLOCK)
        await connection.execute("ALTER DATABASE stores SET search_path = shifted, pg_catalog, public")
    _PREPARED.add(cluster)
    return dsn


async def _create_file(subject: SqliteSubject) -> None:
    """Create the file: an upgrade for the first test, a copy of its file for the others."""
    if _EMPTY:
        subject.path.write_bytes(_EMPTY[0])
    else:
        await subject.make().upgrade()
        _EMPTY.append(subject.path.read_bytes())


@asynccontextmanager
async def memory_stores() -> AsyncIterator[MemorySubject]:
    """An empty store in memory."""
    subject = MemorySubject()
    subject.store = await subject.another()
    yield subject


@asynccontextmanager
async def sqlite_stores(folder: Path) -> AsyncIterator[SqliteSubject]:
    """An empty store in a new file."""
    subject = SqliteSubject(folder / "store.db")
    await _create_file(subject)
    subject.store = await subject.another()
    try:
        yield subject
    finally:
        for store in subject.opened:
            await store.close()


@asynccontextmanager
async def postgres_stores(cluster: PostgresCluster) -> AsyncIterator[PostgresSubject]:
    """An empty store in PostgreSQL. Fails if a connection is in use at the end of a test."""
    async with connected(await shared_database(cluster)) as connection:
        await connection.execute(_RESET)
        subject = PostgresSubject(cluster.dsn("stores"), connection)
        subject.store = await subject.another()
        try:
            yield subject
            assert not await connection.fetch(_BUSY), "a connection is still in use"
        finally:
            for store in subject.opened:
                await store.close()
