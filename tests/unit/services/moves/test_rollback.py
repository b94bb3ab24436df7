"""A rollback leads every id to its source again, and loses nothing that it was not told to give up."""

import asyncio

import pytest

from gateway.domain.errors import ProviderUnavailable, StoreUnavailable
from gateway.domain.moves import ItemState
from gateway.domain.values import State
from gateway.services.moves.documents import merged
from gateway.services.moves.rollback import patch_of
from tests.unit.services.moves.moving import Scene
from tests.unit.upstream.policies.simulation import simulated


async def moved(**request: object) -> Scene:
    scene = Scene(**{"when": "now", **request})
    running, idle = scene.old.put("running", State.RUNNING), scene.old.put("idle")
    scene.old.world.configs[idle.provider_id] = {"version": "v2", "n": 1, "keep": "this"}
    await scene.planned(running, idle)
    await scene.applied()
    return scene


@simulated
async def test_sources_take_their_ids_again_and_run_if_the_targets_ran() -> None:
    scene = await moved()
    await scene.rolled_back()
    assert {item.state for item in await scene.items()} == {ItemState.ROLLED_BACK}
    states = {runtime.name: runtime.state for runtime in scene.old.world.runtimes.values()}
    assert states == {"running": State.RUNNING, "idle": State.IDLE}
    assert {runtime.state for runtime in scene.new.world.runtimes.values()} == {State.PAUSED, State.IDLE}
    rows = (await scene.store.relocations(0)).rows
    assert {(row.source, row.target, row.runtime_id) for row in rows} == {
        ("new", "old", runtime.id) for runtime in scene.old.world.runtimes.values()
    }
    await scene.end()


@simulated
async def test_a_runtime_is_brought_back_although_the_store_fails_in_between() -> None:
    scene = await moved()
    failures = ["hold_runtime", "switch_runtime"]

    def fails(name: str, done: bool) -> None:
        if not done and name in failures:
            failures.remove(name)
            raise StoreUnavailable("The store cannot be used now.")

    scene.replicas[0].on_call = fails
    await scene.rolled_back()
    assert not failures
    assert {item.state for item in await scene.items()} == {ItemState.ROLLED_BACK}
    await scene.end()


@simulated
async def test_what_has_changed_at_the_target_stays_there() -> None:
    scene = await moved()
    item, _ = await scene.item(1)
    scene.new.world.configs[str(item.target_id)]["n"] = 5
    await scene.rolled_back()
    (first, _), (second, progress) = await scene.item(0), await scene.item(1)
    assert (first.state, second.state) == (ItemState.ROLLED_BACK, ItemState.MOVED)
    assert progress.problem is not None
    assert (progress.problem.code, "#/config/n" in progress.problem.detail) == ("state_conflict", True)
    assert scene.old.world.configs[item.provider_id]["n"] == 1
    await scene.end()


@pytest.mark.parametrize(("options", "n"), [({"sync_back": ["config"]}, 5), ({"discard": True}, 1)])
def test_a_changed_config_is_copied_back_or_given_up(options: dict[str, object], n: int) -> None:
    @simulated
    async def run() -> None:
        scene = await moved()
        item, _ = await scene.item(1)
        scene.new.world.configs[str(item.target_id)]["n"] = 5
        await scene.rolled_back(*options.get("sync_back", ()), discard="discard" in options)  # type: ignore[misc]
        assert {one.state for one in await scene.items()} == {ItemState.ROLLED_BACK}
        config = scene.old.world.configs[item.provider_id]
        assert (config["n"], config["keep"]) == (n, "this")
        await scene.end()

    run()


@simulated
async def test_the_comparison_names_what_has_changed() -> None:
    scene = await moved()
    item, _ = await scene.item(0)
    scene.new.world.configs[str(item.target_id)]["n"] = 2
    scene.new.move(str(item.target_id), State.PAUSED)
    rollback = scene.replicas[0].rollback
    run = scene.replicas[0].context.run(await scene.move(), "nobody")
    found = await rollback.compare(run, item)
    assert [(change.pointer, change.to) for change in found.changes] == [("#/config/n", 2), ("#/state", "paused")]
    assert (await rollback.compare(run, (await scene.items())[1])).changes == []
    await scene.end()


@simulated
async def test_a_source_that_does_not_exist_any_longer_fails() -> None:
    scene = await moved()
    item, _ = await scene.item(1)
    del scene.old.world.runtimes[item.provider_id]
    await scene.rolled_back()
    item, progress = await scene.item(1)
    assert item.state is ItemState.FAILED
    assert progress.problem is not None
    assert progress.problem.code == "not_found"
    assert [row.source for row in (await scene.store.relocations(0)).rows if row.source_id == item.provider_id] == [
        "old"
    ]
    await scene.end()


@simulated
async def test_a_runtime_that_was_moved_on_is_not_brought_back() -> None:
    scene = await moved()
    item, _ = await scene.item(1)
    other = (await scene.store.relocations(0)).rows
    assert len(other) == 2
    replica = scene.replicas[0]
    with pytest.raises(Exception, match="was moved to new"):
        await replica.context.occupied.refuse_gone("old", item.provider_id)
    await replica.context.occupied.refuse_gone("new", str(item.target_id))
    await scene.end()


@simulated
async def test_a_rollback_survives_failures_and_a_kill() -> None:
    scene = await moved()
    for world in (scene.old.world, scene.new.world):
        for method in ("get", "resume", "pause", "get_config"):
            world.fail(method, ProviderUnavailable("away"))
    second = scene.replica()
    scene.replicas[0].on_call = lambda name, done: (
        asyncio.Event().wait() if (name, done) == ("switch_runtime", True) else None  # type: ignore[return-value]
    )
    back = asyncio.create_task(scene.rolled_back())
    await asyncio.sleep(40)
    await scene.replicas[0].kill()
    second.run()
    await back
    assert {item.state for item in await scene.items()} == {ItemState.ROLLED_BACK}
    assert {runtime.state for runtime in scene.new.world.runtimes.values()} == {State.PAUSED, State.IDLE}
    await scene.end()


@simulated
async def test_a_runtime_can_be_moved_again_after_a_rollback() -> None:
    scene = await moved()
    await scene.rolled_back()
    again = Scene(source=scene.old, target=scene.new, when="now", on_name_conflict="adopt")
    again.rows, again.store = scene.rows, scene.store
    runtimes = list(scene.old.world.runtimes.values())
    await again.planned(*runtimes, move_id="mv_2")
    await again.replica().context.on_switched()  # type: ignore[misc]
    await again.applied(move_id="mv_2")
    states = {runtime.name: runtime.state for runtime in scene.new.world.runtimes.values()}
    assert states == {"running": State.RUNNING, "idle": State.IDLE}
    assert {item.state for item in await again.items("mv_2")} == {ItemState.MOVED}
    rows = (await scene.store.relocations(0)).rows
    assert {row.source for row in rows} == {"old"}
    assert len(scene.new.world.runtimes) == 2
    await scene.end()
    await again.end()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}),
        ({"a": [1]}, {"a": [1, 2], "d": {"e": {}}}),
        ({"a": {"b": 1}}, {"a": 1}),
        ({}, {}),
    ],
)
def test_a_patch_makes_one_document_of_another(before: dict[str, object], after: dict[str, object]) -> None:
    assert merged(before, patch_of(before, after)) == after
    assert patch_of(after, after) == {}
