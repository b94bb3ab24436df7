"""The PostgreSQL store beyond the contract: its connections, and failures of the server."""

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
from tests.contract.store.audit import event
from tests.contract.store.subject import LEASE, begun, create
from tests.contract.store_subjects import PostgresSubject, connected, database, postgres_stores
from tests.postgres_cluster import PostgresCluster

SOON = 0.3  # seconds; the timeout of calls that must time out


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
    """The URL of a separate database with the schema."""
    async with database(cluster) as dsn:
        await PostgresStore(SecretStr(dsn)).upgrade()
        yield dsn


async def value_of(store: PostgresStore, sql: str) -> Any:
    def steps() -> Steps[Any]:
        rows = yield Statement(sql)
        return rows[0][0]

    return await store._read(steps)


async def test_connections_are_limited_and_released(postgres: PostgresCluster):
    """An open connection would prevent dropping the database at the end."""
    async with fresh(postgres) as dsn, opened(dsn, connections=3) as store, connected(dsn) as admin:
        await asyncio.gather(*(store.begin(create(f"n-{n}"), "me", LEASE) for n in range(30)))
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'runtime-gateway' AND datname = $1"
        assert 1 <= await admin.fetchval(count, dsn.split("/")[3].split("?")[0]) <= 3


async def test_a_batch_is_bounded_whichever_plan_the_server_chooses(postgres: PostgresCluster):
    """Where the statistics know of one row, the server evaluates a subquery once for each row of the table. A batch
    that was chosen by such a subquery, which skips what has just been deleted, would be the whole table."""
    async with fresh(postgres) as dsn, opened(dsn) as store, connected(dsn) as admin:
        await store.add_events([event(-2e9)])
        await admin.execute("ANALYZE audit_events")
        await store.add_events([event(second - 1e9) for second in range(19)])
        assert [await store.purge_events(100, 6) for _ in range(4)] == [6, 6, 6, 2]


async def test_an_unreachable_server_makes_calls_fail(tmp_path: Any):
    async with opened(f"postgresql://postgres@/x?host={tmp_path}") as store:
        for call in (store.ping(), store.get("in_x"), store.begin(create(), "me", LEASE), store.schema()):
            with pytest.raises(StoreUnavailable):
                await call


async def test_a_database_without_the_schema_is_unavailable_until_its_upgrade(postgres: PostgresCluster):
    """The error names the command for the upgrade."""
    async with database(postgres) as dsn, opened(dsn) as store:
        assert (await store.schema()).version == 0
        with pytest.raises(StoreUnavailable, match="db upgrade"):
            await store.ping()
        await store.upgrade()
        await store.ping()


async def test_the_store_recovers_from_the_loss_of_all_connections(stores: PostgresSubject):
    async with opened(stores.dsn) as store:
        known = begun(await store.begin(create(), "me", LEASE))
        async with connected(stores.dsn) as admin:
            await admin.fetch(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND application_name = 'runtime-gateway'"
            )
        for _ in range(5):  # more than its connections
            try:
                assert await store.get(known.id) == known
                break
            except StoreUnavailable:
                continue
        else:
            raise AssertionError("the store did not recover")


async def test_an_internal_error_of_the_driver_makes_the_store_unavailable_and_the_connection_unused(
    stores: PostgresSubject, monkeypatch: pytest.MonkeyPatch
):
    """asyncpg raises it when the server closes a connection during its use."""

    async def fail(*_: Any) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")

    async with opened(stores.dsn, connections=1) as store:
        pid = await value_of(store, "SELECT pg_backend_pid()")
        for call in (lambda: store.get("in_x"), lambda: store.begin(create(), "me", LEASE)):
            with monkeypatch.context() as patched:
                patched.setattr(asyncpg.Connection, "fetch", fail)
                with pytest.raises(StoreUnavailable):
                    await call()
            assert await value_of(store, "SELECT pg_backend_pid()") != pid


async def test_a_hanging_server_blocks_neither_calls_nor_close(stores: PostgresSubject):
    """Its connection is replaced."""
    store = PostgresStore(SecretStr(stores.dsn), connections=1, timeout=SOON)
    await store.open()
    pid = await value_of(store, "SELECT pg_backend_pid()")
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            with pytest.raises(StoreUnavailable):
                await store.begin(create(), "me", LEASE)
            assert await value_of(store, "SELECT pg_backend_pid()") != pid
            await store.close()
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_write_to_a_locked_row_times_out(stores: PostgresSubject):
    """Reads work meanwhile, and a claim of due intents skips the row."""
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


async def test_a_cancelled_call_releases_its_connection(stores: PostgresSubject):
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


async def test_changes_of_access_data_are_notified_until_the_connection_ends(stores: PostgresSubject):
    """Also those of other processes."""
    notified: asyncio.Queue[None] = asyncio.Queue(100)
    async with opened(stores.dsn) as store, opened(stores.dsn) as other, connected(stores.dsn) as admin:
        listening = asyncio.create_task(store.listen(lambda: notified.put_nowait(None)))
        await notified.get()
        await other.assign_owner("p.1", "team", "admin")
        await notified.get()
        assert await other.forget_owner("p.2") is False
        await admin.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND query ILIKE 'LISTEN%' AND datname = current_database()"
        )
        with pytest.raises(StoreUnavailable):
            await listening
        assert notified.empty()


async def test_listening_fails_without_a_server(tmp_path: Any):
    with pytest.raises(StoreUnavailable):
        await PostgresStore(SecretStr(f"postgresql://postgres@/x?host={tmp_path}")).listen(lambda: None)


async def test_commits_are_synchronous_even_if_the_database_defaults_to_asynchronous(postgres: PostgresCluster):
    async with fresh(postgres) as dsn:
        name = dsn.split("/")[3].split("?")[0]
        async with connected(dsn) as admin:
            await admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        async with opened(dsn) as store:
            assert await value_of(store, "SELECT current_setting('synchronous_commit')") == "on"


async def test_a_connection_with_asynchronous_commits_is_rejected(
    stores: PostgresSubject, monkeypatch: pytest.MonkeyPatch
):
    """For example through a pooler that drops our settings."""
    monkeypatch.setattr("gateway.storage.postgres._settings", lambda _: {"synchronous_commit": "off"})
    async with opened(stores.dsn) as store:
        with pytest.raises(StoreUnavailable, match="synchronous_commit"):
            await store.ping()


async def test_a_standby_serves_reads_but_fails_ping_and_writes(postgres: PostgresCluster):
    """A connection to a server that became a standby is closed, so that the next one may reach the primary."""
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


async def test_calls_beyond_the_queue_limit_are_refused(stores: PostgresSubject, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.storage.postgres._WAITING", 3)
    async with opened(stores.dsn, connections=1) as store:
        answers = await asyncio.gather(*(store.now() for _ in range(8)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, StoreUnavailable)]
        assert len(refused) == 5


async def test_errors_and_reprs_do_not_contain_the_password(stores: PostgresSubject):
    dsn = stores.dsn.replace("postgres@", "nobody-knows-me:canary-password@")
    async with opened(dsn) as store:
        with pytest.raises(StoreUnavailable) as caught:
            await store.ping()
        texts = [repr(store), str(caught.value), repr(caught.value.__cause__), repr(vars(store))]
        assert not [text for text in texts if "canary" in text]
        assert isinstance(caught.value.__cause__, asyncpg.PostgresError)
