"""Upgrades of the schema: applied once, by one process; a program that cannot use the schema reports it."""

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
from tests.contract.store.subject import LEASE, begun, create
from tests.contract.store_subjects import database

KNOWN = migrations.migrations()
NEWEST = KNOWN[-1].version
Make = Callable[[], SqlStore]


@pytest.fixture(params=["sqlite", "postgres"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """A function that creates stores over one empty database."""
    if request.param == "sqlite":
        yield lambda: SqliteStore(tmp_path / "store.db")
        return
    async with database(request.getfixturevalue("postgres")) as dsn:
        yield lambda: PostgresStore(SecretStr(dsn))


def known(monkeypatch: pytest.MonkeyPatch, *later: Migration) -> None:
    """Add migrations to those that the program knows."""
    monkeypatch.setattr(migrations, "migrations", lambda: [*KNOWN, *later])


async def works(store: SqlStore, name: str = "one") -> None:
    await store.open()
    try:
        begun(await store.begin(create(name), "me", LEASE))
    finally:
        await store.close()


async def test_a_second_upgrade_changes_nothing(make: Make):
    store = make()
    assert await store.schema() == SchemaStatus(0, NEWEST, 0)
    done = await store.upgrade()
    assert done == SchemaStatus(NEWEST, NEWEST, KNOWN[-1].readable_from)
    assert done.fault is None
    await works(store)
    assert await store.upgrade() == await store.schema() == done
    await works(store, "two")


async def test_concurrent_upgrades_are_applied_once(make: Make):
    statuses = await asyncio.gather(*(make().upgrade() for _ in range(4)))
    assert {status.version for status in statuses} == {NEWEST}
    await works(make())


async def test_an_outdated_store_is_unavailable_until_its_upgrade(make: Make, monkeypatch: pytest.MonkeyPatch):
    await make().upgrade()
    known(monkeypatch, Migration(NEWEST + 1, NEWEST, ["ALTER TABLE intents ADD COLUMN later TEXT"]))
    with pytest.raises(StoreUnavailable, match="db upgrade"):
        await works(make())
    assert (await make().upgrade()).version == NEWEST + 1
    await works(make())


async def test_the_previous_version_works_with_a_compatible_newer_schema(make: Make, monkeypatch: pytest.MonkeyPatch):
    """For rolling upgrades. With an incompatible schema it is unavailable."""
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


async def test_an_open_store_is_refused_and_outdated_when_its_schema_becomes_too_new(
    make: Make, monkeypatch: pytest.MonkeyPatch
):
    """Also by its connections that are already open."""
    await make().upgrade()
    store = make()
    await store.open()
    try:
        await store.ping()
        begun(await store.begin(create("one"), "me", LEASE))
        assert await store.outdated() is None
        with monkeypatch.context() as newer:
            known(newer, Migration(NEWEST + 1, NEWEST + 1, ["ALTER TABLE intents ADD COLUMN later TEXT"]))
            await make().upgrade()
        with pytest.raises(StoreUnavailable, match="too new"):
            await store.ping()
        assert "too new" in (await store.outdated() or "")
        with pytest.raises(StoreUnavailable, match="too new"):
            await store.begin(create("two"), "me", LEASE)
        with pytest.raises(StoreUnavailable, match="too new"):
            await store.get("in_x")
    finally:
        await store.close()


async def test_a_failed_upgrade_is_rolled_back(make: Make, monkeypatch: pytest.MonkeyPatch):
    await make().upgrade()
    with monkeypatch.context() as newer:
        known(newer, Migration(NEWEST + 1, NEWEST, ["CREATE TABLE half (id TEXT)", "CREATE TABLE specs (id TEXT)"]))
        with pytest.raises(StoreUnavailable):
            await make().upgrade()
        assert (await make().schema()).version == NEWEST
    with monkeypatch.context() as newer:
        known(newer, Migration(NEWEST + 1, NEWEST, ["CREATE TABLE half (id TEXT)"]))
        assert (await make().upgrade()).version == NEWEST + 1


def test_every_migration_is_compatible_with_the_previous_version_except_the_named_ones():
    """Programs without owners must not serve from version 4 on, those that plan no ends from version 5 on,
    and those that do not know where runtimes have gone from version 9 on."""
    assert [migration.version for migration in KNOWN] == list(range(1, NEWEST + 1))
    incompatible = {m.version for m in KNOWN if m.readable_from > max(1, m.version - 1)}
    assert incompatible == {4, 5, 9}
    assert all(migration.statements for migration in KNOWN)


def test_a_migration_without_readable_from_is_rejected():
    with pytest.raises(ValueError, match=r"0002_more\.sql"):
        migrations._parsed("0002_more.sql", "CREATE TABLE x (y TEXT);\n")
