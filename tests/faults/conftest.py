"""The stores of the gateways under test, and the size and seed of a run: ``make faults N=1000 SEED=7``."""

import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from gateway.storage.postgres import PostgresStore
from gateway.storage.sql_store import SqlStore
from gateway.storage.sqlite import SqliteStore
from tests.contract.store_subjects import connected, database
from tests.faults.replicas import encryption_key
from tests.postgres_cluster import PostgresCluster


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """The location of a store. ``settings`` are for gateways, ``make`` is for a test's own access. ``file`` is the
    SQLite file; ``admin`` is the DSN of the PostgreSQL database from which the store's database is managed."""

    kind: str
    settings: dict[str, Any]
    make: Callable[[], SqlStore]
    file: Path | None = None
    admin: str = ""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[SqlStore]:
        """Open the store for the context."""
        store = self.make()
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    def files(self) -> list[Path]:
        """The files of a SQLite store, without its key file."""
        assert self.file is not None
        found = self.file.parent.glob(f"{self.file.name}*")
        return [path for path in found if path.is_file() and path.suffix != ".key"]

    async def cut(self) -> None:
        """Make it unreachable: move the files away, or refuse new database connections and end the open ones."""
        if self.file is not None:
            for path in self.files():
                path.rename(path.with_name(f"away-{path.name}"))
            return
        async with connected(self.admin) as connection:
            await connection.execute(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS false")
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", self.database
            )

    async def restore(self) -> None:
        """Make it reachable again, with the same content."""
        if self.file is not None:
            for path in self.file.parent.glob("away-*"):
                path.rename(path.with_name(path.name.removeprefix("away-")))
            return
        async with connected(self.admin) as connection:
            await connection.execute(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS true")

    @property
    def database(self) -> str:
        """The name of the PostgreSQL database."""
        return urlsplit(self.settings["url"]).path.strip("/")

    def lose(self) -> None:
        """Delete a SQLite store."""
        for path in self.files():
            path.unlink()


@pytest.fixture(params=["sqlite", "postgres"])
async def store_location(request: pytest.FixtureRequest) -> AsyncIterator[StoreLocation]:
    """An empty store; the test runs once with SQLite and once with PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_location")
        return
    async with _postgres_location(request.getfixturevalue("postgres")) as location:
        yield location


@pytest.fixture
async def postgres_location(postgres: PostgresCluster) -> AsyncIterator[StoreLocation]:
    """An empty PostgreSQL store."""
    async with _postgres_location(postgres) as location:
        yield location


@asynccontextmanager
async def _postgres_location(cluster: PostgresCluster) -> AsyncIterator[StoreLocation]:
    async with database(cluster) as dsn:
        settings = {"url": dsn, "encryption_keys": [encryption_key()]}
        yield StoreLocation("postgres", settings, lambda: PostgresStore(SecretStr(dsn)), admin=cluster.dsn())


@pytest.fixture
def sqlite_location(tmp_path: Path) -> StoreLocation:
    """An empty SQLite store, for tests that do not depend on the kind of store."""
    path = tmp_path / "store.db"
    return StoreLocation("sqlite", {"url": f"sqlite:///{path}"}, lambda: SqliteStore(path), path)


@pytest.fixture
def count() -> int:
    """The number of creates, from the environment variable ``FAULTS_N``."""
    return int(os.environ.get("FAULTS_N", "104"))


@pytest.fixture
def seed(count: int) -> int:
    """The seed of all randomness, from the environment variable ``FAULTS_SEED``. It is printed when the test fails."""
    chosen = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(1 << 30))
    print(f"replay: make faults N={count} SEED={chosen}")  # noqa: T201 (pytest shows it when the test fails)
    return chosen
