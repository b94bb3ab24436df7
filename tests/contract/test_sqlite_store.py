"""What only the SQLite store has to show: its file, its thread, and what happens when either is in trouble."""

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
from gateway.ports.store import Inserted, IntentQuery
from gateway.storage.sql import RetryTransaction, Rollback, Statement, Steps
from gateway.storage.sqlite import SqliteStore
from gateway.testing.store_subject import LEASE, begun, create

SOON = 0.2  # seconds that a call may take here, where it is to take too long


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
    """Another process writes, and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def modes(path: Path) -> dict[str, int]:
    """The file and what SQLite keeps beside it, with who may use each."""
    return {found.name: found.stat().st_mode & 0o777 for found in path.parent.glob(f"{path.name}*")}


def remove(path: Path) -> None:
    """Remove the file and what SQLite keeps beside it."""
    for found in path.parent.glob(f"{path.name}*"):
        found.unlink()


def backup_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return copy(path, path.with_name("backup"))


def fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def ask(sql: str) -> Any:
    def steps() -> Steps[Any]:
        rows = yield Statement(sql)
        return rows[0][0]

    return steps


async def test_the_file_is_its_owners_and_every_commit_is_flushed(store: SqliteStore, path: Path):
    assert await store._write(ask("PRAGMA synchronous")) == 2
    assert await store._write(ask("PRAGMA journal_mode")) == "wal"
    begun(await store.begin(create(), "me", LEASE))
    assert modes(path) == dict.fromkeys(("store.db", "store.db-shm", "store.db-wal"), 0o600)


async def test_a_missing_file_is_trouble_and_no_empty_store(path: Path):
    """It is not made by opening it; once it is there, it is used."""
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


async def test_an_empty_file_is_said_to_need_an_upgrade(path: Path):
    fill(path, b"")
    store = SqliteStore(path)
    await store.open()
    with pytest.raises(StoreUnavailable, match="db upgrade"):
        await store.ping()
    await store.close()


async def test_nothing_is_written_to_a_file_that_was_removed_or_replaced(store: SqliteStore, path: Path):
    """What was acknowledged would be lost with it."""
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


async def test_a_file_that_was_replaced_is_the_store_from_then_on(store: SqliteStore, path: Path):
    """Restored from a copy in the midst of work, with no call in between."""
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


async def test_an_upgrade_leaves_the_locks_of_a_store_in_use_alone(store: SqliteStore, path: Path):
    """The system ends all locks that a process has on a file when the process closes any handle on it. Another process
    would then take itself for the last one and remove the log."""
    begun(await store.begin(create(), "me", LEASE))
    await SqliteStore(path).upgrade()
    visit = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM intents'); c.close()"
    visitor = await asyncio.create_subprocess_exec(sys.executable, "-c", visit, path)
    assert await visitor.wait() == 0
    assert "store.db-wal" in modes(path)


async def test_a_file_that_is_no_database_is_told_as_such(store: SqliteStore, path: Path):
    await store.close()
    fill(path, b"no database " * 1000)
    await store.open()
    with pytest.raises(StoreUnavailable) as told:
        await store.begin(create(), "me", LEASE)
    assert isinstance(told.value.__cause__, sqlite3.DatabaseError)
    assert str(path) not in str(told.value)


async def test_a_write_waits_for_another_process_only_so_long(store: SqliteStore, path: Path):
    """Reads go on meanwhile, and so do writes afterwards."""
    known = begun(await store.begin(create("known"), "me", LEASE))
    hasty = SqliteStore(path, timeout=SOON)
    await hasty.open()
    with locked(path):
        with pytest.raises(StoreUnavailable):
            await hasty.begin(create(), "me", LEASE)
        assert await hasty.get(known.id) == known
    begun(await hasty.begin(create(), "me", LEASE))
    await hasty.close()


async def test_who_gave_up_waiting_writes_nothing(store: SqliteStore, path: Path):
    new = create()
    with locked(path):
        waiting = asyncio.ensure_future(store.begin(new, "me", LEASE))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await store.ping()
    assert await store.get(new.id) is None


async def test_what_waits_together_is_flushed_together(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch):
    """One that fails for reasons of its own takes nobody along."""
    said: list[str] = []
    connect = store._connect

    def traced() -> sqlite3.Connection:
        connection = connect()
        connection.set_trace_callback(said.append)
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
    assert said.count("COMMIT") <= 2  # the first one may have gone ahead alone


async def test_more_than_can_be_served_is_refused(path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.storage.sqlite._WAITING", 3)
    small = SqliteStore(path, timeout=SOON)
    await small.open()
    with locked(path):
        answers = await asyncio.gather(
            *(small.begin(create(f"n-{n}"), "me", LEASE) for n in range(8)), return_exceptions=True
        )
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        assert any("too much" in str(answer) for answer in answers)
    await small.close()


async def test_a_store_whose_disk_is_full_is_unavailable_and_recovers(store: SqliteStore):
    known = begun(await store.begin(create("known"), "me", LEASE))
    pages = await store._write(ask("PRAGMA page_count"))
    await store._write(ask(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(StoreUnavailable) as told:
        await store.begin(create(request=bytes(50_000)), "me", LEASE)
    assert "full" in str(told.value.__cause__)
    assert await store.get(known.id) == known
    begun(await store.begin(create("after"), "me", LEASE))


def pinning(name: str, end: Callable[[], Any] = lambda: None) -> Callable[[], Steps[Any]]:
    """An operation that writes one row, and then ends like this."""

    def operation() -> Steps[Any]:
        yield Statement("INSERT INTO pins (principal, kind, name, namespace) VALUES ('p', 'durable', $1, 'n')", (name,))
        return end()

    return operation


def pinned() -> Steps[list[str]]:
    return [name for (name,) in (yield Statement("SELECT name FROM pins ORDER BY name"))]


def fails() -> None:
    raise LookupError("of its own")


def comes_too_late() -> None:
    raise RetryTransaction


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (pinning("x", lambda: Rollback("undone")), "undone"),
        (pinning("x", fails), LookupError),
        (pinning("x", comes_too_late), StoreUnavailable),
        (pinning("a"), StoreUnavailable),  # a row of that key is there
    ],
    ids=["undone", "failed", "too late", "against a rule"],
)
async def test_what_one_operation_undoes_is_its_own_in_a_commit_of_many(
    store: SqliteStore, trouble: Callable[[], Steps[Any]], outcome: Any
) -> None:
    """More than once, since those after one that was undone are committed in another way."""
    for names in (["a", "b"], ["c", "d"], ["e", "f"]):
        gate = threading.Event()

        def waits(gate: threading.Event = gate) -> Steps[bool]:
            yield Statement("SELECT 1")
            return gate.wait(5)

        writes = [waits, pinning(names[0]), trouble, pinning(names[1])]
        tasks = [asyncio.create_task(store._write(write)) for write in writes]
        await asyncio.sleep(0)  # all but the first are in line now
        gate.set()
        let_go, *ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert let_go
        assert ended[0] is None
        assert ended[2] is None
        assert ended[1] == outcome if isinstance(outcome, str) else isinstance(ended[1], outcome)
        assert names == (await store._read(pinned))[-2:]
    assert await store._read(pinned) == list("abcdef")
