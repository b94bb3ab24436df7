"""Where a create goes, and when it goes somewhere else: only on proof that nothing was made."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from gateway.domain import errors
from gateway.domain.errors import GatewayError, OutcomeUnknown
from gateway.domain.intents import IntentState, namespace_of
from gateway.domain.runtime import CreateAttempt
from gateway.domain.values import State
from gateway.ports.provider import Created
from gateway.ports.transport import Phase, TransportFailure
from gateway.services.provider_keys import create_key
from tests.unit.services.fakes import FakeAdapter
from tests.unit.services.intents.scene import LOST, REFUSED, Durable, Failure, Keyed, Plain, Scene, W, asked, live, said

Adapter = type[Durable | Plain | Keyed]


def two(adapter_of: Adapter = Durable, **settings: Any) -> tuple[Any, Any]:
    """Two providers, the first one first choice."""
    return (
        adapter_of("one", base_url="http://one.test", order=1),
        adapter_of("two", base_url="http://two.test", order=2, **settings),
    )


async def told(scene: Scene, error: type[GatewayError], **options: Any) -> GatewayError:
    """The error that a create of the key ``k`` is answered with."""
    with pytest.raises(error) as caught:
        await scene.create(**{"key": "k", **options})
    return caught.value


def counts(*adapters: FakeAdapter) -> Sequence[int]:
    """How many creates were sent to each."""
    return [asked(adapter) for adapter in adapters]


UNAVAILABLE = "provider_unavailable"
PROOF: list[tuple[Failure, str]] = [
    (REFUSED, UNAVAILABLE),
    (TransportFailure("dns", Phase.CONNECTING), UNAVAILABLE),
    (TransportFailure("timeout", Phase.CONNECTING), UNAVAILABLE),
    (TransportFailure("circuit_open", Phase.QUEUED, retry_after=3.0), UNAVAILABLE),
    (TransportFailure("overloaded", Phase.QUEUED), "overloaded"),
    (said(401, errors.ProviderCredentialsRejected), "provider_credentials_rejected"),
    (said(403, errors.PermissionDenied), "permission_denied"),
    (said(426, errors.ProviderUpgradeRequired), "provider_upgrade_required"),
]


@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize(("failure", "code"), PROOF)
async def test_on_proof_that_nothing_was_made_the_next_provider_is_asked(
    failure: Failure, code: str, key: str | None
) -> None:
    one, other = two()
    one.world.fail("create", failure)
    scene = Scene(one, other)
    answer = (await scene.create(key=key)).created
    assert (answer.created, answer.runtime.provider, counts(one, other)) == (True, "two", [1, 1])
    assert answer.runtime.attempts == [CreateAttempt(provider="one", code=code)]
    intent = scene.intent
    assert (intent.state, intent.provider, intent.epoch) == (IntentState.DONE, "two", 2)
    assert [(attempt.epoch, attempt.made) for attempt in intent.attempts] == [(1, False), (2, True)]


NO_PROOF: list[Failure] = [
    LOST,
    TransportFailure("timeout", Phase.SENT),
    TransportFailure("cut_short", Phase.ANSWERED, status=201),
    said(500, OutcomeUnknown),
    said(503, errors.ProviderUnavailable),
    said(503, errors.CapacityExceeded),
    said(408, OutcomeUnknown),
    said(402, errors.InsufficientCredits),
    said(429, errors.RateLimited),
    said(307, errors.ProviderBadResponse),
    said(403, errors.PermissionDenied, own=False),
    said(401, errors.ProviderCredentialsRejected, own=False),
    said(409, errors.AlreadyExists),
    said(409, errors.CapacityExceeded),
]


@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
@pytest.mark.parametrize("failure", NO_PROOF)
async def test_without_proof_no_other_provider_is_asked_not_even_by_a_retry(
    adapter_of: Adapter, failure: Failure
) -> None:
    """Case 4."""
    one, other = two(adapter_of)
    one.world.fail("create", failure, failure)
    scene = Scene(one, other)
    for _ in range(2):
        error = await told(scene, GatewayError)
        assert "attempts" not in error.extra
    assert asked(other) == 0


async def test_after_the_wait_nothing_goes_elsewhere_either() -> None:
    one, other = two(Plain)
    one.world.fail("create", LOST)
    scene = Scene(one, other)
    await told(scene, OutcomeUnknown)
    while scene.intent.state is IntentState.UNKNOWN:
        await scene.settle(after=W)
    assert scene.intent.state is IntentState.ABSENT
    one.world.fail("create", REFUSED)
    await told(scene, errors.ProviderUnavailable)
    assert asked(other) == 0
    assert (await scene.create(key="k")).created.runtime.provider == "one"


REQUEST_AT_FAULT = [
    said(400, errors.InvalidRequest),
    said(422, errors.ValidationFailed),
    said(404, errors.NotFound),
]


@pytest.mark.parametrize("failure", REQUEST_AT_FAULT)
async def test_what_no_other_provider_would_mend_goes_nowhere_else(failure: GatewayError) -> None:
    one, other = two()
    one.world.fail("create", failure)
    scene = Scene(one, other)
    assert await told(scene, type(failure)) is failure
    assert (asked(other), scene.intent.state) == (0, IntentState.REFUSED)


@pytest.mark.parametrize("failure", [REFUSED, said(403, errors.PermissionDenied)])
async def test_a_provider_that_was_named_is_the_only_one(failure: Failure) -> None:
    one, other = two()
    one.world.fail("create", failure)
    scene = Scene(one, other)
    error = await told(scene, GatewayError, provider="one")
    assert ("attempts" in error.extra, counts(one, other)) == (False, [1, 0])


async def test_where_all_refuse_the_last_one_is_told_with_all_of_them() -> None:
    one, other = two()
    one.world.fail("create", REFUSED)
    other.world.fail("create", said(403, errors.PermissionDenied, provider="two"))
    scene = Scene(one, other)
    error = await told(scene, errors.PermissionDenied)
    assert error.extra["attempts"] == [
        {"provider": "one", "code": UNAVAILABLE},
        {"provider": "two", "code": "permission_denied"},
    ]
    assert scene.intent.state is IntentState.REFUSED
    answer = await scene.create(key="k")
    assert (answer.created.runtime.provider, answer.created.created) == ("one", True), "and may begin anew"
    assert len(set(one.world.keys)) == 2


async def test_after_a_lost_answer_at_the_second_one_the_first_is_not_asked_again() -> None:
    one, other = two()
    one.world.fail("create", REFUSED)
    other.lost.append(LOST)
    scene = Scene(one, other)
    await told(scene, OutcomeUnknown)
    answer = await scene.create(key="k")
    assert (answer.created.runtime.provider, counts(one, other)) == ("two", [1, 2])
    assert len(live(other)) == 1


@pytest.mark.parametrize("key", ["k", "other", None])
async def test_afterwards_the_same_key_and_the_same_name_go_where_it_was_made(key: str | None) -> None:
    one, other = two()
    one.world.fail("create", REFUSED)
    scene = Scene(one, other)
    first = await scene.create(key="k")
    for hidden in (False, True):
        if hidden:
            other.world.fail("find", said(503, errors.ProviderUnavailable))
        again = await scene.create(key=key)
        assert again.created.runtime.id == first.created.runtime.id
    assert (asked(one), live(one)) == (1, [])


async def test_a_name_that_named_no_provider_stays_where_it_went_also_when_that_one_cannot_be_reached() -> None:
    one, other = two()
    scene = Scene(one, other)
    first = await scene.create()
    assert first.created.runtime.provider == "one"
    one.world.fail("find", said(503, errors.ProviderUnavailable))
    one.world.fail("create", REFUSED)
    await told(scene, errors.ProviderUnavailable, key=None)
    assert asked(other) == 0


async def test_a_pin_is_of_one_principal() -> None:
    one, other = two()
    one.world.fail("create", REFUSED)
    scene = Scene(one, other)
    assert (await scene.create()).created.runtime.provider == "two"
    other.world.runtimes.clear()
    assert (await scene.create(principal="bob")).created.runtime.provider == "one"


async def test_a_name_whose_place_is_not_configured_any_more_is_not_made_elsewhere() -> None:
    one, other = two()
    scene = Scene(one, other)
    await scene.create()
    scene.fleet.replace([other])
    error = await told(scene, errors.AlreadyExists, key=None)
    assert "name a provider" in error.detail
    assert asked(other) == 0


async def test_a_name_that_is_taken_at_the_second_place_answers_with_what_took_it() -> None:
    one, other = two()
    there = other.put("box")
    other.world.fail("find", said(503, errors.ProviderUnavailable))
    one.world.fail("create", REFUSED)
    scene = Scene(one, other)
    answer = await scene.create(key="k")
    assert (answer.created.runtime.id, answer.created.created) == (there.id, False)
    assert answer.created.runtime.attempts == [CreateAttempt(provider="one", code=UNAVAILABLE)]


async def test_a_name_that_another_create_holds_at_the_second_place_is_not_sent_there() -> None:
    one, other = two(Plain)
    other.world.fail("create", LOST)
    scene = Scene(one, other)
    await told(scene, OutcomeUnknown, key="theirs", provider="two", principal="bob")
    one.world.fail("create", REFUSED)
    await told(scene, errors.ProviderUnavailable)
    assert counts(one, other) == [1, 1]
    assert scene.states == [IntentState.UNKNOWN, IntentState.REFUSED]


async def test_two_providers_of_one_account_are_one_place() -> None:
    """Case 12. What one of them may have made, the other does not make again."""
    one, other = Plain("one", order=1), Plain("two", order=2)
    for adapter in (one, other):

        async def account(_call: object) -> str:
            return "acc-1"

        adapter.account = account  # type: ignore[method-assign]
    one.world.fail("create", LOST)
    scene = Scene(one, other)
    await told(scene, OutcomeUnknown, provider="one")
    await told(scene, OutcomeUnknown, key="other", provider="two")
    assert counts(one, other) == [1, 0]


async def test_a_provider_whose_account_cannot_be_asked_for_has_made_nothing() -> None:
    one, other = two()

    async def away(_call: object) -> str:
        raise TransportFailure("timeout", Phase.CONNECTING)

    one.account = away
    scene = Scene(one, other)
    answer = await scene.create(key="k")
    assert (answer.created.runtime.provider, counts(one, other)) == ("two", [0, 1])
    assert answer.created.runtime.attempts == [CreateAttempt(provider="one", code=UNAVAILABLE)]
    await told(scene, errors.ProviderUnavailable, key="named", name="another", provider="one")
    assert len(scene.states) == 1, "nothing is written down of what goes nowhere"


@pytest.mark.parametrize("failing", ["circuit_open", "overloaded"])
async def test_what_this_gateway_itself_does_not_let_out_leaves_no_intent(failing: str) -> None:
    """Case 20."""
    one, other = two()

    class Held:
        async def __aenter__(self) -> None:
            raise TransportFailure(failing, Phase.QUEUED)

        async def __aexit__(self, *_: object) -> None:
            return None

    one.transport.reserve = lambda *_: Held()
    scene = Scene(one)
    await told(scene, GatewayError)
    assert scene.states == []
    scene = Scene(one, other)
    assert (await scene.create(key="k")).created.runtime.provider == "two"
    assert (scene.intent.provider, scene.intent.epoch) == ("two", 1)


async def test_without_a_store_no_provider_is_asked_to_make_anything() -> None:
    one, other = two()
    scene = Scene(one, other)
    scene.store_fails("begin")
    await told(scene, errors.StoreUnavailable)
    assert counts(one, other) == [0, 0]


async def test_a_store_that_fails_between_two_providers_sends_nothing_to_the_second() -> None:
    """Case 17."""
    for done in (False, True):
        one, other = two()
        one.world.fail("create", REFUSED)
        scene = Scene(one, other)
        scene.store_fails("move", done=done)
        await told(scene, errors.StoreUnavailable)
        assert counts(one, other) == [1, 0]
        scene.on_store = None
        assert scene.intent.lease_until is not None
        scene.clock.time = scene.intent.lease_until + 1.0
        answer = await scene.create(key="k")
        assert answer.created.runtime.provider == ("two" if done else "one")
        assert len(live(one)) + len(live(other)) == 1


async def test_what_goes_elsewhere_has_its_own_bytes_and_its_own_key_there() -> None:
    one, other = two(Keyed)
    one.world.fail("create", REFUSED)
    scene = Scene(one, other)
    await scene.create(key="k")
    (key,) = other.world.keys
    assert (scene.intent.provider_key, one.world.keys) == (key, [create_key(namespace_at(one), "alice", "k", 0)])
    assert key == create_key(namespace_at(other), "alice", "k", 0) != one.world.keys[0]
    (wire,) = other.sent
    assert msgspec.json.decode(wire.body)["marker"] == scene.intent.id


def namespace_at(adapter: FakeAdapter) -> str:
    """Where its names are unique."""
    return namespace_of(adapter.api, adapter.settings.base_url, "", "home")


async def test_the_tried_providers_are_told_again_by_a_replay() -> None:
    one, other = two()
    one.world.fail("create", REFUSED)
    scene = Scene(one, other)
    first: Created = (await scene.create(key="k")).created
    again = await scene.create(key="k")
    assert (again.replayed, again.created) == (True, first)


async def test_a_live_runtime_of_the_name_decides_where_it_goes() -> None:
    one, other = two()
    there = other.put("box", State.RUNNING)
    scene = Scene(one, other)
    answer = await scene.create(key="k")
    assert (answer.created.runtime.id, asked(one)) == (there.id, 0)
