"""A runtime is created at the target once, compared, switched, and then its source is ended."""

import asyncio

import pytest

from gateway.domain.errors import ProviderUnavailable, StateConflict
from gateway.domain.moves import ItemState, MoveState
from gateway.domain.values import State
from gateway.services.access.rates import RateLimits
from gateway.services.moves.holding import new_work
from gateway.services.moves.mover import CANCEL
from gateway.services.moves.worker import with_details
from tests.unit.services.fakes import DurableLike, NullSignals
from tests.unit.services.moves.loop_clock import LoopTime, loop_time
from tests.unit.services.moves.moving import MOVE_ID, Scene
from tests.unit.upstream.policies.simulation import simulated


@simulated
async def test_runtimes_move_with_their_config_and_state() -> None:
    scene = Scene(when="now")
    idle, running = scene.old.put("idle"), scene.old.put("running", State.RUNNING)
    scene.old.world.configs[idle.provider_id] = {"version": "v2", "n": 7}
    await scene.planned(idle, running)
    began = loop_time()
    await scene.applied()
    assert loop_time() - began >= 10
    first, second = await scene.items()
    assert (first.state, second.state) == (ItemState.MOVED, ItemState.MOVED)
    made = scene.new.world.runtimes
    assert {made[str(one.target_id)].name: made[str(one.target_id)].state for one in (first, second)} == {
        "idle": State.IDLE,
        "running": State.RUNNING,
    }
    assert scene.new.world.configs[str(first.target_id)]["n"] == 7
    assert scene.old.world.runtimes[running.provider_id].state is State.PAUSED
    relocations = (await scene.store.relocations(0)).rows
    assert {row.source_runtime_id: row.target_runtime_id for row in relocations} == {
        idle.id: first.target_runtime_id,
        running.id: second.target_runtime_id,
    }
    assert list((await scene.store.relocations(0)).active) == []
    assert await scene.store.enter_write("new", [str(first.target_id), "name:idle"], "w", 1)
    await scene.end()


@simulated
async def test_nothing_is_done_before_every_replica_knows_of_the_move() -> None:
    scene = Scene()
    await scene.planned(scene.old.put("agent"))
    await scene.store.change_move(MOVE_ID, {MoveState.PLANNED}, state=MoveState.APPLYING)
    scene.replica().run()
    calls = len(scene.old.world.calls)
    await asyncio.sleep(9.9)
    assert len(scene.old.world.calls) == calls
    assert scene.new.world.calls == []
    await scene.reaches(MoveState.DONE)
    await scene.end()


@simulated
async def test_a_drain_lets_nothing_begin_on_a_runtime_until_it_has_moved() -> None:
    scene = Scene(when="drain")
    busy, paused = scene.old.put("busy", State.RUNNING), scene.old.put("paused", State.PAUSED)
    await scene.planned(busy, paused)
    await scene.applied(until=MoveState.APPLYING)
    await asyncio.sleep(40)
    assert [item.state for item in await scene.items()] == [ItemState.PLANNED, ItemState.MOVED]
    begin, go_on = new_work(busy.provider_id), busy.provider_id
    assert not await scene.store.enter_write("old", [begin, go_on], "start", 1)
    assert await scene.store.enter_write("old", [go_on], "stop", 1)
    scene.old.move(busy.provider_id, State.IDLE)
    await scene.reaches(MoveState.DONE)
    assert {item.state for item in await scene.items()} == {ItemState.MOVED}
    assert await scene.store.hold_runtime("old", [begin], "another mover", 1) == 0
    await scene.end()


@simulated
async def test_what_a_drain_refused_may_begin_when_the_move_is_cancelled() -> None:
    scene = Scene(when="drain")
    busy = scene.old.put("busy", State.RUNNING)
    await scene.planned(busy)
    await scene.applied(until=MoveState.APPLYING)
    await asyncio.sleep(20)
    move = await scene.move()
    await scene.store.change_move(MOVE_ID, {move.state}, details=with_details(move, asked=CANCEL))
    await scene.reaches(MoveState.CANCELLED)
    assert await scene.store.enter_write("old", [new_work(busy.provider_id)], "start", 1)
    await scene.end()


@simulated
async def test_a_runtime_with_compute_waits_until_it_is_idle_and_holds_up_no_other() -> None:
    scene = Scene(concurrency=1)
    busy = scene.old.put("busy", State.RUNNING)
    await scene.planned(busy, scene.old.put("idle"))
    await scene.store.change_move(MOVE_ID, {MoveState.PLANNED}, state=MoveState.APPLYING)
    scene.replica().run()
    await asyncio.sleep(60)
    (first, progress), (second, _) = await scene.item(0), await scene.item(1)
    assert (first.state, second.state) == (ItemState.PLANNED, ItemState.MOVED)
    assert progress.waits_for == "idle: the runtime is running"
    assert await scene.store.enter_write("old", [busy.provider_id, "name:busy"], "client", 1)
    scene.old.move(busy.provider_id, State.IDLE)
    await scene.reaches(MoveState.DONE)
    (first, progress) = await scene.item(0)
    assert (first.state, progress.waits_for) == (ItemState.MOVED, None)
    await scene.end()


@simulated
async def test_writes_that_are_under_way_are_waited_for_and_later_ones_refused() -> None:
    scene = Scene()
    runtime = scene.old.put("agent")
    keys = [runtime.provider_id, "name:agent"]
    await scene.planned(runtime)
    assert await scene.store.enter_write("old", keys, "client", 100)
    await scene.store.change_move(MOVE_ID, {MoveState.PLANNED}, state=MoveState.APPLYING)
    scene.replica().run()
    await asyncio.sleep(15)
    assert not await scene.store.enter_write("old", keys, "another", 1)
    assert scene.new.world.asked == []
    await asyncio.sleep(10)
    assert (await scene.item())[1].waits_for == "writes to the runtime that are under way"
    await scene.store.leave_write("old", keys, "client")
    await scene.reaches(MoveState.DONE)
    await scene.end()


@simulated
async def test_a_taken_name_fails_the_runtime_unless_it_is_to_be_adopted() -> None:
    scene = Scene()
    theirs = scene.new.put("agent")
    await scene.planned(scene.old.put("agent"))
    await scene.applied()
    item, progress = await scene.item()
    assert item.state is ItemState.FAILED
    assert progress.problem is not None
    assert progress.problem.code == "already_exists"
    await scene.end()
    scene = Scene(target=scene.new, on_name_conflict="adopt")
    await scene.planned(scene.old.put("agent"))
    await scene.applied()
    item, progress = await scene.item()
    assert (item.state, item.target_id, progress.made) == (ItemState.MOVED, theirs.provider_id, False)
    await scene.end()


@simulated
async def test_a_runtime_of_the_name_that_differs_is_not_adopted() -> None:
    scene = Scene(on_name_conflict="adopt")
    theirs = scene.new.put("agent")
    scene.new.world.configs[theirs.provider_id] = {"version": "v2", "n": 1}
    await scene.planned(scene.old.put("agent"))
    await scene.applied()
    item, progress = await scene.item()
    assert item.state is ItemState.FAILED
    assert progress.problem is not None
    assert progress.problem.pointer == "#/config"
    assert scene.new.world.configs[theirs.provider_id] == {"version": "v2", "n": 1}
    await scene.end()


@simulated
async def test_creates_of_the_name_wait_at_both_ends_while_the_runtime_is_created() -> None:
    scene = Scene()
    await scene.planned(scene.old.put("agent"))
    entered: list[bool] = []

    async def creates() -> None:
        entered.extend([await scene.store.enter_write(at, ["name:agent"], "client", 1) for at in ("old", "new")])

    scene.new.world.before["create"] = creates
    await scene.applied()
    assert entered == [False, False]
    assert await scene.store.enter_write("new", ["name:agent"], "client", 1)
    await scene.end()


@simulated
async def test_what_changed_since_the_plan_is_carried_over() -> None:
    scene = Scene()
    runtime = scene.old.put("agent")
    await scene.planned(runtime)
    scene.old.world.configs[runtime.provider_id] = {"version": "v2", "n": 9}
    await scene.applied()
    item, progress = await scene.item()
    assert scene.new.world.configs[str(item.target_id)]["n"] == 9
    assert progress.config_digest == "d9"
    await scene.end()


@pytest.mark.parametrize("provider", ["old", "new"])
def test_a_provider_that_is_away_is_tried_again(provider: str) -> None:
    @simulated
    async def run() -> None:
        scene = Scene(when="now")
        await scene.planned(scene.old.put("agent", State.RUNNING))
        world = scene.old.world if provider == "old" else scene.new.world
        for method in ("get", "create", "start", "pause", "get_config", "replace_config"):
            world.fail(method, ProviderUnavailable("away"), ProviderUnavailable("away"))
        await scene.applied()
        item, _ = await scene.item()
        assert item.state is ItemState.MOVED
        assert len(scene.new.world.runtimes) == 1
        await scene.end()

    run()


@simulated
async def test_a_start_that_fails_leaves_the_runtime_at_the_source() -> None:
    scene = Scene(when="now")
    runtime = scene.old.put("agent", State.RUNNING)
    await scene.planned(runtime)
    scene.new.world.fail("start", StateConflict("no", provider="new"))
    await scene.applied()
    item, progress = await scene.item()
    assert item.state is ItemState.FAILED
    assert progress.problem is not None
    assert "was left at the target, without compute" in progress.problem.detail
    assert scene.old.world.runtimes[runtime.provider_id].state is State.RUNNING
    assert (await scene.store.relocations(0)).rows == []
    assert await scene.store.enter_write("old", [runtime.provider_id], "client", 1)
    await scene.end()


@simulated
async def test_a_source_that_cannot_be_ended_is_a_problem_of_a_runtime_that_has_moved() -> None:
    scene = Scene(when="now")
    await scene.planned(scene.old.put("agent", State.RUNNING))
    scene.old.world.fail("pause", *[StateConflict("no", provider="old")] * 9)
    await scene.applied()
    item, progress = await scene.item()
    assert item.state is ItemState.MOVED
    assert progress.problem is not None
    assert progress.problem.code == "state_conflict"
    await scene.end()


@pytest.mark.parametrize(("after", "state"), [("keep", State.RUNNING), ("stop", State.PAUSED), ("reset", State.IDLE)])
def test_the_source_is_ended_as_the_plan_says(after: str, state: State) -> None:
    @simulated
    async def run() -> None:
        scene = Scene(when="now", source_after=after)
        runtime = scene.old.put("agent", State.RUNNING)
        await scene.planned(runtime)
        await scene.applied()
        assert scene.old.world.runtimes[runtime.provider_id].state is state
        await scene.end()

    run()


@simulated
async def test_no_more_runtimes_run_at_both_ends_than_the_plan_allows() -> None:
    scene = Scene(when="now", concurrency=4, max_double_running=2)
    most = 0

    async def count() -> None:
        nonlocal most
        await asyncio.sleep(1)
        running = [one for one in scene.new.world.runtimes.values() if one.state is State.RUNNING]
        ended = [one for one in scene.old.world.runtimes.values() if one.state is State.PAUSED]
        most = max(most, len(running) - len(ended))

    scene.new.world.before["get_config"] = scene.old.world.before["pause"] = count
    await scene.planned(*(scene.old.put(f"agent{number}", State.RUNNING) for number in range(6)))
    await scene.applied()
    assert most == 2
    await scene.end()


@simulated
async def test_errors_pause_the_move_after_what_has_begun() -> None:
    scene = Scene(concurrency=1, stop_on_errors=2)
    for number in range(3):
        scene.new.put(f"agent{number}")
    await scene.planned(*(scene.old.put(f"agent{number}") for number in range(5)))
    await scene.applied(until=MoveState.PAUSED)
    states = [item.state for item in await scene.items()]
    assert states == [ItemState.FAILED] * 2 + [ItemState.PLANNED] * 3
    assert list((await scene.store.relocations(0)).active) == ["new", "old"]
    await scene.end()


@simulated
async def test_a_runtime_that_another_move_has_switched_is_not_moved_again() -> None:
    scene = Scene()
    runtime = scene.old.put("agent")
    await scene.planned(runtime)
    await scene.planned(runtime, move_id="mv_2")
    await scene.store.change_move("mv_2", {MoveState.PLANNED}, state=MoveState.APPLYING)
    await scene.applied()
    await scene.reaches(MoveState.DONE, move_id="mv_2")
    states = {(await scene.items(move))[0].state for move in (MOVE_ID, "mv_2")}
    assert states == {ItemState.MOVED, ItemState.FAILED}
    assert len(scene.new.world.runtimes) == 1
    await scene.end()


@simulated
async def test_a_move_keeps_to_the_rate_of_an_account() -> None:
    scene = Scene(source=DurableLike("old", limits={"requests": "1 per 10 seconds"}))
    await scene.planned(*(scene.old.put(f"agent{number}") for number in range(3)))
    scene.replica().fleet.rates = RateLimits(LoopTime(), NullSignals())  # type: ignore[arg-type]
    began = loop_time()
    await scene.applied()
    assert loop_time() - began > 30
    assert {item.state for item in await scene.items()} == {ItemState.MOVED}
    await scene.end()
