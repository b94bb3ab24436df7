"""A mover that is killed anywhere is replaced by another replica, and every runtime moves exactly once."""

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar

import pytest

from gateway.domain.moves import ItemState, MoveState
from gateway.domain.values import State
from tests.unit.services.moves.moving import MOVE_ID, Scene
from tests.unit.upstream.policies.simulation import simulated

_METHODS = ("get", "create", "find", "start", "pause", "get_config", "replace_config")
_REPLICA: ContextVar[str] = ContextVar("replica")
"""The replica that a task belongs to."""


class _Stop:
    """Hangs at the n-th point. A point is before or after a call of the store, or before a call of a provider."""

    def __init__(self, at: int) -> None:
        self._left = at
        self.reached = asyncio.Event()
        self.points = 0

    async def point(self) -> None:
        self.points += 1
        if self.points == self._left:
            self.reached.set()
            await asyncio.Event().wait()

    def on_call(self, name: str, _done: bool) -> Awaitable[None] | None:
        return None if name == "claim_moves" else self.point()


async def _scene() -> Scene:
    scene = Scene(when="now", concurrency=2)
    running, idle = scene.old.put("running", State.RUNNING), scene.old.put("idle")
    scene.old.world.configs[running.provider_id] = {"version": "v2", "n": 1}
    scene.old.world.configs[idle.provider_id] = {"version": "v2", "n": 2}
    await scene.planned(running, idle)
    await scene.store.change_move(MOVE_ID, {MoveState.PLANNED}, state=MoveState.APPLYING)
    return scene


async def _killed_at(at: int) -> bool:
    """Kill the first mover at a point. Whether it got there."""
    scene, stop = await _scene(), _Stop(at)
    for adapter in scene.adapters:
        adapter.world.before = dict.fromkeys(_METHODS, stop.point)
    first, second = scene.replica(stop.on_call), scene.replica()
    first.run()
    reaching = asyncio.create_task(stop.reached.wait())
    done = asyncio.create_task(scene.reaches(MoveState.DONE))
    await asyncio.wait([reaching, done], return_when=asyncio.FIRST_COMPLETED)
    await first.kill()
    for adapter in scene.adapters:
        adapter.world.before = {}
    reaching.cancel()
    second.run()
    if not done.done():
        await asyncio.wait_for(done, 300)
    await second.kill()
    await _check(scene)
    return stop.reached.is_set()


async def _check(scene: Scene) -> None:
    made = {runtime.name: runtime for runtime in scene.new.world.runtimes.values()}
    assert len(scene.new.world.runtimes) == 2
    assert {name: runtime.state for name, runtime in made.items()} == {"running": State.RUNNING, "idle": State.IDLE}
    for item in await scene.items():
        assert item.state is ItemState.MOVED, item
        assert item.name is not None
        assert item.target_id == made[item.name].provider_id
        ours, theirs = (scene.old.world.configs[item.provider_id], scene.new.world.configs[item.target_id])
        assert ours == theirs
    rows = (await scene.store.relocations(0)).rows
    assert sorted(row.name or "" for row in rows) == ["idle", "running"]
    assert {runtime.state for runtime in scene.old.world.runtimes.values()} == {State.PAUSED, State.IDLE}


@pytest.mark.parametrize("offset", range(4))
def test_a_kill_at_any_point_moves_every_runtime_once(offset: int) -> None:
    @simulated
    async def run() -> None:
        at = offset + 1
        while await _killed_at(at):
            at += 4
        assert at > 40

    run()


@simulated
async def test_a_writer_that_was_admitted_before_the_hold_is_not_lost() -> None:
    """A client changes the config until the runtime has gone: its last change that was accepted is at the target."""
    scene = Scene()
    runtime = scene.old.put("agent")
    await scene.planned(runtime)
    accepted = 0

    async def write() -> None:
        nonlocal accepted
        for number in range(1, 400):
            if await scene.store.enter_write("old", [runtime.provider_id], f"w{number}", 5):
                await asyncio.sleep(0.1)
                scene.old.world.configs[runtime.provider_id] = {"version": "v2", "n": number}
                accepted = number
                await scene.store.leave_write("old", [runtime.provider_id], f"w{number}")
            await asyncio.sleep(0.05)

    writing = asyncio.create_task(write())
    await scene.applied()
    await writing
    item, _ = await scene.item()
    assert accepted > 10
    assert scene.new.world.configs[str(item.target_id)]["n"] == accepted
    await scene.end()


@pytest.mark.parametrize("offset", range(3))
def test_a_mover_that_is_cut_off_and_comes_back_does_nothing_twice(offset: int) -> None:
    """It hangs at a point, like a process that is suspended, until another replica has taken over."""

    @simulated
    async def run() -> None:
        at = offset + 1
        while await _suspended_at(at):
            at += 3
        assert at > 40

    run()


async def _suspended_at(at: int) -> bool:
    """Suspend the first mover at a point until the second has worked for a while. Whether it got there."""
    scene, suspended, resumed = await _scene(), asyncio.Event(), asyncio.Event()
    points = 0

    async def point() -> None:
        nonlocal points
        points += 1
        if points == at:
            suspended.set()
        if suspended.is_set():
            await resumed.wait()

    async def method() -> None:
        if _REPLICA.get() == "first":
            await point()

    for adapter in scene.adapters:
        adapter.world.before = dict.fromkeys(_METHODS, method)
    first, second = scene.replica(lambda _name, _done: point()), scene.replica()
    _REPLICA.set("first")
    first.run()
    _REPLICA.set("second")
    done = asyncio.create_task(scene.reaches(MoveState.DONE))
    reaching = asyncio.create_task(suspended.wait())
    await asyncio.wait([reaching, done], return_when=asyncio.FIRST_COMPLETED)
    second.run()
    await asyncio.sleep(20 + at % 10)  # leases and holds have ended, and the second one is in the middle of it
    resumed.set()
    await asyncio.wait_for(done, 600)
    await asyncio.sleep(30)
    reaching.cancel()
    for replica in (first, second):
        await replica.kill()
    await _check(scene)
    return suspended.is_set()
