"""The copy of the relocations in a replica: what it reads, how old it is, and its file."""

import asyncio
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.moves import MoveState
from gateway.ports.moves import Relocation, Relocations
from gateway.services.access.directory import Directory
from gateway.services.access.replication import EVERY, PAUSE, AccessReplica
from gateway.services.moves.map import SAVED_AFTER, SAVED_EVERY, MoveMap, MoveReplica
from gateway.storage import relocation_file
from gateway.storage.relocation_file import RelocationFile
from tests.contract.store.moves import GONE, ITEM, KEYS, MOVE
from tests.unit.services.access.test_replication import ManualClock, Store, settle


class World:
    """A replica over a store in memory, and its file."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.path = path
        self.moves = MoveMap()
        self.news: list[Sequence[Relocation]] = []
        self.unsaved: list[OSError] = []
        self.replica = self.another(self.moves)

    def another(self, moves: MoveMap) -> MoveReplica:
        return MoveReplica(
            self.store,
            moves,
            self.clock,
            RelocationFile(self.path),
            on_moved=self.news.append,
            on_unsaved=self.unsaved.append,
        )

    async def move(self) -> None:
        await self.store.add_move(MOVE)
        await self.store.change_move(MOVE.id, {MoveState.PLANNING}, state=MoveState.APPLYING)
        await self.store.claim_moves("mover", 30, {MoveState.APPLYING})
        await self.store.hold_runtime("old", KEYS, "mover", 30)
        assert await self.store.switch_runtime(ITEM, GONE, "mover", KEYS)

    def failed(self, error: Exception) -> None:
        raise error


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "folder" / "relocations.json")


def away(world: World) -> None:
    world.store.error = StoreUnavailable("The store cannot be used now.")


async def test_a_relocation_arrives_by_polling_and_by_a_notification(world: World) -> None:
    replica = AccessReplica(world.store, Directory(world.clock), world.clock, world, beside=world.replica.refresh)
    running = asyncio.create_task(replica.run())
    await settle()
    await world.move()
    assert not world.moves
    await world.clock.advance(EVERY)
    assert world.moves.of_id("old.r-1") == GONE
    assert world.moves.active == {"old", "new"}
    assert world.news == [[GONE]]
    await world.store.change_move(MOVE.id, {MoveState.APPLYING}, state=MoveState.DONE)
    assert world.store.notify is not None
    world.store.notify()
    await world.clock.advance(PAUSE)
    assert world.moves.active == frozenset()
    assert world.news == [[GONE]]
    running.cancel()


async def test_the_copy_ages_while_the_store_is_away(world: World) -> None:
    assert world.replica.age == float("inf")
    await world.replica.refresh()
    away(world)
    world.clock.time += 4
    with pytest.raises(StoreUnavailable):
        await world.replica.refresh()
    assert world.replica.age == 4


async def test_a_start_without_the_store_uses_the_file_and_its_time(world: World) -> None:
    await world.move()
    await world.replica.begin(2)
    assert stat.S_IMODE(world.path.stat().st_mode) == 0o600
    assert [path.name for path in world.path.parent.iterdir()] == ["relocations.json"]
    away(world)
    world.clock.time += 100
    moves = MoveMap()
    replica = world.another(moves)
    await replica.begin(2)
    assert moves.of_id("old.r-1") == GONE
    assert moves.active == {"old", "new"}
    assert replica.age == 100
    world.store.error = None
    await replica.refresh()
    assert replica.age == 0


async def test_a_file_that_cannot_be_read_is_no_relocation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.move()
    await world.replica.refresh()
    content = world.path.read_bytes()
    for broken in (b"", content[:-5], b'{"read_at": "x"}'):
        world.path.write_bytes(broken)
        assert RelocationFile(world.path).load() is None
    world.path.write_bytes(content)
    assert RelocationFile(world.path).load() is not None
    monkeypatch.setattr(relocation_file, "MAX_BYTES", len(content) - 1)
    assert RelocationFile(world.path).load() is None


async def test_the_file_is_written_only_when_there_are_moves_and_then_with_the_time(world: World) -> None:
    await world.replica.refresh()
    assert not world.path.exists()
    await world.move()
    await world.replica.refresh()
    first = RelocationFile(world.path).load()
    world.clock.time += SAVED_EVERY - 1
    await world.replica.refresh()
    assert RelocationFile(world.path).load() == first
    world.clock.time += 1
    await world.replica.refresh()
    later = RelocationFile(world.path).load()
    assert first is not None
    assert later == (first[0] + SAVED_EVERY, first[1])
    await world.store.change_move(MOVE.id, {MoveState.APPLYING}, state=MoveState.DONE)
    await world.replica.refresh()
    assert RelocationFile(world.path).load() == later
    world.clock.time += SAVED_AFTER
    await world.replica.refresh()
    assert RelocationFile(world.path).load() == (
        world.clock.time,
        Relocations(change=0, active=[], rows=[GONE], whole=True),
    )


async def test_a_file_that_cannot_be_written_is_reported_and_the_copy_is_current(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.move()
    monkeypatch.setattr(relocation_file, "MAX_BYTES", 10)
    await world.replica.refresh()
    assert len(world.unsaved) == 1
    assert world.moves.of_id("old.r-1") == GONE
    assert world.replica.age == 0
