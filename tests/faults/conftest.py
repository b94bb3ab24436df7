"""Where the gateways under test keep what they remember, and how much is done: ``make faults N=1000 SEED=7``."""

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


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where a store is: ``settings`` for gateways, ``make`` for a look into it, the ``file`` of SQLite,
    and for PostgreSQL the address of the database ``admin`` from which the store's own is managed."""

    kind: str
    settings: dict[str, Any]
    make: Callable[[], SqlStore]
    file: Path | None = None
    admin: str = ""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[SqlStore]:
        """The store itself."""
        store = self.make()
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    def files(self) -> list[Path]:
        """The files of a SQLite store, its key aside."""
        assert self.file is not None
        return [path for path in self.file.parent.glob(f"{self.file.name}*") if path.suffix != ".key"]

    async def cut(self) -> None:
        """Make it unreachable: the file is gone, or the database takes no connections and those that it had end."""
        if self.file is not None:
            for path in self.files():
                path.rename(path.with_name(f"away-{path.name}"))
            return
        async with connected(self.admin) as connection:
            await connection.execute(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS false")
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", self.database
            )

    async def mend(self) -> None:
        """Make it reachable again, as it was."""
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
        """Remove a SQLite store."""
        for path in self.files():
            path.unlink()


@pytest.fixture(params=["sqlite", "postgres"])
async def store_place(request: pytest.FixtureRequest) -> AsyncIterator[StorePlace]:
    """Both kinds of store, empty."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_place")
        return
    cluster = request.getfixturevalue("postgres")
    async with database(cluster) as dsn:
        settings = {"url": dsn, "encryption_keys": [encryption_key()]}
        yield StorePlace("postgres", settings, lambda: PostgresStore(SecretStr(dsn)), admin=cluster.dsn())


@pytest.fixture
def sqlite_place(tmp_path: Path) -> StorePlace:
    """A SQLite file, for what does not depend on the kind of store."""
    path = tmp_path / "store.db"
    return StorePlace("sqlite", {"url": f"sqlite:///{path}"}, lambda: SqliteStore(path), path)


@pytest.fixture
def count() -> int:
    """How many creates."""
    return int(os.environ.get("FAULTS_N", "104"))


@pytest.fixture
def seed(count: int) -> int:
    """What all chance is drawn from; it is printed when the test fails."""
    chosen = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(1 << 30))
    print(f"again: make faults N={count} SEED={chosen}")  # noqa: T201 (of a failed run)
    return chosen
