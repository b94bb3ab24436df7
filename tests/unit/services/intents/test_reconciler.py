"""The reconciler: its loop, the number of intents that it settles at once, and the deletion of settled ones."""

import asyncio

import pytest

from gateway.domain.errors import OutcomeUnknown
from gateway.domain.intents import IntentState
from gateway.domain.values import State
from gateway.services.intents import Reconciler
from gateway.services.intents.context import SURPLUS_KEPT
from gateway.settings import CreatesSettings
from tests.unit.services.intents.creates import lost_create
from tests.unit.services.intents.scene import LOST, WAIT_OUT, Durable, Plain, Scene, call_count, live


async def test_each_due_intent_is_settled_by_only_one_of_two_replicas() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    adapter.world.fail("create", *[LOST] * 6)
    for number in range(6):
        with pytest.raises(OutcomeUnknown):
            await scene.create(f"box{number}")
    scene.clock.time += 2.0
    other = Reconciler(scene.context)
    await scene.reconciler.settle_due()
    await other.settle_due()
    assert set(scene.states) == {IntentState.DONE}
    assert call_count(adapter) == 12
    assert len(live(adapter)) == 6


async def test_number_of_concurrently_settled_intents_is_limited() -> None:
    adapter = Durable()
    scene = Scene(adapter, rules=CreatesSettings(settling_in_flight=2))
    adapter.world.fail("create", *[LOST] * 3)
    for number in range(3):
        with pytest.raises(OutcomeUnknown):
            await scene.create(f"box{number}")
    most = 0

    async def count() -> None:
        nonlocal most
        most = max(most, scene.reconciler.in_flight)

    adapter.world.before["create"] = count
    await scene.settle(after=2.0)
    assert (most, sorted(scene.states)) == (2, ["done", "done", "unknown"])
    assert scene.reconciler.in_flight == 0


class Enough(Exception):
    """Ends the reconciler's loop."""


async def pauses_of(scene: Scene, times: int) -> list[float]:
    """Run the reconciler's loop for this many pauses. Return their lengths in seconds."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        scene.clock.time += seconds
        for _ in range(20):  # the tasks that it started run meanwhile
            await asyncio.sleep(0)
        if len(pauses) == times:
            raise Enough

    scene.clock.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(Enough):
        await scene.reconciler.run()
    return pauses


async def test_failed_store_is_called_at_growing_intervals_for_days_and_used_again_when_it_works() -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=True)
    scene.store_fails("is_any_due")
    pauses = await pauses_of(scene, 3_000)
    assert pauses[:7] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert set(pauses[7:]) == {60.0}
    scene.on_store = None
    assert await pauses_of(scene, 2) == [1.0, 1.0]
    assert call_count(adapter, "find") == 1


async def test_settled_intents_are_deleted_after_their_retention_and_those_with_a_surplus_later() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    await scene.create("one")
    await scene.create("two")
    adapter.put("two", State.RUNNING)
    adapter.world.fail("create", LOST)
    with pytest.raises(OutcomeUnknown):
        await scene.create("three")
    scene.clock.time += WAIT_OUT
    await pauses_of(scene, 2)
    assert len(scene.states) == 3
    scene.clock.time += CreatesSettings().retention
    await pauses_of(scene, 2)
    assert [(intent.name, bool(intent.surplus)) for intent in scene.rows.intents.values()] == [
        ("two", True),
        ("three", False),
    ]
    scene.clock.time += SURPLUS_KEPT
    await pauses_of(scene, 2)
    assert "two" not in {intent.name for intent in scene.rows.intents.values()}
