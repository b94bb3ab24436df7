"""What only the PostgreSQL store has to show: its connections, and what happens when the server is in trouble."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from gateway.domain.errors import StoreUnavailable
from gateway.storage.postgres import PostgresStore
from gateway.storage.sql import Statement, Steps
from gateway.testing.postgres_cluster import PostgresCluster
from gateway.testing.store_subject import LEASE, begun, create
from tests.contract.store_subjects import PostgresSubject, connected, database, postgres_stores

SOON = 0.3  # seconds that a call may take here, where it is to take too long


@pytest.fixture
async def stores(postgres: PostgresCluster) -> AsyncIterator[PostgresSubject]:
    async with postgres_stores(postgres) as subject:
        yield subject


@asynccontextmanager
async def opened(dsn: str, **options: Any) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(SecretStr(dsn), **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def fresh(cluster: PostgresCluster) -> AsyncIterator[str]:
    """A database of one's own with the schema."""
    async with database(cluster) as dsn:
        await PostgresStore(SecretStr(dsn)).upgrade()
        yield dsn


async def asked(store: PostgresStore, sql: str) -> Any:
    def steps() -> Steps[Any]:
        rows = yield Statement(sql)
        return rows[0][0]

    return await store._read(steps)


async def test_every_connection_is_given_back(postgres: PostgresCluster):
    """A database that anybody is connected to could not be dropped at the end."""
    async with fresh(postgres) as dsn, opened(dsn, connections=3) as store, connected(dsn) as admin:
        await asyncio.gather(*(store.begin(create(f"n-{n}"), "me", LEASE) for n in range(30)))
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'runtime-gateway' AND datname = $1"
        assert 1 <= await admin.fetchval(count, dsn.split("/")[3].split("?")[0]) <= 3


async def test_a_server_that_is_not_there_is_told_at_once(tmp_path: Any):
    async with opened(f"postgresql://postgres@/x?host={tmp_path}") as store:
        for call in (store.ping(), store.get("in_x"), store.begin(create(), "me", LEASE), store.schema()):
            with pytest.raises(StoreUnavailable):
                await call


async def test_a_database_without_the_schema_is_said_to_need_an_upgrade(postgres: PostgresCluster):
    """And is used as soon as it has it."""
    async with database(postgres) as dsn, opened(dsn) as store:
        assert (await store.schema()).version == 0
        with pytest.raises(StoreUnavailable, match="db upgrade"):
            await store.ping()
        await store.upgrade()
        await store.ping()


async def test_it_works_again_after_all_connections_were_lost(stores: PostgresSubject):
    async with opened(stores.dsn) as store:
        known = begun(await store.begin(create(), "me", LEASE))
        async with connected(stores.dsn) as admin:
            await admin.fetch(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND application_name = 'runtime-gateway'"
            )
        for _ in range(5):  # as many as it may have had connections
            try:
                assert await store.get(known.id) == known
                break
            except StoreUnavailable:
                continue
        else:
            raise AssertionError("it did not recover")


async def test_a_connection_that_the_server_ends_just_when_it_is_used_is_trouble_of_the_store(
    stores: PostgresSubject, monkeypatch: pytest.MonkeyPatch
):
    """The driver then has an error of its own, which says that it is confused."""

    async def confused(*_: Any) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")

    async with opened(stores.dsn, connections=1) as store:
        pid = await asked(store, "SELECT pg_backend_pid()")
        for call in (lambda: store.get("in_x"), lambda: store.begin(create(), "me", LEASE)):
            with monkeypatch.context() as patched:
                patched.setattr(asyncpg.Connection, "fetch", confused)
                with pytest.raises(StoreUnavailable):
                    await call()
            assert await asked(store, "SELECT pg_backend_pid()") != pid


async def test_a_server_that_hangs_holds_nobody_up(stores: PostgresSubject):
    """Neither a call nor a close; and afterwards nothing of it is left."""
    store = PostgresStore(SecretStr(stores.dsn), connections=1, timeout=SOON)
    await store.open()
    pid = await asked(store, "SELECT pg_backend_pid()")
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            with pytest.raises(StoreUnavailable):
                await store.begin(create(), "me", LEASE)
            assert await asked(store, "SELECT pg_backend_pid()") != pid
            await store.close()
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_row_that_somebody_keeps_locked_is_waited_for_only_so_long(stores: PostgresSubject):
    """Reads go on meanwhile, and the reconciler passes it over."""
    known = begun(await stores.store.begin(create(), "me", 0.0))
    async with opened(stores.dsn, timeout=SOON) as store, connected(stores.dsn) as other:
        async with other.transaction():
            await other.execute("SELECT 1 FROM intents FOR UPDATE")
            with pytest.raises(StoreUnavailable):
                await store.record_created(known.id, "r")
            assert await store.get(known.id) == known
            assert list(await store.claim_due("me", LEASE, 5)) == []
        assert [intent.id for intent in await store.claim_due("me", LEASE, 5)] == [known.id]
        assert await store.record_created(known.id, "r") is not None


async def test_a_caller_that_gives_up_leaves_no_connection_in_use(stores: PostgresSubject):
    known = begun(await stores.store.begin(create(), "me", LEASE))
    async with opened(stores.dsn, connections=1) as store, connected(stores.dsn) as other:
        async with other.transaction():
            await other.execute("SELECT 1 FROM intents FOR UPDATE")
            waiting = asyncio.ensure_future(store.record_created(known.id, "r"))
            while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                continue
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await store.get(known.id) == known


async def test_a_commit_means_on_the_disk_whatever_the_database_says(postgres: PostgresCluster):
    async with fresh(postgres) as dsn:
        name = dsn.split("/")[3].split("?")[0]
        async with connected(dsn) as admin:
            await admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        async with opened(dsn) as store:
            assert await asked(store, "SELECT current_setting('synchronous_commit')") == "on"


async def test_a_connection_whose_commits_may_be_lost_is_not_used(
    stores: PostgresSubject, monkeypatch: pytest.MonkeyPatch
):
    """As through a pooler that drops what we ask for."""
    monkeypatch.setattr("gateway.storage.postgres._settings", lambda _: {"synchronous_commit": "off"})
    async with opened(stores.dsn) as store:
        with pytest.raises(StoreUnavailable, match="synchronous_commit"):
            await store.ping()


async def test_a_standby_answers_reads_and_is_not_taken_for_a_primary(postgres: PostgresCluster):
    """The connection to one that became a standby is given up, so that the next one may reach the primary."""
    async with fresh(postgres) as dsn:
        name = dsn.split("/")[3].split("?")[0]
        async with opened(dsn, connections=1) as store, connected(dsn) as admin:
            await store.ping()
            await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            await admin.fetch(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
            for call in (store.ping, store.ping, lambda: store.begin(create(), "me", LEASE)):
                with pytest.raises(StoreUnavailable):
                    await call()
            assert await store.get("in_x") is None
            await admin.execute("SET default_transaction_read_only = off")
            await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            with pytest.raises(StoreUnavailable):
                await store.begin(create(), "me", LEASE)
            begun(await store.begin(create(), "me", LEASE))


async def test_more_than_can_be_served_is_refused(stores: PostgresSubject, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.storage.postgres._WAITING", 3)
    async with opened(stores.dsn, connections=1) as store:
        answers = await asyncio.gather(*(store.now() for _ in range(8)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, StoreUnavailable)]
        assert len(refused) == 5


async def test_nobody_is_told_the_password(stores: PostgresSubject):
    dsn = stores.dsn.replace("postgres@", "nobody-knows-me:canary-password@")
    async with opened(dsn) as store:
        with pytest.raises(StoreUnavailable) as told:
            await store.ping()
        texts = [repr(store), str(told.value), repr(told.value.__cause__), repr(vars(store))]
        assert not [text for text in texts if "canary" in text]
        assert isinstance(told.value.__cause__, asyncpg.PostgresError)
