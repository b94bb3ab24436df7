"""The sealed request of a create that made a runtime is kept with the specs, for moves whose source is unreachable."""

import pytest

from gateway.domain.errors import OutcomeUnknown
from gateway.domain.intents import IntentState
from gateway.services.specs import SpecKeeper
from tests.unit.services.intents.scene import LOST, WAIT_OUT, Durable, Keyed, Plain, Scene


def keeping(scene: Scene) -> Scene:
    """The gateway with ``store.keep_specs``."""
    scene.restart(specs=SpecKeeper(scene.store, scene.sealer, scene.clock))
    return scene


@pytest.mark.parametrize("adapter", [Durable, Keyed])
async def test_the_request_of_a_create_that_made_the_runtime_is_kept(adapter: type[Durable] | type[Keyed]) -> None:
    scene = keeping(Scene(adapter()))
    await scene.create("box", provider="one")
    sent = scene.context.payloads.request(scene.intent)
    assert sent is not None
    request = sent.request()
    assert request is not None
    assert (request.name, request.provider) == ("box", "one")
    (kept,) = await scene.store.kept_creates("one")
    assert (kept.intent_id, kept.runtime_id) == (scene.intent.id, scene.intent.runtime_id)


async def test_the_request_is_not_kept_without_specs() -> None:
    scene = Scene(Durable())
    await scene.create("box")
    assert scene.intent.request is None


async def test_the_request_of_a_create_that_found_the_runtime_is_not_kept() -> None:
    scene = keeping(Scene(Durable()))
    first = await scene.create("box", labels={"team": "shop"})
    found = await scene.create("box")
    assert found.created.runtime.provider_id == first.created.runtime.provider_id
    (kept,) = await scene.store.kept_creates("one")
    (made,) = [intent for intent in scene.rows.intents.values() if intent.request is not None]
    assert kept.intent_id == made.id


async def test_the_request_is_kept_after_the_look_for_duplicates() -> None:
    scene = keeping(Scene(Plain()))
    await scene.create("box")
    await scene.settle(WAIT_OUT)
    assert (scene.intent.due_at, scene.intent.state) == (None, IntentState.DONE)
    assert len(await scene.store.kept_creates("one")) == 1


async def test_the_request_is_kept_if_the_runtime_was_found_after_a_lost_response() -> None:
    adapter = Durable()
    adapter.lost = [LOST]
    scene = keeping(Scene(adapter))
    with pytest.raises(OutcomeUnknown):
        await scene.create("box", key="k")
    made = await scene.create("box", key="k")
    assert [kept.runtime_id for kept in await scene.store.kept_creates("one")] == [made.created.runtime.provider_id]
