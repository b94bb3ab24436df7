"""One replica at a time works on a move, and another one takes over when it dies."""

import asyncio

import msgspec
import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.moves import MoveState
from gateway.ports.moves import StoredMove
from gateway.services.moves.worker import LEASE, MoveWorker
from gateway.telemetry.logs import make_logger
from gateway.telemetry.signals import MoveSignals
from tests.contract.store.moves import MOVE
from tests.memory_store import MemoryDatabase, MemoryStore
from tests.unit.services.moves.loop_clock import LoopTime, loop_time
from tests.unit.upstream.policies.simulation import simulated


class Cluster:
    """Replicas over one database. ``begun`` and ``ended`` are the replicas whose work on a move began and ended."""

    def __init__(self) -> None:
        self.rows = MemoryDatabase()
        self.store = MemoryStore(loop_time, database=self.rows)
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.times: dict[tuple[str, str], float] = {}
        self.cut_off: set[str] = set()

    def replica(self, name: str) -> MoveWorker:
        def on_call(_name: str, done: bool) -> None:
            if not done and name in self.cut_off:
                raise StoreUnavailable("cut off")

        async def work(_move: StoredMove, _holder: str) -> None:
            self.begun.append(name)
            self.times[(name, "begun")] = loop_time()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.append(name)
                self.times[(name, "ended")] = loop_time()

        store = MemoryStore(loop_time, database=self.rows, on_call=on_call)
        return MoveWorker(store, LoopTime(), {MoveState.PLANNING: work}, None)


@simulated
async def test_another_replica_takes_over_after_the_lease_of_one_that_died() -> None:
    cluster = Cluster()
    await cluster.store.add_move(MOVE)
    first, second = (asyncio.create_task(cluster.replica(name).run()) for name in ("a", "b"))
    await asyncio.sleep(60)
    assert cluster.begun == ["a"]
    first.cancel()
    await asyncio.sleep(LEASE + 3)
    assert (cluster.begun, cluster.ended) == (["a", "b"], ["a"])
    second.cancel()


@simulated
async def test_a_replica_that_is_cut_off_from_the_store_ends_its_work_before_another_begins() -> None:
    cluster = Cluster()
    await cluster.store.add_move(MOVE)
    workers = [asyncio.create_task(cluster.replica(name).run()) for name in ("a", "b")]
    await asyncio.sleep(5)
    cluster.cut_off.add("a")
    await asyncio.sleep(LEASE + 3)
    assert (cluster.begun, cluster.ended) == (["a", "b"], ["a"])
    assert cluster.times[("a", "ended")] <= cluster.times[("b", "begun")]
    for worker in workers:
        worker.cancel()


@simulated
async def test_work_begins_anew_after_a_pause_in_which_another_replica_may_have_worked() -> None:
    cluster = Cluster()
    await cluster.store.add_move(MOVE)
    suspended = cluster.replica("a")
    await suspended.round()
    await asyncio.sleep(LEASE + 1)
    await suspended.round()
    await asyncio.sleep(1)
    assert (cluster.begun, cluster.ended) == (["a", "a"], ["a"])


@simulated
async def test_work_ends_when_the_state_of_the_move_changes() -> None:
    cluster = Cluster()
    await cluster.store.add_move(MOVE)
    worker = asyncio.create_task(cluster.replica("a").run())
    await asyncio.sleep(1)
    await cluster.store.change_move(MOVE.id, {MoveState.PLANNING}, state=MoveState.CANCELLED)
    await asyncio.sleep(3)
    assert cluster.ended == ["a"]
    worker.cancel()


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (MoveState.PLANNING, MoveState.FAILED),
        (MoveState.APPLYING, MoveState.PAUSED),
        (MoveState.ROLLING_BACK, MoveState.FAILED),
    ],
)
def test_a_bug_ends_the_work_with_a_problem(
    state: MoveState, after: MoveState, capsys: pytest.CaptureFixture[str]
) -> None:
    @simulated
    async def run() -> None:
        async def broken(_move: StoredMove, _holder: str) -> None:
            raise ZeroDivisionError

        store = MemoryStore(loop_time)
        await store.add_move(msgspec.structs.replace(MOVE, state=state))
        worker = MoveWorker(store, LoopTime(), {state: broken}, MoveSignals(make_logger()))
        await worker.round()
        await worker.settled()
        stored = await store.get_move(MOVE.id)
        assert stored is not None
        assert stored.state is after
        assert msgspec.json.decode(stored.details)["problem"]["code"] == "internal_error"

    run()
    assert "ZeroDivisionError" in capsys.readouterr().out


@simulated
async def test_work_that_loses_the_store_begins_again() -> None:
    begun: list[str] = []

    async def work(move: StoredMove, _holder: str) -> None:
        begun.append(move.id)
        raise StoreUnavailable("down")

    store = MemoryStore(loop_time)
    await store.add_move(MOVE)
    worker = asyncio.create_task(MoveWorker(store, LoopTime(), {MoveState.PLANNING: work}, None).run())
    await asyncio.sleep(5)
    worker.cancel()
    assert len(begun) > 1
