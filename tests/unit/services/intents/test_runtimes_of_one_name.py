"""Whose runtime it is, where one name has had several: by creates of other keys, one after another."""

from collections.abc import Sequence

import pytest

from gateway.domain import errors
from gateway.domain.errors import AlreadyExists, InsufficientCredits
from gateway.domain.intents import IntentState
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.transport import Call
from tests.unit.services.intents.scene import Durable, Plain, Scene, W, asked, live, said

NO_CREDITS = said(402, InsufficientCredits)


class Lagging(Plain):
    """Its lists do not show anything yet; a read by id does."""

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        await super().find(scope, name, call)
        return []


async def test_a_create_that_a_fresh_namesake_refused_does_not_hide_that_namesake() -> None:
    adapter = Lagging()
    scene = Scene(adapter)
    first = await scene.create()
    with pytest.raises(AlreadyExists):
        await scene.create(if_exists="fail", key="k")
    again = await scene.create(key="l")
    assert (again.created.created, again.created.runtime.id) == (False, first.created.runtime.id)
    assert asked(adapter) == 1


async def test_runtimes_that_were_made_and_stopped_under_one_name_are_nobodys_surplus() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    for _ in range(4):
        made = await scene.create()
        assert made.created.created
        adapter.move(made.created.runtime.provider_id, State.STOPPED)
        scene.clock.time += 10
    await scene.settle(after=W)
    await scene.settle(after=W)
    assert [intent.surplus for intent in scene.rows.intents.values()] == [()] * 4
    assert not [told for told in scene.heard.told if told[0] == "surplus"]


async def test_what_another_create_of_the_name_is_about_to_make_is_not_taken_for_an_earlier_ones() -> None:
    """While another one may be sending, nobody can tell whose a new runtime is; later everybody can."""
    adapter = Plain()
    scene = Scene(adapter)
    adapter.world.fail("create", NO_CREDITS)
    with pytest.raises(InsufficientCredits):
        await scene.create(key="k")
    scene.clock.time += W

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
        await scene.settle(after=2 * W)
    assert scene.states == [IntentState.ABSENT, IntentState.DONE]


@pytest.mark.parametrize("api", [Durable, Plain])
async def test_a_create_whose_name_was_taken_over_hears_of_the_other_ones_runtime_as_of_any_other(
    api: type[Durable | Plain],
) -> None:
    adapter = api()
    scene = Scene(adapter)
    adapter.world.fail("create", NO_CREDITS)
    with pytest.raises(InsufficientCredits):
        await scene.create(key="k")
    scene.clock.time += W
    theirs = await scene.create(key="l", principal="bob")
    ours = await scene.create(key="k")
    assert (ours.created.created, ours.created.runtime.id) == (False, theirs.created.runtime.id)
    assert not ours.created.runtime.adopted
    assert len(live(adapter)) == 1


async def test_a_create_that_insists_on_its_own_runtime_is_refused_where_another_one_took_its_name_over() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    adapter.world.fail("create", NO_CREDITS)
    with pytest.raises(InsufficientCredits):
        await scene.create(key="k", if_exists="fail")
    await scene.create(key="l", principal="bob")
    with pytest.raises(errors.AlreadyExists):
        await scene.create(key="k", if_exists="fail")
