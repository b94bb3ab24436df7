"""Which create a runtime belongs to when several creates with different keys have used one name, one after another."""

from collections.abc import Sequence

import pytest

from gateway.domain import errors
from gateway.domain.errors import AlreadyExists, InsufficientCredits
from gateway.domain.intents import IntentState
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.transport import Call
from tests.unit.services.intents.scene import WAIT_OUT, Durable, Plain, Scene, call_count, error_response, live

NO_CREDITS = error_response(402, InsufficientCredits)


class Lagging(Plain):
    """Its lists show nothing; a read by id does."""

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        await super().find(scope, name, call)
        return []


async def test_new_runtime_that_refused_one_create_is_returned_to_the_next() -> None:
    adapter = Lagging()
    scene = Scene(adapter)
    first = await scene.create()
    with pytest.raises(AlreadyExists):
        await scene.create(if_exists="fail", key="k")
    again = await scene.create(key="l")
    assert (again.created.created, again.created.runtime.id) == (False, first.created.runtime.id)
    assert call_count(adapter) == 1


async def test_stopped_runtimes_of_one_name_are_not_recorded_as_surplus() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    for _ in range(4):
        made = await scene.create()
        assert made.created.created
        adapter.move(made.created.runtime.provider_id, State.STOPPED)
        scene.clock.time += 10
    await scene.settle(after=WAIT_OUT)
    await scene.settle(after=WAIT_OUT)
    assert [intent.surplus for intent in scene.rows.intents.values()] == [()] * 4
    assert not [event for event in scene.observer.events if event[0] == "surplus"]


async def test_runtime_of_a_later_create_of_the_name_is_not_attributed_to_an_earlier_one() -> None:
    """While the later create may be sending, a new runtime cannot be attributed to either; afterwards it can."""
    adapter = Plain()
    scene = Scene(adapter)
    adapter.world.fail("create", NO_CREDITS)
    with pytest.raises(InsufficientCredits):
        await scene.create(key="k")
    scene.clock.time += WAIT_OUT

    async def settle_before_it_is_written(call: str, done: bool) -> None:
        if call == "record_created" and not done:
            scene.on_store = None
            await scene.reconciler.settle_due()

    scene.on_store = settle_before_it_is_written
    made = await scene.create(key="l")
    earlier, later = scene.rows.intents.values()
    assert (earlier.state, later.state) == (IntentState.ABSENT, IntentState.DONE)
    assert later.runtime_id == made.created.runtime.provider_id
    for _ in range(4):
        await scene.settle(after=2 * WAIT_OUT)
    assert scene.states == [IntentState.ABSENT, IntentState.DONE]


@pytest.mark.parametrize("api", [Durable, Plain])
async def test_create_whose_name_was_taken_over_returns_the_other_creates_runtime_as_existing(
    api: type[Durable | Plain],
) -> None:
    adapter = api()
    scene = Scene(adapter)
    adapter.world.fail("create", NO_CREDITS)
    with pytest.raises(InsufficientCredits):
        await scene.create(key="k")
    scene.clock.time += WAIT_OUT
    theirs = await scene.create(key="l", principal="bob")
    ours = await scene.create(key="k")
    assert (ours.created.created, ours.created.runtime.id) == (False, theirs.created.runtime.id)
    assert not ours.created.runtime.adopted
    assert len(live(adapter)) == 1


async def test_create_with_if_exists_fail_is_refused_after_its_name_was_taken_over() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    adapter.world.fail("create", NO_CREDITS)
    with pytest.raises(InsufficientCredits):
        await scene.create(key="k", if_exists="fail")
    await scene.create(key="l", principal="bob")
    with pytest.raises(errors.AlreadyExists):
        await scene.create(key="k", if_exists="fail")
