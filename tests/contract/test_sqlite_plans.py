"""How SQLite runs the statements of creates: what it plans decides what a create costs, and how it grows with age."""

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ports.moves import StoredSpec
from gateway.storage import sqlite_thread
from gateway.storage.sqlite import SqliteStore
from tests.contract.store.subject import HERE, LEASE, begun, create

_PARAMETER = re.compile(r"\?(\d+)")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "store.db")
    await made.upgrade()
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def executed(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL of every statement that the store executes."""
    rendered, texts = sqlite_thread._rendered, list[str]()

    def recorded(sql: str) -> tuple[str, bool]:
        texts.append(rendered(sql)[0])
        return rendered(sql)

    monkeypatch.setattr(sqlite_thread, "_rendered", recorded)
    return texts


def explained(path: Path, explain: str, statements: list[str]) -> Iterator[str]:
    """What SQLite says about each statement, row by row."""
    with closing(sqlite3.connect(path)) as connection:
        for sql in statements:
            values = [None] * max(map(int, _PARAMETER.findall(sql)), default=0)
            yield from (str(row) for row in connection.execute(f"{explain} {sql}", values))


@pytest.mark.parametrize("pinned", [False, True])
async def test_a_create_builds_no_temporary_table(
    store: SqliteStore, executed: list[str], tmp_path: Path, *, pinned: bool
):
    intent = begun(await store.begin(create(pinned=pinned, key="k"), "me", LEASE))
    spec = StoredSpec(HERE, "r-1", b"sealed")
    await store.record_created(intent.id, "r-1", known=intent, spec=spec)
    assert any("UPDATE intents" in sql for sql in executed)
    steps = list(explained(tmp_path / "store.db", "EXPLAIN", executed))
    assert steps
    assert not [step for step in steps if "OpenEphemeral" in step or "OpenAutoindex" in step]


async def test_the_look_for_a_name_and_the_counts_use_the_indexes_of_unsettled_intents(
    store: SqliteStore, executed: list[str], tmp_path: Path
):
    begun(await store.begin(create(), "me", LEASE))
    executed.clear()
    await store.begin(create(), "me", LEASE)  # the name is taken
    await store.counts()
    plan = [step for step in explained(tmp_path / "store.db", "EXPLAIN QUERY PLAN", executed) if " intents" in step]
    assert any("intents_with_a_name" in step for step in plan)
    assert any("intents_unsettled" in step for step in plan)
    assert not [step for step in plan if "SCAN intents'" in step]
