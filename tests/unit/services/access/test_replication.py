"""The copy of keys and principals is refreshed by notifications and by polling, and survives failures of the store."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.domain.access import Principal
from gateway.domain.errors import StoreUnavailable
from gateway.ports.principals import NewKey
from gateway.services.access.directory import Directory, WrongKey
from gateway.services.access.replication import EVERY, PAUSE, USES_EVERY, AccessReplica
from tests.memory_store import MemoryStore
from tests.unit.services.fakes import FakeClock


class ManualClock(FakeClock):
    """A clock whose sleeps end when the test advances it."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.time + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Advance step by step, so that every sleep ends at its time."""
        end = self.time + seconds
        while True:
            await settle()
            due = [(at, future) for at, future in self.sleepers if not future.done() and at <= end]
            if not due:
                break
            self.time, future = min(due, key=lambda one: one[0])
            future.set_result(None)
        self.time = end


class Store(MemoryStore):
    """A store that fails and notifies when the test wants it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock.now, on_call=self._called)
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.notify: Callable[[], object] | None = None

    def _called(self, name: str, done: bool) -> None:
        if not done:
            self.calls.append(name)
            if self.error is not None:
                raise self.error

    async def listen(self, changed: Callable[[], object]) -> None:
        self.notify = changed
        await asyncio.Event().wait()


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.directory = Directory(self.clock)
        self.directory.declare({b"shop": Principal("shop")})
        self.errors: list[Exception] = []
        self.changes = 0
        self.replica = AccessReplica(self.store, self.directory, self.clock, self, on_changed=self.on_changed)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    def on_changed(self) -> None:
        self.changes += 1

    async def add(self, key_id: str, principal: str = "shop", template: str | None = None) -> None:
        new = NewKey(id=key_id, digest=key_id.encode(), prefix="rtgw_", principal=principal)
        await self.store.add_key(new, template=template, declared=template is None, limit=10)

    def knows(self, key_id: str) -> bool:
        try:
            return self.directory.find(key_id.encode()).key_id == key_id
        except WrongKey:
            return False


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> World:
    return World()


async def test_changes_are_effective_within_5_seconds_by_polling(world: World) -> None:
    """A poll reads only the version while nothing changes."""
    assert EVERY <= 5
    running = asyncio.create_task(world.replica.run())
    await settle()
    await world.add("k")
    world.store.calls.clear()
    await world.clock.advance(EVERY)
    assert world.knows("k")
    assert world.store.calls == ["version", "access_data"]
    await world.store.delete_key("k")
    world.store.calls.clear()
    await world.clock.advance(EVERY)
    assert not world.knows("k")
    await world.clock.advance(10 * EVERY)
    assert world.store.calls.count("access_data") == 1
    assert world.directory.age <= EVERY
    running.cancel()


async def test_notification_makes_changes_effective_at_once(world: World) -> None:
    """Many notifications cause one read."""
    running = asyncio.create_task(world.replica.run())
    await settle()
    await world.clock.advance(PAUSE)
    await world.add("k")
    world.store.calls.clear()
    assert world.store.notify is not None
    for _ in range(100):
        world.store.notify()
    await settle()
    assert world.knows("k")
    assert world.store.calls == ["version", "access_data"]
    running.cancel()


async def test_copy_ages_while_the_store_is_away_and_is_refreshed_when_it_is_back(world: World) -> None:
    await world.add("k")
    running = asyncio.create_task(world.replica.run())
    await settle()
    world.store.error = StoreUnavailable("The store cannot be used now.")
    await world.clock.advance(59)
    assert world.knows("k")
    assert world.directory.age == 59
    await world.clock.advance(2)
    with pytest.raises(StoreUnavailable):
        world.knows("k")
    assert world.directory.find(b"shop").name == "shop"
    world.store.error = None
    await world.clock.advance(EVERY)
    assert world.knows("k")
    assert world.errors == []
    running.cancel()


async def test_bug_is_reported_and_does_not_end_the_refreshing(world: World) -> None:
    running = asyncio.create_task(world.replica.run())
    await settle()
    world.store.error = bug = RuntimeError("a bug")
    await world.clock.advance(EVERY)
    assert world.errors == [bug]
    world.store.error = None
    await world.add("k")
    await world.clock.advance(EVERY)
    assert world.knows("k")
    running.cancel()


@pytest.mark.parametrize("error", [StoreUnavailable("The connection is closed."), RuntimeError("a bug")], ids=repr)
async def test_listening_is_resumed_after_it_failed(world: World, error: Exception) -> None:
    """A bug is reported."""
    begun = []

    async def lost(_changed: Callable[[], object]) -> None:
        begun.append(world.clock.time)
        raise error

    world.store.listen = lost  # type: ignore[method-assign]
    running = asyncio.create_task(world.replica.run())
    await world.clock.advance(3 * EVERY)
    assert len(begun) == 4
    assert world.errors == ([] if isinstance(error, StoreUnavailable) else [error] * 4)
    running.cancel()


async def test_uses_are_stored_together_and_kept_when_that_fails(world: World) -> None:
    await world.add("k")
    running = asyncio.create_task(world.replica.run())
    await settle()
    for _ in range(5):
        assert world.knows("k")
    await world.clock.advance(USES_EVERY - EVERY)
    assert "keys_used" not in world.store.calls
    world.store.error = StoreUnavailable("The store cannot be used now.")
    with pytest.raises(StoreUnavailable):
        await world.replica.write_uses()
    world.store.error = None
    await world.clock.advance(2 * USES_EVERY)
    assert world.store.calls.count("keys_used") == 2
    (stored,) = await world.store.keys()
    assert stored.last_used_at is not None
    await world.clock.advance(2 * USES_EVERY)
    assert world.store.calls.count("keys_used") == 2
    running.cancel()


async def test_changed_principals_and_owners_are_reported(world: World) -> None:
    await world.add("k")
    await world.replica.refresh()
    assert world.changes == 0
    await world.add("t", "team", "shop")
    await world.replica.refresh()
    assert world.changes == 1
    await world.store.assign_owner("p.1", "team", "ops")
    await world.replica.refresh()
    assert world.changes == 2
