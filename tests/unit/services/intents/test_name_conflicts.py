"""What a caller receives when its name is used by another caller's create whose outcome is unknown."""

from typing import Any

import pytest

from gateway.domain.errors import AlreadyExists, NotFound, OutcomeUnknown, ProviderError, ProviderFailure
from gateway.domain.intents import IntentState
from gateway.domain.values import State
from gateway.ports.provider import WireCreate
from gateway.services.intents.payloads import SentCreate
from tests.unit.services.intents.scene import LOST, Durable, Keyed, Plain, Scene, call_count, error_response

LONG_AGO = "1970-01-01T00:00:00Z"
PASSWORD = "hunter2-4711"


class Proxied(Keyed):
    """Browsers with a proxy."""

    create_features = Keyed.create_features | {"proxy_http"}


async def _lost_create(adapter: Durable | Keyed | Plain, **fields: Any) -> Scene:
    """A create by bob whose response was lost."""
    adapter.world.fail("create", LOST)
    scene = Scene(adapter)
    with pytest.raises(OutcomeUnknown):
        await scene.create(key="k", principal="bob", **fields)
    return scene


async def test_differences_to_another_callers_request_are_not_reported() -> None:
    adapter = Durable()
    adapter.put("box", display_name="Theirs", created_at=LONG_AGO)
    scene = await _lost_create(adapter, display_name="Bob's")
    with pytest.raises(OutcomeUnknown) as caught:
        await scene.create()
    assert (caught.value.errors, caught.value.extra["name"]) == ((), "box")
    assert scene.states == [IntentState.UNKNOWN]
    assert call_count(adapter) == 2  # bob's create, and its replay


async def test_runtime_that_refuses_the_other_callers_create_may_match_the_own_one() -> None:
    adapter = Durable()
    existing = adapter.put("box", display_name="Theirs", created_at=LONG_AGO)
    scene = await _lost_create(adapter, display_name="Bob's")
    adapter.world.fail("create", error_response(409, AlreadyExists))
    made = await scene.create()
    assert (made.created.created, made.created.runtime.id) == (False, existing.id)
    assert scene.states == [IntentState.REFUSED, IntentState.DONE]


async def test_secret_of_another_caller_that_the_provider_echoes_is_not_returned() -> None:
    adapter = Proxied()
    launch = {
        "mode": "ephemeral",
        "proxy": {"type": "http", "host": "p.test", "port": 1, "username": "u", "password": PASSWORD},
    }
    scene = await _lost_create(adapter, launch=launch)
    failure = ProviderFailure("one", status=500, detail=f"no such password {PASSWORD}", own_envelope=True)
    adapter.world.fail("create", ProviderError("said", failure=failure))
    with pytest.raises(OutcomeUnknown) as caught:
        await scene.create()
    assert caught.value.failure is not None
    assert PASSWORD not in repr(caught.value.failure)


def test_repr_of_a_sent_create_contains_no_content() -> None:
    sent = SentCreate.of(WireCreate(PASSWORD.encode()), {"kind": "browser", "env": PASSWORD}, judged=True)
    assert PASSWORD not in repr(sent)


async def test_second_runtime_that_only_a_waiting_caller_finds_is_recorded_as_surplus() -> None:
    """The proof of the first one is stored while the caller looks up the name."""
    adapter = Plain()
    scene = await _lost_create(adapter)
    second = adapter.put("box", State.RUNNING)

    async def prove_the_first(call: str, done: bool) -> None:
        if call == "record_created" and not done:
            scene.on_store = None
            await scene.store.record_created(scene.intent.id, "first")

    scene.on_store = prove_the_first
    with pytest.raises(NotFound):
        await scene.create(key="k", principal="bob")
    assert scene.intent.surplus == (second.provider_id,)
    assert ("surplus", second.provider_id) in scene.observer.events
