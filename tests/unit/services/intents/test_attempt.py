"""What is concluded from the end of a send, and recorded."""

from collections.abc import Sequence

import pytest

from gateway.domain import errors
from gateway.domain.errors import GatewayError, OutcomeUnknown, Retryable
from gateway.domain.intents import IntentState
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.transport import Call
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

Adapter = type[Durable | Plain | Keyed]
ALL = [Durable, Plain, Keyed]
CONFLICT = error_response(409, errors.AlreadyExists)


async def create_raises(scene: Scene, error: type[GatewayError], **options: object) -> GatewayError:
    """The error that a create with the key ``k`` raises; its type has to be ``error``."""
    with pytest.raises(error) as caught:
        await scene.create(key="k", **options)  # type: ignore[arg-type]
    assert type(caught.value) is error
    return caught.value


async def unknown_create(adapter: Durable | Plain | Keyed, *, made: bool) -> Scene:
    """A create whose response was lost; ``made``: the provider executed it."""
    (adapter.lost if made else adapter.world.failures.setdefault("create", [])).append(LOST)  # type: ignore[arg-type]
    scene = Scene(adapter)
    await create_raises(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN
    return scene


@pytest.mark.parametrize("adapter_of", ALL)
async def test_made_runtime_is_done_and_its_response_is_stored(adapter_of: Adapter) -> None:
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
    adapter_of: Adapter, failure: Failure
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
    adapter_of: Adapter, failure: Failure
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
    adapter_of: Adapter, failure: GatewayError
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
async def test_runtime_made_despite_a_temporary_refusal_is_found_by_look_up(adapter_of: Adapter) -> None:
    adapter = adapter_of()
    adapter.lost.append(error_response(429, errors.RateLimited))
    scene = Scene(adapter)
    made = (await scene.create(key="k")).created
    assert made.created
    assert [made.runtime.provider_id] == live(adapter)
    assert (made.runtime.adopted is True) == (adapter_of is Plain)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, made.runtime.provider_id)


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_temporary_refusal_without_a_look_up_afterwards_is_unknown(adapter_of: Adapter) -> None:
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


@pytest.mark.parametrize("adapter_of", [Durable, Keyed])
@pytest.mark.parametrize(
    "refusal",
    [
        REFUSED,
        error_response(401, errors.ProviderCredentialsRejected),
        error_response(400, errors.InvalidRequest),
        error_response(402, errors.InsufficientCredits),
        error_response(429, errors.RateLimited),
        error_response(500, OutcomeUnknown),
    ],
)
@pytest.mark.parametrize("made", [True, False])
async def test_refused_replay_leaves_the_create_unknown(adapter_of: Adapter, refusal: Failure, made: bool) -> None:
    """See docs/fault-cases.md#case-6."""
    adapter = adapter_of()
    scene = await unknown_create(adapter, made=made)
    if made:
        look_ups_fail(adapter)
    adapter.world.fail("create", refusal)
    await create_raises(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN
    look_ups_work(adapter)
    response = await scene.create(key="k")
    assert (response.created.created, len(live(adapter))) == (True, 1)
    assert len(set(adapter.world.keys)) == 1


def look_ups_fail(adapter: Durable | Plain | Keyed, calls: int = 99) -> None:
    """Make the next look-ups fail, so that they do not show the runtime yet."""
    adapter.world.fail("find", *[error_response(503, errors.ProviderUnavailable)] * calls)


def look_ups_work(adapter: Durable | Plain | Keyed) -> None:
    """Make look-ups succeed again."""
    adapter.world.failures.pop("find", None)


async def test_replay_that_returns_the_own_runtime_completes_the_create() -> None:
    """The provider reports that the runtime existed already, but it did not before the first send.
    See docs/fault-cases.md#case-7."""
    adapter = Durable()
    scene = await unknown_create(adapter, made=True)
    response = await scene.create(key="k")
    assert (response.created.created, response.replayed) == (True, False)
    assert scene.intent.runtime_id == response.created.runtime.provider_id


@pytest.mark.parametrize("adapter_of", [Durable, Keyed])
async def test_replay_that_conflicts_with_the_own_runtime_completes_the_create(adapter_of: Adapter) -> None:
    """Its config was replaced natively, or the provider has forgotten the key. A look-up recognises the runtime.
    See docs/fault-cases.md#case-7 and #case-8."""
    adapter = adapter_of()
    scene = await unknown_create(adapter, made=True)
    if isinstance(adapter, Keyed):
        adapter.by_key.clear()
        adapter.world.fail("find", None)
        assert call_count(adapter, "find") == 1
    adapter.world.fail("create", CONFLICT)
    response = await scene.create(key="k")
    assert (response.created.created, live(adapter)) == (True, [response.created.runtime.provider_id])
    assert scene.intent.state is IntentState.DONE


@pytest.mark.parametrize("adapter_of", ALL)
async def test_conflict_without_a_found_runtime_is_unknown(adapter_of: Adapter) -> None:
    for look_up_fails in (True, False):
        adapter = adapter_of()
        adapter.world.fail("create", CONFLICT)
        before = [] if adapter_of is Durable else [None]
        adapter.world.fail(
            "find", *before, *([error_response(503, errors.ProviderUnavailable)] if look_up_fails else [])
        )
        scene = Scene(adapter)
        await create_raises(scene, OutcomeUnknown)
        assert scene.intent.state is IntentState.UNKNOWN


OTHER_CONFLICTS = [
    error_response(409, errors.StateConflict),
    error_response(409, errors.QuotaExceeded),
    error_response(409, errors.CapacityExceeded),
]


@pytest.mark.parametrize("stopped", [True, False])
@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize("failure", OTHER_CONFLICTS)
async def test_conflict_that_does_not_concern_the_name_is_returned_unchanged(
    adapter_of: Adapter, failure: GatewayError, stopped: bool
) -> None:
    adapter = adapter_of()
    if stopped:
        adapter.put("box", State.STOPPED)
    adapter.world.fail("create", failure)
    scene = Scene(adapter)
    assert await create_raises(scene, type(failure)) is failure
    assert scene.intent.state is IntentState.ABSENT


@pytest.mark.parametrize("stopped", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "failure",
    [
        error_response(409, errors.IdempotencyInProgress),
        error_response(409, errors.IdempotencyKeyReused),
        error_response(409, OutcomeUnknown),
        error_response(409, errors.ProviderBadResponse),
    ],
)
async def test_conflict_about_the_own_key_is_unknown_whether_or_not_the_name_was_used_before(
    failure: GatewayError, first: bool, stopped: bool
) -> None:
    """The provider may be executing the first send at that moment. If this counted as a refusal, the next attempt would
    use another key, and there would be two runtimes."""
    adapter = Keyed()
    if stopped:
        adapter.put("box", State.STOPPED)
    scene = Scene(adapter) if first else await unknown_create(adapter, made=False)
    adapter.world.fail("create", failure)
    await create_raises(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN
    await scene.create(key="k")
    assert len(set(adapter.world.keys)) == 1


async def test_conflict_of_a_replay_is_unknown_when_only_a_stopped_runtime_is_found() -> None:
    """The conflict may be with the create's own runtime, which the list does not show yet."""
    adapter = Keyed()
    adapter.put("box", State.STOPPED)
    scene = await unknown_create(adapter, made=False)
    adapter.world.fail("create", CONFLICT)
    await create_raises(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_existing_runtime_of_the_name_is_returned_and_nothing_is_sent(adapter_of: Adapter) -> None:
    adapter = adapter_of()
    existing = adapter.put("box", State.RUNNING)
    scene = Scene(adapter)
    response = await scene.create(key="k")
    assert (response.created.created, response.created.runtime.id, call_count(adapter)) == (False, existing.id, 0)
    with pytest.raises(errors.AlreadyExists):
        await scene.create(key="other", if_exists="fail")
    assert scene.states == [IntentState.DONE, IntentState.REFUSED]


async def test_native_runtime_of_the_name_leaves_a_lost_create_unknown() -> None:
    """The caller receives already_exists, but the lost create may still take effect, so it is not settled."""
    adapter = Keyed()
    adapter.world.fail("create", LOST)
    scene = Scene(adapter)
    await create_raises(scene, OutcomeUnknown, if_exists="fail")
    adapter.put("box", State.RUNNING)
    await create_raises(scene, errors.AlreadyExists, if_exists="fail")
    assert (scene.intent.state, call_count(adapter)) == (IntentState.UNKNOWN, 1)


@pytest.mark.parametrize("if_exists", ["fail", "return"])
async def test_replay_that_conflicts_with_a_native_runtime_is_refused(if_exists: str) -> None:
    """The provider keeps names unique, so the lost create cannot take effect later. See docs/fault-cases.md#case-8."""
    adapter = Keyed()
    scene = Scene(adapter)
    adapter.world.fail("create", LOST)
    await create_raises(scene, OutcomeUnknown, if_exists=if_exists)

    async def take_name() -> None:
        adapter.put("box", State.RUNNING)

    adapter.world.before["create"] = take_name
    adapter.world.fail("create", CONFLICT)
    if if_exists == "fail":
        await create_raises(scene, errors.AlreadyExists, if_exists="fail")
        assert scene.intent.state is IntentState.REFUSED
    else:
        assert not (await scene.create(key="k", if_exists="return")).created.created


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
    scene = await unknown_create(adapter, made=False)
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
    adapter_of: Adapter, looks_again: bool
) -> None:
    scene = Scene(adapter_of())
    await scene.create(key="k")
    assert scene.intent.due_at == (scene.clock.time + WAIT_OUT if looks_again else None)
    assert (scene.intent.request is not None) == looks_again, "a found runtime is compared with the request"


@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize("created", [True, False])
async def test_response_with_another_name_is_settled_by_looking_up_the_sent_name(
    adapter_of: Adapter, created: bool
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
async def test_response_with_another_name_is_unknown_until_the_sent_name_is_found(
    adapter_of: Adapter,
) -> None:
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
async def test_response_with_another_name_is_unknown_when_the_look_up_fails(adapter_of: Adapter) -> None:
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
