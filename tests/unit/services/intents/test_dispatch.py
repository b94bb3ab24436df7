"""Which provider a create is sent to. Another one is tried only on proof that nothing was made."""

import msgspec
import pytest

from gateway.domain import errors
from gateway.domain.errors import GatewayError, OutcomeUnknown
from gateway.domain.intents import IntentState, namespace_of
from gateway.domain.runtime import CreateAttempt
from gateway.ports.provider import Created
from gateway.ports.transport import Phase, TransportFailure
from gateway.services.idempotency_keys import create_key
from tests.unit.services.fakes import FakeAdapter
from tests.unit.services.intents.creates import AdapterType, create_counts, create_raises, two_providers
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

UNAVAILABLE = "provider_unavailable"
PROOF: list[tuple[Failure, str]] = [
    (REFUSED, UNAVAILABLE),
    (TransportFailure("dns", Phase.CONNECTING), UNAVAILABLE),
    (TransportFailure("timeout", Phase.CONNECTING), UNAVAILABLE),
    (TransportFailure("circuit_open", Phase.QUEUED, retry_after=3.0), UNAVAILABLE),
    (TransportFailure("overloaded", Phase.QUEUED), "overloaded"),
    (error_response(401, errors.ProviderCredentialsRejected), "provider_credentials_rejected"),
    (error_response(403, errors.PermissionDenied), "permission_denied"),
    (error_response(426, errors.ProviderUpgradeRequired), "provider_upgrade_required"),
]


@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize(("failure", "code"), PROOF)
async def test_proof_that_nothing_was_made_leads_to_the_next_provider(
    failure: Failure, code: str, key: str | None
) -> None:
    one, other = two_providers()
    one.world.fail("create", failure)
    scene = Scene(one, other)
    response = (await scene.create(key=key)).created
    assert (response.created, response.runtime.provider, create_counts(one, other)) == (True, "two", [1, 1])
    assert response.runtime.attempts == [CreateAttempt(provider="one", code=code)]
    intent = scene.intent
    assert (intent.state, intent.provider, intent.epoch) == (IntentState.DONE, "two", 2)
    assert [(attempt.epoch, attempt.made) for attempt in intent.attempts] == [(1, False), (2, True)]


NO_PROOF: list[Failure] = [
    LOST,
    TransportFailure("timeout", Phase.SENT),
    TransportFailure("cut_short", Phase.ANSWERED, status=201),
    error_response(500, OutcomeUnknown),
    error_response(503, errors.ProviderUnavailable),
    error_response(503, errors.CapacityExceeded),
    error_response(408, OutcomeUnknown),
    error_response(402, errors.InsufficientCredits),
    error_response(429, errors.RateLimited),
    error_response(307, errors.ProviderBadResponse),
    error_response(403, errors.PermissionDenied, own=False),
    error_response(401, errors.ProviderCredentialsRejected, own=False),
    error_response(409, errors.AlreadyExists),
    error_response(409, errors.CapacityExceeded),
]


@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
@pytest.mark.parametrize("failure", NO_PROOF)
async def test_without_proof_no_other_provider_is_tried_not_even_by_a_retry(
    adapter_of: AdapterType, failure: Failure
) -> None:
    """See docs/fault-cases.md#fault-4."""
    one, other = two_providers(adapter_of)
    one.world.fail("create", failure, failure)
    scene = Scene(one, other)
    for _ in range(2):
        error = await create_raises(scene, GatewayError)
        assert "attempts" not in error.extra
    assert call_count(other) == 0


async def test_no_other_provider_is_tried_after_the_wait_out_either() -> None:
    one, other = two_providers(Plain)
    one.world.fail("create", LOST)
    scene = Scene(one, other)
    await create_raises(scene, OutcomeUnknown)
    while scene.intent.state is IntentState.UNKNOWN:
        await scene.settle(after=WAIT_OUT)
    assert scene.intent.state is IntentState.ABSENT
    one.world.fail("create", REFUSED)
    await create_raises(scene, errors.ProviderUnavailable)
    assert call_count(other) == 0
    assert (await scene.create(key="k")).created.runtime.provider == "one"


REQUEST_AT_FAULT = [
    error_response(400, errors.InvalidRequest),
    error_response(422, errors.ValidationFailed),
    error_response(404, errors.NotFound),
]


@pytest.mark.parametrize("failure", REQUEST_AT_FAULT)
async def test_error_of_the_request_leads_to_no_other_provider(failure: GatewayError) -> None:
    one, other = two_providers()
    one.world.fail("create", failure)
    scene = Scene(one, other)
    assert await create_raises(scene, type(failure)) is failure
    assert (call_count(other), scene.intent.state) == (0, IntentState.REFUSED)


@pytest.mark.parametrize("failure", [REFUSED, error_response(403, errors.PermissionDenied)])
async def test_named_provider_is_the_only_one_that_is_tried(failure: Failure) -> None:
    one, other = two_providers()
    one.world.fail("create", failure)
    scene = Scene(one, other)
    error = await create_raises(scene, GatewayError, provider="one")
    assert ("attempts" in error.extra, create_counts(one, other)) == (False, [1, 0])


async def test_last_refusal_is_returned_with_all_attempts_when_every_provider_refuses() -> None:
    one, other = two_providers()
    one.world.fail("create", REFUSED)
    other.world.fail("create", error_response(403, errors.PermissionDenied, provider="two"))
    scene = Scene(one, other)
    error = await create_raises(scene, errors.PermissionDenied)
    assert error.extra["attempts"] == [
        {"provider": "one", "code": UNAVAILABLE},
        {"provider": "two", "code": "permission_denied"},
    ]
    assert scene.intent.state is IntentState.REFUSED
    response = await scene.create(key="k")
    assert (response.created.runtime.provider, response.created.created) == ("one", True), (
        "the first provider is tried again"
    )
    assert len(set(one.world.keys)) == 2


async def test_first_provider_is_not_tried_again_after_a_lost_response_of_the_second() -> None:
    one, other = two_providers()
    one.world.fail("create", REFUSED)
    other.lost.append(LOST)
    scene = Scene(one, other)
    await create_raises(scene, OutcomeUnknown)
    response = await scene.create(key="k")
    assert (response.created.runtime.provider, create_counts(one, other)) == ("two", [1, 2])
    assert len(live(other)) == 1


async def test_provider_whose_account_cannot_be_read_has_made_nothing() -> None:
    one, other = two_providers()

    async def away(_call: object) -> str:
        raise TransportFailure("timeout", Phase.CONNECTING)

    one.account = away
    scene = Scene(one, other)
    response = await scene.create(key="k")
    assert (response.created.runtime.provider, create_counts(one, other)) == ("two", [0, 1])
    assert response.created.runtime.attempts == [CreateAttempt(provider="one", code=UNAVAILABLE)]
    await create_raises(scene, errors.ProviderUnavailable, key="named", name="another", provider="one")
    assert len(scene.states) == 1, "no intent is written for a create that is sent nowhere"


@pytest.mark.parametrize("failing", ["circuit_open", "overloaded"])
async def test_create_that_the_gateway_itself_refuses_leaves_no_intent(failing: str) -> None:
    """See docs/fault-cases.md#fault-20."""
    one, other = two_providers()

    class Held:
        async def __aenter__(self) -> None:
            raise TransportFailure(failing, Phase.QUEUED)

        async def __aexit__(self, *_: object) -> None:
            return None

    one.transport.reserve = lambda *_: Held()
    scene = Scene(one)
    await create_raises(scene, GatewayError)
    assert scene.states == []
    scene = Scene(one, other)
    assert (await scene.create(key="k")).created.runtime.provider == "two"
    assert (scene.intent.provider, scene.intent.epoch) == ("two", 1)


async def test_without_a_store_no_create_is_sent() -> None:
    one, other = two_providers()
    scene = Scene(one, other)
    scene.store_fails("begin")
    await create_raises(scene, errors.StoreUnavailable)
    assert create_counts(one, other) == [0, 0]


async def test_store_failure_between_two_providers_sends_nothing_to_the_second() -> None:
    """See docs/fault-cases.md#fault-17."""
    for done in (False, True):
        one, other = two_providers()
        one.world.fail("create", REFUSED)
        scene = Scene(one, other)
        scene.store_fails("move", done=done)
        await create_raises(scene, errors.StoreUnavailable)
        assert create_counts(one, other) == [1, 0]
        scene.on_store = None
        assert scene.intent.lease_until is not None
        scene.clock.time = scene.intent.lease_until + 1.0
        response = await scene.create(key="k")
        assert response.created.runtime.provider == ("two" if done else "one")
        assert len(live(one)) + len(live(other)) == 1


async def test_create_at_the_second_provider_has_its_own_bytes_and_key() -> None:
    one, other = two_providers(Keyed)
    one.world.fail("create", REFUSED)
    scene = Scene(one, other)
    await scene.create(key="k")
    (key,) = other.world.keys
    assert (scene.intent.provider_key, one.world.keys) == (key, [create_key(namespace_at(one), "alice", "k", 0)])
    assert key == create_key(namespace_at(other), "alice", "k", 0) != one.world.keys[0]
    (wire,) = other.sent
    assert msgspec.json.decode(wire.body)["marker"] == scene.intent.id


def namespace_at(adapter: FakeAdapter) -> str:
    """The namespace of a provider's runtimes."""
    return namespace_of(adapter.api, adapter.settings.base_url, "", "home")


async def test_replay_reports_the_attempts_again() -> None:
    one, other = two_providers()
    one.world.fail("create", REFUSED)
    scene = Scene(one, other)
    first: Created = (await scene.create(key="k")).created
    again = await scene.create(key="k")
    assert (again.replayed, again.created) == (True, first)
