"""Responses whose runtime has another name than was sent. See docs/fault-cases.md#fault-0."""

from collections.abc import Sequence

import pytest

from gateway.domain import errors
from gateway.domain.errors import OutcomeUnknown, Retryable
from gateway.domain.intents import IntentState
from gateway.domain.runtime import Runtime
from gateway.ports.transport import Call
from tests.unit.services.intents.creates import ALL, AdapterType, create_raises
from tests.unit.services.intents.scene import Durable, Plain, Scene, call_count, error_response, live


@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize("created", [True, False])
async def test_response_with_another_name_is_settled_by_looking_up_the_sent_name(
    adapter_of: AdapterType, created: bool
) -> None:
    adapter = adapter_of()
    other = adapter.put("theirs", provider_id="theirs-1")
    adapter.other_responses.append(other)
    adapter.reports_created = created
    scene = Scene(adapter)
    response = (await scene.create(key="k")).created
    assert (response.runtime.name, response.created) == ("box", True)
    assert response.runtime.provider_id != other.provider_id
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, response.runtime.provider_id)
    assert call_count(adapter) == 1
    assert scene.observer.events == [("misanswered", "theirs-1"), ("settled", IntentState.DONE, False)]


@pytest.mark.parametrize("adapter_of", ALL)
async def test_response_with_another_name_is_unknown_until_the_sent_name_is_found(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    adapter.other_responses.append(adapter.put("theirs", provider_id="theirs-1"))
    scene = Scene(adapter)
    adapter.finds_nothing = True
    error = await create_raises(scene, OutcomeUnknown)
    assert (error.retryable, error.provider) == (Retryable.SAME_REQUEST, "one")
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.UNKNOWN, None)
    assert [attempt.made for attempt in scene.intent.attempts] == [None]
    adapter.finds_nothing = False
    made = (await scene.create(key="k")).created
    assert (made.runtime.name, made.created) == ("box", True)
    assert len([row for row in live(adapter) if row != "theirs-1"]) == 1


@pytest.mark.parametrize("adapter_of", ALL)
async def test_response_with_another_name_is_unknown_when_the_look_up_fails(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    adapter.other_responses.append(adapter.put("theirs", provider_id="theirs-1"))
    scene = Scene(adapter)
    prior_look_ups = [] if adapter_of is Durable else [None]
    adapter.world.failures["find"] = [*prior_look_ups, error_response(503, errors.ProviderUnavailable)]
    await create_raises(scene, OutcomeUnknown)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.UNKNOWN, None)


async def test_response_with_another_name_does_not_make_an_older_runtime_the_own_one() -> None:
    class Dated(Durable):
        async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
            call.provider_date = "Sat, 03 Jan 2026 10:00:00 GMT"
            return await super().find(scope, name, call)

    adapter = Dated()
    before = adapter.put("box", provider_id="box-0", created_at="2020-01-01T00:00:00Z")
    adapter.other_responses.append(adapter.put("theirs", provider_id="theirs-1"))
    scene = Scene(adapter)
    response = (await scene.create(key="k")).created
    assert (response.runtime.provider_id, response.created) == (before.provider_id, False)


async def test_response_without_a_name_proves_nothing() -> None:
    adapter = Plain()
    adapter.other_responses.append(adapter.put(None, provider_id="nameless"))  # type: ignore[arg-type]
    scene = Scene(adapter)
    assert (await scene.create(key="k")).created.runtime.provider_id != "nameless"
