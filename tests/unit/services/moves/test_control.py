"""Moves are applied, paused, continued, cancelled and rolled back by callers."""

import asyncio

import pytest

from gateway.domain.errors import PreconditionFailed, ProviderUnavailable, StateConflict
from gateway.domain.moves import ApplyMove, ItemState, MoveItems, MoveState, RollbackMove
from gateway.domain.values import State
from gateway.services.moves.control import MoveControl
from gateway.services.moves.service import MoveService
from tests.unit.services.fakes import BrowserLike, keyring
from tests.unit.services.moves.moving import MOVE_ID, Scene
from tests.unit.upstream.policies.simulation import simulated


def control_of(scene: Scene) -> MoveControl:
    replica = scene.replicas[0] if scene.replicas else scene.replica()
    return MoveControl(replica.context, MoveService(replica.fleet, replica.store, keyring()))


@simulated
async def test_only_the_plan_that_was_read_is_applied() -> None:
    scene = Scene()
    await scene.planned(scene.old.put("agent"))
    control = control_of(scene)
    with pytest.raises(PreconditionFailed, match="another digest"):
        await control.apply(MOVE_ID, ApplyMove(digest="other"))
    assert (await control.apply(MOVE_ID, ApplyMove(digest="d"))).state is MoveState.APPLYING
    assert (await control.apply(MOVE_ID, ApplyMove(digest="d"))).state is MoveState.APPLYING
    await scene.applied()
    with pytest.raises(StateConflict, match="The move is done; apply works from: planned"):
        await control.apply(MOVE_ID, ApplyMove(digest="d"))
    await scene.end()


@simulated
async def test_a_pause_ends_what_has_begun_and_begins_nothing() -> None:
    scene = Scene(concurrency=1)

    async def slow() -> None:
        await asyncio.sleep(5)

    scene.new.world.before["create"] = slow
    await scene.planned(*(scene.old.put(f"agent{number}") for number in range(4)))
    control = control_of(scene)
    await scene.applied(until=MoveState.APPLYING)
    await asyncio.sleep(13)
    assert (await control.pause(MOVE_ID)).state is MoveState.APPLYING
    await scene.reaches(MoveState.PAUSED)
    states = [item.state for item in await scene.items()]
    assert states == [ItemState.MOVED, *[ItemState.PLANNED] * 3]
    with pytest.raises(StateConflict, match="pause works from: applying"):
        await control.pause(MOVE_ID)
    await control.resume(MOVE_ID)
    await scene.reaches(MoveState.DONE)
    assert {item.state for item in await scene.items()} == {ItemState.MOVED}
    await scene.end()


@simulated
async def test_runtimes_that_failed_are_tried_again() -> None:
    scene = Scene()
    taken = scene.new.put("agent")
    await scene.planned(scene.old.put("agent"), scene.old.put("other"))
    await scene.applied()
    control = control_of(scene)
    assert [item.state for item in await scene.items()] == [ItemState.FAILED, ItemState.MOVED]
    del scene.new.world.runtimes[taken.provider_id]
    await asyncio.sleep(400)  # the provider may show it again for a while
    await control.resume(MOVE_ID)
    await scene.reaches(MoveState.DONE)
    item, progress = await scene.item()
    assert (item.state, progress.problem) == (ItemState.MOVED, None)
    with pytest.raises(StateConflict, match="no runtime failed"):
        await control.resume(MOVE_ID)
    await scene.end()


@pytest.mark.parametrize("paused", [False, True])
def test_a_cancelled_move_skips_what_has_not_begun(paused: bool) -> None:
    @simulated
    async def run() -> None:
        scene = Scene()
        await scene.planned(scene.old.put("busy", State.RUNNING), scene.old.put("idle"))
        control = control_of(scene)
        await scene.applied(until=MoveState.APPLYING)
        await asyncio.sleep(30)
        if paused:
            await control.pause(MOVE_ID)
            await scene.reaches(MoveState.PAUSED)
        await control.cancel(MOVE_ID)
        await scene.reaches(MoveState.CANCELLED)
        assert [item.state for item in await scene.items()] == [ItemState.SKIPPED, ItemState.MOVED]
        assert list((await scene.store.relocations(0)).active) == []
        await scene.end()

    run()


@simulated
async def test_a_move_that_was_paused_after_failures_can_be_cancelled() -> None:
    scene = Scene(stop_on_errors=1, concurrency=1)
    scene.new.put("taken")
    await scene.planned(scene.old.put("taken"), scene.old.put("agent"))
    control = control_of(scene)
    await scene.applied(until=MoveState.PAUSED)
    await control.cancel(MOVE_ID)
    await scene.reaches(MoveState.CANCELLED)
    assert [item.state for item in await scene.items()] == [ItemState.FAILED, ItemState.SKIPPED]
    await scene.end()


@simulated
async def test_a_plan_can_be_cancelled_before_it_is_applied() -> None:
    scene = Scene()
    await scene.planned(scene.old.put("agent"))
    control = control_of(scene)
    await control.cancel(MOVE_ID)
    scene.replicas[0].run()
    await scene.reaches(MoveState.CANCELLED, within=8)
    assert (await scene.items())[0].state is ItemState.SKIPPED
    assert scene.new.world.asked == []
    await scene.end()


@simulated
async def test_a_runtime_that_was_created_is_left_without_compute_after_a_cancel() -> None:
    scene = Scene(when="now")
    await scene.planned(scene.old.put("agent", State.RUNNING))
    control = control_of(scene)

    async def cancel() -> None:
        if not scene.new.world.failures.get("start"):
            return
        await control.cancel(MOVE_ID)

    scene.new.world.fail("start", ProviderUnavailable("away"))
    scene.new.world.before["start"] = cancel
    await scene.applied(until=MoveState.CANCELLED)
    item, progress = await scene.item()
    assert item.state is ItemState.SKIPPED
    assert progress.problem is not None
    assert item.target_runtime_id is not None
    assert item.target_runtime_id in progress.problem.detail
    assert scene.old.world.runtimes[item.provider_id].state is State.RUNNING
    assert (await scene.store.relocations(0)).rows == []
    await scene.end()


@simulated
async def test_a_dry_run_says_what_has_changed_and_a_rollback_that_loses_it_is_refused() -> None:
    scene = Scene()
    await scene.planned(scene.old.put("same"), scene.old.put("changed"))
    await scene.applied()
    control = control_of(scene)
    item = (await scene.items())[1]
    scene.new.world.configs[str(item.target_id)]["n"] = 4
    found = await control.rollback(MOVE_ID, RollbackMove(dry_run=True))
    assert isinstance(found, MoveItems)
    assert [(one.name, [change.pointer for change in one.changes]) for one in found.items] == [
        ("changed", ["#/config/n"])
    ]
    with pytest.raises(StateConflict, match="Changed at the target: old"):
        await control.rollback(MOVE_ID, RollbackMove())
    assert (await scene.move()).state is MoveState.DONE
    await control.rollback(MOVE_ID, RollbackMove(sync_back=["config"]))
    await scene.reaches(MoveState.ROLLED_BACK)
    assert scene.old.world.configs[item.provider_id]["n"] == 4
    await scene.end()


@simulated
async def test_a_runtime_that_cannot_be_read_is_named_in_a_dry_run() -> None:
    scene = Scene()
    await scene.planned(scene.old.put("agent"))
    await scene.applied()
    scene.new.world.runtimes.clear()
    found = await control_of(scene).rollback(MOVE_ID, RollbackMove(dry_run=True))
    assert isinstance(found, MoveItems)
    assert found.items[0].problem is not None
    assert found.items[0].problem.code == "not_found"
    await scene.end()


@simulated
async def test_a_dry_run_names_the_sources_that_have_ended_for_good() -> None:
    ends = {"source": BrowserLike("old"), "target": BrowserLike("new")}
    scene = Scene(**ends, when="now", source_after="keep")
    await scene.planned(*(scene.old.put(name, State.RUNNING) for name in ("deleted", "ended", "kept")))
    await scene.applied()
    deleted, ended, _ = await scene.items()
    del scene.old.world.runtimes[deleted.provider_id]
    scene.old.move(ended.provider_id, State.STOPPED)
    control = control_of(scene)
    found = await control.rollback(MOVE_ID, RollbackMove(dry_run=True))
    assert isinstance(found, MoveItems)
    assert [(one.name, one.problem and one.problem.code) for one in found.items] == [
        ("deleted", "not_found"),
        ("ended", "state_conflict"),
    ]
    await control.rollback(MOVE_ID, RollbackMove())
    await scene.reaches(MoveState.ROLLED_BACK)
    assert [item.state for item in await scene.items()] == [ItemState.FAILED, ItemState.MOVED, ItemState.ROLLED_BACK]
    await scene.end()


@simulated
async def test_a_move_that_is_applied_cannot_be_rolled_back() -> None:
    scene = Scene()
    await scene.planned(scene.old.put("agent"))
    with pytest.raises(StateConflict, match="rollback works from: paused, done, failed, cancelled, rolled_back"):
        await control_of(scene).rollback(MOVE_ID, RollbackMove())
