"""The SQLite store beyond the contract: its file, its threads, and failures of the file."""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copy, move
from typing import Any

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.ports.intent_query import IntentQuery
from gateway.ports.moves import StoredSpec
from gateway.ports.store import Inserted
from gateway.storage.sql import RetryTransaction, Rollback, Statement, Steps
from gateway.storage.sqlite import SqliteStore
from tests.contract.store.subject import LEASE, begun, create

SOON = 0.2  # seconds; the timeout of calls that must time out


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(path)
    await made.upgrade()
    await made.open()
    yield made
    await made.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def modes(path: Path) -> dict[str, int]:
    """The modes of the file and of SQLite's files beside it."""
    return {found.name: found.stat().st_mode & 0o777 for found in path.parent.glob(f"{path.name}*")}


def remove(path: Path) -> None:
    """Remove the file and SQLite's files beside it."""
    for found in path.parent.glob(f"{path.name}*"):
        found.unlink()


def backup_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return copy(path, path.with_name("backup"))


def fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def size_of(path: Path) -> int:
    return path.stat().st_size


def value_of(sql: str) -> Any:
    def steps() -> Steps[Any]:
        rows = yield Statement(sql)
        return rows[0][0]

    return steps


async def test_files_have_mode_0600_and_every_commit_is_flushed(store: SqliteStore, path: Path):
    assert await store._write(value_of("PRAGMA synchronous")) == 2
    assert await store._write(value_of("PRAGMA journal_mode")) == "wal"
    begun(await store.begin(create(), "me", LEASE))
    assert modes(path) == dict.fromkeys(("store.db", "store.db-shm", "store.db-wal"), 0o600)


async def test_a_missing_file_makes_the_store_unavailable(path: Path):
    """Opening does not create it. Once an upgrade has created it, the store works."""
    store = SqliteStore(path)
    await store.open()
    for call in (store.ping(), store.get("in_x"), store.begin(create(), "me", LEASE)):
        with pytest.raises(StoreUnavailable):
            await call
    assert modes(path) == {}
    assert (await store.schema()).version == 0
    await store.upgrade()
    begun(await store.begin(create(), "me", LEASE))
    await store.close()


async def test_an_empty_file_needs_an_upgrade(path: Path):
    fill(path, b"")
    store = SqliteStore(path)
    await store.open()
    with pytest.raises(StoreUnavailable, match="db upgrade"):
        await store.ping()
    await store.close()


async def test_nothing_is_written_to_a_removed_or_replaced_file(store: SqliteStore, path: Path):
    """An acknowledged write would be lost with it."""
    kept = begun(await store.begin(create("kept"), "me", LEASE))
    backup = backup_of(path)
    lost = begun(await store.begin(create("lost"), "me", LEASE))
    remove(path)
    for call in (store.begin(create(), "me", LEASE), store.get(kept.id)):
        with pytest.raises(StoreUnavailable):
            await call
    move(backup, path)
    assert await store.get(kept.id) == kept
    assert await store.get(lost.id) is None
    begun(await store.begin(create("lost"), "me", LEASE))


async def test_a_replaced_file_is_used_by_the_next_call(store: SqliteStore, path: Path):
    """For example after a restore during operation, without a call in between."""
    kept = begun(await store.begin(create("kept"), "me", LEASE))
    backup = backup_of(path)
    begun(await store.begin(create("lost"), "me", LEASE))
    remove(path)
    move(backup, path)
    after = begun(await store.begin(create("lost"), "me", LEASE))
    assert await store.get(after.id) == after
    other = SqliteStore(path)
    await other.open()
    assert {intent.id for intent in await other.list(IntentQuery())} == {kept.id, after.id}
    await other.close()


async def test_an_upgrade_keeps_the_locks_of_an_open_store(store: SqliteStore, path: Path):
    """POSIX releases all locks of a process on a file when the process closes any descriptor of it. Another process
    would then consider itself the last one and remove the log."""
    begun(await store.begin(create(), "me", LEASE))
    await SqliteStore(path).upgrade()
    visit = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM intents'); c.close()"
    visitor = await asyncio.create_subprocess_exec(sys.executable, "-c", visit, path)
    assert await visitor.wait() == 0
    assert "store.db-wal" in modes(path)


async def test_a_file_that_is_not_a_database_makes_the_store_unavailable(store: SqliteStore, path: Path):
    await store.close()
    fill(path, b"no database " * 1000)
    await store.open()
    with pytest.raises(StoreUnavailable) as caught:
        await store.begin(create(), "me", LEASE)
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    assert str(path) not in str(caught.value)


async def test_a_write_times_out_while_another_process_has_the_lock(store: SqliteStore, path: Path):
    """Reads work meanwhile, and writes afterwards."""
    known = begun(await store.begin(create("known"), "me", LEASE))
    impatient = SqliteStore(path, timeout=SOON)
    await impatient.open()
    with locked(path):
        with pytest.raises(StoreUnavailable):
            await impatient.begin(create(), "me", LEASE)
        assert await impatient.get(known.id) == known
    begun(await impatient.begin(create(), "me", LEASE))
    await impatient.close()


async def test_a_write_cancelled_while_it_waits_is_not_executed(store: SqliteStore, path: Path):
    new = create()
    with locked(path):
        waiting = asyncio.ensure_future(store.begin(new, "me", LEASE))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await store.ping()
    assert await store.get(new.id) is None


async def test_waiting_writes_share_one_commit(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch):
    """A failing one does not affect the others."""
    statements: list[str] = []
    connect = store._connect

    def traced() -> sqlite3.Connection:
        connection = connect()
        connection.set_trace_callback(statements.append)
        return connection

    writer = store._threads[0]  # type: ignore[index]
    monkeypatch.setattr(writer, "_connect", traced)

    def broken() -> Steps[None]:
        yield Statement("INSERT INTO specs (namespace, runtime_id, sealed, kept_at) VALUES ('n', 'r', 'x', 0)")
        raise LookupError

    with locked(path):
        begins = [asyncio.ensure_future(store.begin(create(f"n-{n}"), "me", LEASE)) for n in range(20)]
        failing = asyncio.ensure_future(store._write(broken))
        begins += [asyncio.ensure_future(store.begin(create(f"n-{n}"), "you", LEASE)) for n in range(30)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*begins)
    assert sum(isinstance(answer, Inserted) for answer in answers) == 30
    with pytest.raises(LookupError):
        await failing
    assert await store.specs("n", ["r"]) == {}
    assert statements.count("COMMIT") <= 2  # the first one may have been committed alone


async def test_calls_beyond_the_queue_limit_are_refused(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.storage.sqlite._WAITING", 3)
    small = SqliteStore(path, timeout=SOON)
    await small.open()
    with locked(path):
        answers = await asyncio.gather(
            *(small.begin(create(f"n-{n}"), "me", LEASE) for n in range(8)), return_exceptions=True
        )
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        assert any("too many operations" in str(answer) for answer in answers)
    await small.close()


async def test_a_write_to_a_full_disk_fails_and_the_store_recovers(store: SqliteStore):
    known = begun(await store.begin(create("known"), "me", LEASE))
    pages = await store._write(value_of("PRAGMA page_count"))
    await store._write(value_of(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(StoreUnavailable) as caught:
        await store.begin(create(request=bytes(50_000)), "me", LEASE)
    assert "full" in str(caught.value.__cause__)
    assert await store.get(known.id) == known
    begun(await store.begin(create("after"), "me", LEASE))


def pinning(name: str, end: Callable[[], Any] = lambda: None) -> Callable[[], Steps[Any]]:
    """An operation that inserts one row and then returns the result of ``end``."""

    def operation() -> Steps[Any]:
        yield Statement("INSERT INTO pins (principal, kind, name, namespace) VALUES ('p', 'durable', $1, 'n')", (name,))
        return end()

    return operation


def pinned_names() -> Steps[list[str]]:
    return [name for (name,) in (yield Statement("SELECT name FROM pins ORDER BY name"))]


def fails() -> None:
    raise LookupError("of the operation")


def conflicts() -> None:
    raise RetryTransaction


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (pinning("x", lambda: Rollback("undone")), "undone"),
        (pinning("x", fails), LookupError),
        (pinning("x", conflicts), StoreUnavailable),
        (pinning("a"), StoreUnavailable),  # violates the primary key
    ],
    ids=["rolled back", "failed", "conflicting", "violating"],
)
async def test_an_operation_that_is_rolled_back_does_not_affect_others_of_its_commit(
    store: SqliteStore, trouble: Callable[[], Steps[Any]], outcome: Any
) -> None:
    """Repeatedly, because the batch after a rollback uses savepoints."""
    for names in (["a", "b"], ["c", "d"], ["e", "f"]):
        gate = threading.Event()

        def waits(gate: threading.Event = gate) -> Steps[bool]:
            yield Statement("SELECT 1")
            return gate.wait(5)

        writes = [waits, pinning(names[0]), trouble, pinning(names[1])]
        tasks = [asyncio.create_task(store._write(write)) for write in writes]
        await asyncio.sleep(0)  # all but the first are queued now
        gate.set()
        released, *ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert released
        assert ended[0] is None
        assert ended[2] is None
        assert ended[1] == outcome if isinstance(outcome, str) else isinstance(ended[1], outcome)
        assert names == (await store._read(pinned_names))[-2:]
    assert await store._read(pinned_names) == list("abcdef")


async def test_the_file_shrinks_after_a_purge(path: Path) -> None:
    now = 1000.0
    store = SqliteStore(path, clock=lambda: now)
    await store.upgrade()
    await store.open()
    assert await store._write(value_of("PRAGMA auto_vacuum")) == 2
    await asyncio.gather(*(store.keep_spec(StoredSpec("n", f"r{i}", b"x" * 4000)) for i in range(500)))
    await store.close()
    full = size_of(path)
    assert full > 500 * 4000
    now = 5000.0
    await store.open()
    assert await store.purge(settled=1000, kept=1000, limit=1000) == 500
    await store.close()
    assert size_of(path) < full / 5


async def test_a_file_without_incremental_vacuum_is_used_unchanged(path: Path) -> None:
    with closing(sqlite3.connect(path)) as older:
        older.execute("CREATE TABLE other (a)")
    store = SqliteStore(path)
    await store.upgrade()
    await store.open()
    assert await store._write(value_of("PRAGMA auto_vacuum")) == 0
    begun(await store.begin(create(), "me", LEASE))
    assert await store.purge(settled=0, kept=0, limit=10) == 0
    await store.close()
