"""Writes at providers of announced moves go through the store: what is refused, and what the mover waits for."""

import asyncio

import pytest

from gateway.domain.errors import Retryable, StateConflict, StoreUnavailable
from gateway.domain.moves import MoveState
from gateway.domain.values import Operation, WorkClass
from gateway.ports.context import RequestContext
from gateway.ports.moves import Relocations
from gateway.ports.transport import Attempt, Call, Phase
from gateway.services.fleet import Fleet
from gateway.services.moves.holding import new_work
from gateway.services.moves.map import ANNOUNCED_FOR, CURRENT_FOR, MoveReplica
from gateway.services.moves.permits import LATE, MARGIN, WritePermits
from tests.contract.store.moves import GONE, ITEM, KEYS, MOVE
from tests.unit.services.access.test_replication import ManualClock, Store
from tests.unit.services.fakes import DurableLike


class SharedStore(Store):
    shared = True


class World:
    """A replica with a provider, and a mover beside it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = SharedStore(self.clock)
        self.adapter = DurableLike("old")
        self.fleet = Fleet([self.adapter], self.clock)
        self.permits = self.fleet.permits = WritePermits(
            self.fleet.moves, self.store, self.clock, lambda: self.replica.age
        )
        self.replica = MoveReplica(self.store, self.fleet.moves, self.clock, on_read=self.permits.announced)

    async def announce(self) -> None:
        await self.store.add_move(MOVE)
        await self.store.change_move(MOVE.id, {MoveState.PLANNING}, state=MoveState.APPLYING)
        await self.store.claim_moves("mover", 1000, {MoveState.APPLYING})
        await self.replica.refresh()

    async def held(self) -> float | None:
        """The mover holds the rows of the runtime. Returns for how long writers may be under way."""
        return await self.store.hold_runtime("old", KEYS, "mover", 1000)

    async def begin(self, *rows: str, work: WorkClass = WorkClass.CREATE, seconds: float = 30) -> str:
        return await self.permits.begin("old", rows, work, self.clock.time + seconds)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.replica.refresh()
    return world


async def test_writes_cost_no_call_of_the_store_without_a_move(world: World) -> None:
    world.store.calls.clear()
    await world.permits.end(await world.begin("r-1"))
    assert world.store.calls == []


async def test_the_mover_waits_for_a_write_until_its_deadline_and_the_margin(world: World) -> None:
    await world.announce()
    writer = await world.begin("r-1", seconds=30)
    assert await world.held() == 30 + MARGIN
    await world.permits.end(writer)
    assert await world.held() == 0


async def test_a_write_to_a_runtime_that_is_moved_is_refused_and_may_be_repeated(world: World) -> None:
    await world.announce()
    await world.held()
    for work in (WorkClass.CREATE, WorkClass.RELEASE):
        with pytest.raises(StateConflict) as refused:
            await world.begin("r-1", work=work)
        assert (refused.value.retryable, refused.value.retry_after) == (Retryable.YES, 2.0)
    with pytest.raises(StateConflict):
        await world.begin("name:agent")
    await world.permits.end(await world.begin("r-2"))
    await world.store.release_runtime("old", KEYS, "mover")
    await world.permits.end(await world.begin("r-1"))


async def test_a_write_that_began_before_the_announcement_is_entered_when_the_replica_learns_of_it(
    world: World,
) -> None:
    writer = await world.begin("r-1", seconds=240)
    await world.announce()
    assert await world.held() == 240 + MARGIN
    await world.permits.end(writer)
    assert await world.held() == 0


async def test_the_copy_does_not_count_as_current_until_such_writes_are_entered(world: World) -> None:
    await world.begin("r-1", seconds=240)
    world.clock.time += 3
    await world.store.add_move(MOVE)
    await world.store.change_move(MOVE.id, {MoveState.PLANNING}, state=MoveState.APPLYING)
    called = world.store._called

    def away(name: str, done: bool) -> None:
        called(name, done)
        if name == "enter_write":
            raise StoreUnavailable("The store cannot be used now.")

    world.store._on_call = away
    with pytest.raises(StoreUnavailable):
        await world.replica.refresh()
    assert world.replica.age == 3
    world.store._on_call = called
    await world.replica.refresh()
    assert await world.held() == 237 + MARGIN


async def test_rows_that_become_known_later_are_entered_before_the_write_is_sent(world: World) -> None:
    await world.announce()
    writer = await world.begin()
    assert await world.held() == 0
    with pytest.raises(StateConflict):
        await world.permits.enter(writer, ["r-1"])
    await world.permits.enter(writer, ["r-2"])
    assert await world.store.hold_runtime("old", ["r-2"], "mover", 10) == 30 + MARGIN
    await world.permits.end(writer)
    assert await world.store.hold_runtime("old", ["r-2"], "mover", 10) == 0


async def test_a_write_to_where_a_runtime_has_gone_from_is_refused(world: World) -> None:
    """Its place was found out before the switch, and the move may have ended since."""
    world.fleet.moves.update(Relocations(change=1, active=(), rows=[GONE], whole=True))
    with pytest.raises(StateConflict):
        await world.begin("r-1")
    await world.permits.end(await world.begin("r-2"))


async def test_a_switch_that_the_replica_does_not_know_yet_refuses_the_write(world: World) -> None:
    await world.announce()
    await world.held()
    assert await world.store.switch_runtime(ITEM, GONE, "mover", KEYS)
    with pytest.raises(StateConflict):
        await world.begin("r-1")
    await world.replica.refresh()
    with pytest.raises(StateConflict):
        await world.fleet.refuse_moved_name(
            ("old", "acme/one", "durable", "agent"), Call(deadline=0.0), RequestContext("r")
        )


async def test_a_replica_without_the_store_writes_for_five_seconds_and_then_only_ends_things(world: World) -> None:
    await world.announce()
    world.store.error = StoreUnavailable("The store cannot be used now.")
    world.clock.time += CURRENT_FOR + 1
    with pytest.raises(StoreUnavailable):
        await world.begin("r-1")
    await world.permits.end(await world.begin("r-1", work=WorkClass.RELEASE))
    world.store.error = None
    await world.replica.refresh()
    await world.permits.end(await world.begin("r-1"))


async def test_a_file_is_not_shared_so_writes_go_on_without_the_store(world: World) -> None:
    world.store.shared = False  # type: ignore[misc]
    world.clock.time += 100
    await world.permits.end(await world.begin("r-1"))


async def test_a_cancelled_write_leaves_its_rows(world: World) -> None:
    await world.announce()
    runtime = world.adapter.put("agent", provider_id="r-1")
    ref, sent = world.adapter.reference(runtime), asyncio.Event()

    async def write() -> None:
        with RequestContext("r") as ctx:
            async with world.fleet.call_scope(provider, Operation.START, ctx, runtime=ref):
                sent.set()
                await asyncio.Event().wait()

    provider = world.fleet.get("old")
    assert provider is not None
    writing = asyncio.create_task(write())
    await sent.wait()
    assert await world.held() == pytest.approx(240 + MARGIN)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert await world.held() == 0


@pytest.mark.parametrize("outcome", ["read_timeout", "504", "200", "409"])
async def test_the_mover_waits_a_while_for_a_write_without_an_answer(world: World, outcome: str) -> None:
    """The provider may still carry it out, and then it would change a source that is not read any longer."""
    await world.announce()
    runtime, provider = world.adapter.put("agent", provider_id="r-1"), world.fleet.get("old")
    assert provider is not None
    with RequestContext("r") as ctx:
        async with world.fleet.call_scope(
            provider, Operation.START, ctx, runtime=world.adapter.reference(runtime)
        ) as call:
            call.attempts.append(Attempt("old", Operation.START, outcome, 1.0, Phase.SENT))
    unanswered = outcome in {"read_timeout", "504"}
    assert (await world.held() == 0) is not unanswered
    await world.clock.advance(LATE)
    assert await world.held() == 0


async def test_reads_probes_and_the_mover_itself_enter_no_row(world: World) -> None:
    await world.announce()
    await world.held()
    provider = world.fleet.get("old")
    assert provider is not None
    ref = world.adapter.reference(world.adapter.put("agent", provider_id="r-1"))
    with RequestContext("r") as ctx, RequestContext("m", mover=True) as mover:
        async with world.fleet.call_scope(provider, Operation.GET, ctx, runtime=ref):
            pass
        async with world.fleet.call_scope(provider, Operation.CONNECT, ctx, runtime=ref, only_reads=True):
            pass
        async with world.fleet.call_scope(provider, Operation.STOP, mover, runtime=ref) as call:
            assert call.writer == ""
        with pytest.raises(StateConflict):
            async with world.fleet.call_scope(provider, Operation.STOP, ctx, runtime=ref):
                pass


async def test_a_write_is_not_sent_by_a_replica_that_may_not_know_of_a_move(world: World) -> None:
    """It began in time, and then the process stopped, or the store could not be reached."""
    writer = await world.begin("r-1", seconds=240)
    ends = await world.begin("r-1", work=WorkClass.RELEASE)
    world.permits.require(writer)
    world.clock.time += CURRENT_FOR + 1
    with pytest.raises(StoreUnavailable):
        world.permits.require(writer)
    world.permits.require(ends)
    await world.replica.refresh()
    world.permits.require(writer)


async def test_a_write_is_not_sent_to_where_the_runtime_has_gone_from_since_it_began(world: World) -> None:
    writer = await world.begin("r-1", work=WorkClass.RELEASE)
    world.fleet.moves.update(Relocations(change=1, active=(), rows=[GONE], whole=True))
    with pytest.raises(StateConflict):
        world.permits.require(writer)


async def test_a_write_is_not_sent_if_the_replica_learns_of_its_move_when_the_runtime_is_held(world: World) -> None:
    writers = [await world.begin("r-1", work=work) for work in (WorkClass.CREATE, WorkClass.RELEASE)]
    await world.store.add_move(MOVE)
    await world.held()
    await world.announce()
    for writer in writers:
        with pytest.raises(StateConflict):
            world.permits.require(writer)


async def test_a_write_is_not_acknowledged_if_the_runtime_may_have_been_switched_meanwhile(world: World) -> None:
    """Without the store since before the announcement, or after the time for which the mover waits for it."""
    writer = await world.begin("r-1", seconds=240)
    ends = await world.begin("r-1", work=WorkClass.RELEASE)
    world.clock.time += ANNOUNCED_FOR + 1
    assert not await world.permits.end(writer)
    assert await world.permits.end(ends)
    await world.announce()
    assert await world.permits.end(await world.begin("r-1", seconds=240))
    late = await world.begin("r-1", seconds=240)
    world.clock.time += 240 + MARGIN
    assert not await world.permits.end(late)
    ref, provider = world.adapter.reference(world.adapter.put("agent", provider_id="r-1")), world.fleet.get("old")
    assert provider is not None
    await world.replica.refresh()
    with RequestContext("r") as ctx, pytest.raises(StoreUnavailable):
        async with world.fleet.call_scope(provider, Operation.START, ctx, runtime=ref):
            world.clock.time += 240 + MARGIN


@pytest.mark.parametrize("operation", [Operation.START, Operation.RESUME, Operation.CONNECT])
async def test_nothing_begins_on_a_runtime_that_is_drained(world: World, operation: Operation) -> None:
    await world.announce()
    provider = world.fleet.get("old")
    assert provider is not None
    ref = world.adapter.reference(world.adapter.put("agent", provider_id="r-1"))
    assert await world.store.hold_runtime("old", [new_work("r-1")], "mover", 100) == 0
    with RequestContext("r") as ctx:
        for other in (Operation.KEEPALIVE, Operation.REPLACE_CONFIG, Operation.PAUSE):
            async with world.fleet.call_scope(provider, other, ctx, runtime=ref):
                pass
        with pytest.raises(StateConflict) as refused:
            async with world.fleet.call_scope(provider, operation, ctx, runtime=ref):
                pass
    assert refused.value.retryable is Retryable.YES
