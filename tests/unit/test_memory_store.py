"""What the store in memory adds to the contract of stores: hooks, one shared database, and no thread."""

import gc
import weakref
from typing import Any

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.intents import Actor, IntentState
from gateway.ports.store import Version
from gateway.storage.sql import Statement, Steps
from tests.contract.store.subject import LEASE, begun, create
from tests.memory_store import MemoryDatabase, MemoryStore


def clock() -> float:
    return 1_000.0


class Hook:
    """Notes each call, and fails at one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []
        self.fails_at: tuple[str, bool] | None = None

    async def __call__(self, name: str, done: bool) -> None:
        self.calls.append((name, done))
        if (name, done) == self.fails_at:
            raise StoreUnavailable("The store is down.")


async def test_the_hook_is_called_before_and_after_each_operation_with_its_name() -> None:
    hook = Hook()
    store = MemoryStore(clock, on_call=hook)
    intent = begun(await store.begin(create(), "me", LEASE))
    await store.move(Version.of(intent), IntentState.UNKNOWN, Actor.HOLDER, "me")
    await store.claim_due("me", LEASE, 10)
    await store.ping()
    names = ["begin", "move", "is_any_due", "ping"]
    assert hook.calls == [(name, done) for name in names for done in (False, True)]


@pytest.mark.parametrize("done", [False, True])
async def test_a_hook_that_raises_leaves_a_write_undone_before_it_and_done_after_it(done: bool) -> None:
    hook = Hook()
    store = MemoryStore(clock, on_call=hook)
    hook.fails_at = ("begin", done)
    with pytest.raises(StoreUnavailable):
        await store.begin(create(), "me", LEASE)
    assert len(store.database.intents) == int(done)


async def test_a_closed_store_is_unavailable_until_it_is_opened_and_keeps_its_rows() -> None:
    store = MemoryStore(clock)
    intent = begun(await store.begin(create(), "me", LEASE))
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.get(intent.id)
    await store.open()
    assert await store.get(intent.id) == intent


async def test_stores_over_one_database_share_its_rows() -> None:
    database = MemoryDatabase()
    one, two = (MemoryStore(clock, database=database) for _ in range(2))
    intent = begun(await one.begin(create(), "me", LEASE))
    await one.close()
    assert await two.get(intent.id) == intent
    assert await MemoryStore(clock).get(intent.id) is None


async def test_an_intent_is_read_again_only_when_it_changed() -> None:
    store = MemoryStore(clock)
    first, second = [begun(await store.begin(create(name), "me", LEASE)) for name in ("one", "two")]
    before = store.database.intents
    assert list(before.values()) == [first, second]
    await store.move(Version.of(second), IntentState.UNKNOWN, Actor.HOLDER, "me")
    after = store.database.intents
    assert after[first.id] is before[first.id]
    assert after[second.id].state is IntentState.UNKNOWN
    store.database.clear()
    assert store.database.intents == {}


def _fails(error: str) -> Steps[None]:
    yield Statement("DELETE FROM intents")
    if error == "sql":
        yield Statement("SELECT nothing FROM nowhere")
    raise ZeroDivisionError


@pytest.mark.parametrize(("error", "raised"), [("sql", StoreUnavailable), ("other", ZeroDivisionError)])
async def test_a_write_that_fails_is_rolled_back(error: str, raised: type[Exception]) -> None:
    store = MemoryStore(clock)
    intent = begun(await store.begin(create(), "me", LEASE))
    with pytest.raises(raised):
        store.database.run(lambda: _fails(error), clock(), writes=True)
    assert await store.get(intent.id) == intent


def test_a_clock_that_refers_to_its_database_keeps_no_database_alive() -> None:
    """SQLite would hold the clock, and no garbage collector sees a cycle through it."""

    class Owner:
        def __init__(self) -> None:
            self.store: Any = MemoryStore(self.now)

        def now(self) -> float:
            return 1_000.0

    database = weakref.ref(Owner().store.database)
    gc.collect()
    assert database() is None
