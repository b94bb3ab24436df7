"""The schema is brought up to date once, by one process, and a version that cannot work with it says so."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.domain.errors import StoreUnavailable
from gateway.storage import migrations
from gateway.storage.migrations import Migration, SchemaStatus
from gateway.storage.postgres import PostgresStore
from gateway.storage.sql_store import SqlStore
from gateway.storage.sqlite import SqliteStore
from gateway.testing.store_subject import LEASE, begun, create
from tests.contract.store_subjects import database

KNOWN = migrations.migrations()
NEWEST = KNOWN[-1].version
Make = Callable[[], SqlStore]


@pytest.fixture(params=["sqlite", "postgres"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes stores over an empty database."""
    if request.param == "sqlite":
        yield lambda: SqliteStore(tmp_path / "store.db")
        return
    async with database(request.getfixturevalue("postgres")) as dsn:
        yield lambda: PostgresStore(SecretStr(dsn))


def known(monkeypatch: pytest.MonkeyPatch, *later: Migration) -> None:
    """Let the program know further migrations."""
    monkeypatch.setattr(migrations, "migrations", lambda: [*KNOWN, *later])


async def works(store: SqlStore, name: str = "one") -> None:
    await store.open()
    try:
        begun(await store.begin(create(name), "me", LEASE))
    finally:
        await store.close()


async def test_an_upgrade_is_done_once(make: Make):
    store = make()
    assert await store.schema() == SchemaStatus(0, NEWEST, 0)
    done = await store.upgrade()
    assert done == SchemaStatus(NEWEST, NEWEST, KNOWN[-1].readable_from)
    assert done.fault is None
    await works(store)
    assert await store.upgrade() == await store.schema() == done
    await works(store, "two")


async def test_upgrades_at_the_same_time_are_one(make: Make):
    statuses = await asyncio.gather(*(make().upgrade() for _ in range(4)))
    assert {status.version for status in statuses} == {NEWEST}
    await works(make())


async def test_a_store_that_is_behind_is_used_after_its_upgrade(make: Make, monkeypatch: pytest.MonkeyPatch):
    await make().upgrade()
    known(monkeypatch, Migration(NEWEST + 1, NEWEST, ["ALTER TABLE intents ADD COLUMN later TEXT"]))
    with pytest.raises(StoreUnavailable, match="db upgrade"):
        await works(make())
    assert (await make().upgrade()).version == NEWEST + 1
    await works(make())


async def test_the_version_before_goes_on_with_the_new_schema(make: Make, monkeypatch: pytest.MonkeyPatch):
    """While replicas are replaced one by one; a schema that it cannot work with it does not touch."""
    await make().upgrade()
    with monkeypatch.context() as newer:
        known(newer, Migration(NEWEST + 1, NEWEST, ["ALTER TABLE intents ADD COLUMN later TEXT"]))
        await make().upgrade()
    assert (await make().schema()).fault is None
    await works(make())
    assert (await make().upgrade()).version == NEWEST + 1
    with monkeypatch.context() as newer:
        known(
            newer,
            Migration(NEWEST + 1, NEWEST, []),
            Migration(NEWEST + 2, NEWEST + 1, ["ALTER TABLE intents DROP COLUMN reason"]),
        )
        await make().upgrade()
    with pytest.raises(StoreUnavailable, match="too new"):
        await works(make())


async def test_an_upgrade_that_fails_leaves_nothing_behind(make: Make, monkeypatch: pytest.MonkeyPatch):
    await make().upgrade()
    with monkeypatch.context() as newer:
        known(newer, Migration(NEWEST + 1, NEWEST, ["CREATE TABLE half (id TEXT)", "CREATE TABLE specs (id TEXT)"]))
        with pytest.raises(StoreUnavailable):
            await make().upgrade()
        assert (await make().schema()).version == NEWEST
    with monkeypatch.context() as newer:
        known(newer, Migration(NEWEST + 1, NEWEST, ["CREATE TABLE half (id TEXT)"]))
        assert (await make().upgrade()).version == NEWEST + 1


def test_every_migration_can_be_read_by_the_version_before():
    assert [migration.version for migration in KNOWN] == list(range(1, NEWEST + 1))
    assert all(migration.readable_from <= max(1, migration.version - 1) for migration in KNOWN)
    assert all(migration.statements for migration in KNOWN)


def test_a_migration_has_to_say_who_can_read_it():
    with pytest.raises(ValueError, match=r"0002_more\.sql"):
        migrations._parsed("0002_more.sql", "CREATE TABLE x (y TEXT);\n")
