"""What a caller hears whose name another caller's create has, of which nothing is known yet."""

from typing import Any

import pytest

from gateway.domain.errors import AlreadyExists, NotFound, OutcomeUnknown, ProviderError, ProviderFailure
from gateway.domain.intents import IntentState
from gateway.domain.values import State
from gateway.ports.provider import WireCreate
from gateway.services.intents.payloads import SentCreate
from tests.unit.services.intents.scene import LOST, Durable, Keyed, Plain, Scene, asked, said

LONG_AGO = "1970-01-01T00:00:00Z"
PASSWORD = "hunter2-4711"


class Proxied(Keyed):
    """Browsers may have a proxy."""

    create_features = Keyed.create_features | {"proxy_http"}


async def _lost(adapter: Durable | Keyed | Plain, **fields: Any) -> Scene:
    """A create of bob's whose answer was lost."""
    adapter.world.fail("create", LOST)
    scene = Scene(adapter)
    with pytest.raises(OutcomeUnknown):
        await scene.create(key="k", principal="bob", **fields)
    return scene


async def test_a_namesake_that_differs_from_the_other_ones_request_is_not_told_of_ones_own() -> None:
    adapter = Durable()
    adapter.put("box", display_name="Theirs", created_at=LONG_AGO)
    scene = await _lost(adapter, display_name="Bob's")
    with pytest.raises(OutcomeUnknown) as caught:
        await scene.create()
    assert (caught.value.errors, caught.value.extra["name"]) == ((), "box")
    assert scene.states == [IntentState.UNKNOWN]
    assert asked(adapter) == 2  # bob's, and the same once more


async def test_when_the_other_one_is_refused_because_of_a_namesake_that_may_still_fit_ones_own() -> None:
    adapter = Durable()
    there = adapter.put("box", display_name="Theirs", created_at=LONG_AGO)
    scene = await _lost(adapter, display_name="Bob's")
    adapter.world.fail("create", said(409, AlreadyExists))
    made = await scene.create()
    assert (made.created.created, made.created.runtime.id) == (False, there.id)
    assert scene.states == [IntentState.REFUSED, IntentState.DONE]


async def test_what_a_provider_echoes_of_the_other_ones_secrets_is_told_to_nobody() -> None:
    adapter = Proxied()
    launch = {
        "mode": "ephemeral",
        "proxy": {"type": "http", "host": "p.test", "port": 1, "username": "u", "password": PASSWORD},
    }
    scene = await _lost(adapter, launch=launch)
    failure = ProviderFailure("one", status=500, detail=f"no such password {PASSWORD}", own_envelope=True)
    adapter.world.fail("create", ProviderError("said", failure=failure))
    with pytest.raises(OutcomeUnknown) as caught:
        await scene.create()
    assert caught.value.failure is not None
    assert PASSWORD not in repr(caught.value.failure)


def test_what_was_sent_shows_nothing_of_itself() -> None:
    sent = SentCreate.of(WireCreate(PASSWORD.encode()), {"kind": "browser", "env": PASSWORD}, judged=True)
    assert PASSWORD not in repr(sent)


async def test_a_second_runtime_that_only_a_waiting_caller_sees_is_told() -> None:
    """The proof of the first one came while the caller looked."""
    adapter = Plain()
    scene = await _lost(adapter)
    second = adapter.put("box", State.RUNNING)

    async def prove_the_first(call: str, done: bool) -> None:
        if call == "record_created" and not done:
            scene.on_store = None
            await scene.store.record_created(scene.intent.id, "first")

    scene.on_store = prove_the_first
    with pytest.raises(NotFound):
        await scene.create(key="k", principal="bob")
    assert scene.intent.surplus == (second.provider_id,)
    assert ("surplus", second.provider_id) in scene.heard.told
