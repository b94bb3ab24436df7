"""What is concluded from the end of a send, and recorded."""

import pytest

from gateway.domain import errors
from gateway.domain.errors import GatewayError, OutcomeUnknown, Retryable
from gateway.domain.intents import IntentState
from gateway.domain.values import State
from tests.unit.services.intents.creates import ALL, AdapterType, create_raises, lost_create
from tests.unit.services.intents.scene import (
    LOST,
    REFUSED,
    WAIT_OUT,
    Durable,
    Failure,
    Keyed,
    Plain,
    Scene,
    call_count,
    error_response,
    live,
)


@pytest.mark.parametrize("adapter_of", ALL)
async def test_made_runtime_is_done_and_its_response_is_stored(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    response = (await scene.create(key="k")).created
    intent = scene.intent
    assert (intent.state, intent.runtime_id) == (IntentState.DONE, response.runtime.provider_id)
    assert scene.context.payloads.outcome(intent) == response
    assert scene.observer.events == [("settled", IntentState.DONE, False)]


@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize(
    "failure",
    [
        REFUSED,
        error_response(400, errors.InvalidRequest),
        error_response(401, errors.ProviderCredentialsRejected),
        error_response(403, errors.PermissionDenied),
        error_response(404, errors.NotFound),
        errors.ValidationFailed("before sending"),
    ],
)
async def test_refusal_that_proves_that_nothing_was_made_is_returned_unchanged(
    adapter_of: AdapterType, failure: Failure
) -> None:
    adapter = adapter_of()
    adapter.world.fail("create", failure)
    scene = Scene(adapter)
    expected = type(failure) if isinstance(failure, GatewayError) else errors.ProviderUnavailable
    await create_raises(scene, expected)
    assert (scene.intent.state, scene.intent.due_at) == (IntentState.REFUSED, None)
    assert call_count(adapter) == 1


INCONCLUSIVE: list[Failure] = [
    LOST,
    error_response(500, OutcomeUnknown),
    error_response(408, OutcomeUnknown),
    error_response(503, errors.ProviderUnavailable),
    error_response(307, errors.ProviderBadResponse),
    error_response(403, errors.PermissionDenied, own=False),
    error_response(429, errors.RateLimited, own=False),
    error_response(201, OutcomeUnknown),
]


@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize("failure", INCONCLUSIVE)
async def test_inconclusive_failure_is_unknown_and_returned_with_all_that_a_retry_needs(
    adapter_of: AdapterType, failure: Failure
) -> None:
    adapter = adapter_of()
    adapter.lost.append(failure)
    scene = Scene(adapter)
    error = await create_raises(scene, OutcomeUnknown)
    assert error.extra == {"intent": scene.intent.id, "name": "box", "idempotency_key": "k"}
    assert (error.retryable, error.provider) == (Retryable.SAME_REQUEST, "one")
    assert scene.intent.state is IntentState.UNKNOWN
    assert scene.intent.due_at is not None
    assert scene.observer.events == [("unknown", IntentState.UNKNOWN)]


@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize(
    "failure", [error_response(402, errors.InsufficientCredits), error_response(429, errors.RateLimited)]
)
async def test_temporary_refusal_is_returned_unchanged_and_makes_the_create_absent(
    adapter_of: AdapterType, failure: GatewayError
) -> None:
    adapter = adapter_of()
    adapter.world.fail("create", failure)
    scene = Scene(adapter)
    assert await create_raises(scene, type(failure)) is failure
    assert scene.intent.state is IntentState.ABSENT
    look_ups = 0 if adapter_of is Durable else 2
    assert call_count(adapter, "find") == look_ups, "one before and one after, unless a create by name is idempotent"
    made = await scene.create(key="k")
    assert (made.created.created, made.replayed, len(live(adapter))) == (True, False, 1)
    assert len({wire.body for wire in adapter.sent}) == 1, "byte for byte"
    assert len(set(adapter.world.keys)) == 1


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_runtime_made_despite_a_temporary_refusal_is_found_by_look_up(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    adapter.lost.append(error_response(429, errors.RateLimited))
    scene = Scene(adapter)
    made = (await scene.create(key="k")).created
    assert made.created
    assert [made.runtime.provider_id] == live(adapter)
    assert (made.runtime.adopted is True) == (adapter_of is Plain)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, made.runtime.provider_id)


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_temporary_refusal_without_a_look_up_afterwards_is_unknown(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    adapter.lost.append(error_response(429, errors.RateLimited))
    adapter.world.fail("find", None, error_response(503, errors.ProviderUnavailable))
    scene = Scene(adapter)
    await create_raises(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN


async def test_two_matching_runtimes_leave_the_create_unknown() -> None:
    adapter = Plain()

    async def twice() -> None:
        adapter.put("box", State.RUNNING)

    adapter.world.before["create"] = twice
    adapter.lost.append(error_response(429, errors.RateLimited))
    scene = Scene(adapter)
    await create_raises(scene, OutcomeUnknown)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.UNKNOWN, "several")


async def test_two_runtimes_with_the_same_marker_are_one_runtime_and_a_surplus() -> None:
    adapter = Keyed()
    adapter.lost.append(error_response(429, errors.RateLimited))
    scene = Scene(adapter)

    async def committed_twice() -> None:
        second = adapter.put("box", State.RUNNING)
        adapter.markers[second.provider_id] = scene.intent.id

    adapter.world.before["create"] = committed_twice
    made = (await scene.create(key="k")).created
    (surplus,) = set(live(adapter)) - {made.runtime.provider_id}
    assert scene.intent.surplus == (surplus,)
    assert ("surplus", surplus) in scene.observer.events


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_existing_runtime_of_the_name_is_returned_and_nothing_is_sent(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    existing = adapter.put("box", State.RUNNING)
    scene = Scene(adapter)
    response = await scene.create(key="k")
    assert (response.created.created, response.created.runtime.id, call_count(adapter)) == (False, existing.id, 0)
    with pytest.raises(errors.AlreadyExists):
        await scene.create(key="other", if_exists="fail")
    assert scene.states == [IntentState.DONE, IntentState.REFUSED]


async def test_create_refused_after_absent_is_still_settled_by_late_evidence() -> None:
    """Absent is a presumption and may be wrong."""
    adapter = Keyed()
    adapter.world.fail("create", error_response(429, errors.RateLimited))
    scene = Scene(adapter)
    await create_raises(scene, errors.RateLimited, if_exists="fail")
    adapter.put("box", State.RUNNING)
    await create_raises(scene, errors.AlreadyExists, if_exists="fail")
    assert scene.intent.state is IntentState.REFUSED
    late = adapter.put("box", State.RUNNING)
    adapter.markers[late.provider_id] = scene.intent.id
    await scene.settle(after=WAIT_OUT)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, late.provider_id)


@pytest.mark.parametrize("failure", [REFUSED, error_response(400, errors.InvalidRequest)])
async def test_refusal_after_absent_leaves_the_create_absent(failure: Failure) -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    while scene.intent.state is IntentState.UNKNOWN:
        await scene.settle(after=WAIT_OUT)
    assert scene.intent.state is IntentState.ABSENT
    adapter.world.fail("create", failure)
    expected = type(failure) if isinstance(failure, GatewayError) else errors.ProviderUnavailable
    await create_raises(scene, expected)
    assert scene.intent.state is IntentState.ABSENT
    assert (await scene.create(key="k")).created.created


async def test_nothing_is_sent_without_a_prior_look_up_where_nothing_is_deduplicated() -> None:
    adapter = Plain()
    adapter.world.fail("find", error_response(503, errors.ProviderUnavailable))
    scene = Scene(adapter)
    await create_raises(scene, errors.ProviderUnavailable)
    assert (call_count(adapter), scene.intent.state) == (0, IntentState.REFUSED)


async def test_result_of_the_prior_look_up_is_stored_before_the_send() -> None:
    adapter = Plain()
    stopped = adapter.put("box", State.STOPPED)
    scene = Scene(adapter)
    before = []

    async def note() -> None:
        before.append(scene.intent.before)

    adapter.world.before["create"] = note
    await scene.create(key="k")
    assert [seen.found for seen in before if seen] == [(stopped.provider_id,)]


async def test_generated_name_is_not_looked_up() -> None:
    adapter = Plain()
    await Scene(adapter).create(name=None)
    assert adapter.world.asked == ["create"]


async def test_start_is_sent_only_after_the_runtime_is_stored() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    states = []

    async def note() -> None:
        states.append((scene.intent.state, scene.intent.outcome))

    adapter.world.before["start"] = note
    response = await scene.create(key="k", start=True)
    assert states == [(IntentState.DONE, None)]
    assert scene.context.payloads.outcome(scene.intent) == response.created
    assert response.created.runtime.state is State.RUNNING


@pytest.mark.parametrize(("adapter_of", "looks_again"), [(Durable, False), (Plain, True), (Keyed, False)])
async def test_create_that_may_have_been_duplicated_in_transit_is_looked_up_once_more(
    adapter_of: AdapterType, looks_again: bool
) -> None:
    scene = Scene(adapter_of())
    await scene.create(key="k")
    assert scene.intent.due_at == (scene.clock.time + WAIT_OUT if looks_again else None)
    assert (scene.intent.request is not None) == looks_again, "a found runtime is compared with the request"
