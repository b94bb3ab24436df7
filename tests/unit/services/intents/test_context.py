"""The error that a caller receives for a create whose outcome is unknown."""

import pytest

from gateway.domain.errors import OutcomeUnknown, Retryable
from gateway.domain.intents import Actor, IntentState
from gateway.ports.store import Version
from tests.unit.services.intents.scene import LOST, Durable, Scene


async def test_unknown_outcome_is_retryable_until_the_create_is_parked() -> None:
    adapter = Durable()
    adapter.world.fail("create", LOST)
    scene = Scene(adapter)
    with pytest.raises(OutcomeUnknown) as unknown:
        await scene.create(key="k")
    assert (unknown.value.retryable, unknown.value.retry_after) == (Retryable.SAME_REQUEST, 2.0)
    assert unknown.value.extra == {"intent": scene.intent.id, "name": "box", "idempotency_key": "k"}

    scene.clock.time += 60.0
    await scene.store.claim_due("settler", 10.0, 1)
    await scene.store.move(Version.of(scene.intent), IntentState.PARKED, Actor.RECONCILER, "settler")
    with pytest.raises(OutcomeUnknown) as parked:
        await scene.create(key="k")
    assert (parked.value.retryable, parked.value.retry_after) == (Retryable.NO, None)
