"""Replays and conflicts: whether a refused or conflicting send shows that the create has made its runtime."""

import pytest

from gateway.domain import errors
from gateway.domain.errors import GatewayError, OutcomeUnknown
from gateway.domain.intents import IntentState
from gateway.domain.values import State
from tests.unit.services.intents.creates import ALL, AdapterType, create_raises, lost_create
from tests.unit.services.intents.scene import (
    LOST,
    REFUSED,
    Durable,
    Failure,
    Keyed,
    Plain,
    Scene,
    call_count,
    error_response,
    live,
)

CONFLICT = error_response(409, errors.AlreadyExists)


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
async def test_refused_replay_leaves_the_create_unknown(adapter_of: AdapterType, refusal: Failure, made: bool) -> None:
    """See docs/fault-cases.md#fault-6."""
    adapter = adapter_of()
    scene = await lost_create(adapter, made=made)
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
    See docs/fault-cases.md#fault-7."""
    adapter = Durable()
    scene = await lost_create(adapter, made=True)
    response = await scene.create(key="k")
    assert (response.created.created, response.replayed) == (True, False)
    assert scene.intent.runtime_id == response.created.runtime.provider_id


@pytest.mark.parametrize("adapter_of", [Durable, Keyed])
async def test_replay_that_conflicts_with_the_own_runtime_completes_the_create(adapter_of: AdapterType) -> None:
    """Its config was replaced natively, or the provider has forgotten the key. A look-up recognises the runtime.
    See docs/fault-cases.md#fault-7 and #case-8."""
    adapter = adapter_of()
    scene = await lost_create(adapter, made=True)
    if isinstance(adapter, Keyed):
        adapter.by_key.clear()
        adapter.world.fail("find", None)
        assert call_count(adapter, "find") == 1
    adapter.world.fail("create", CONFLICT)
    response = await scene.create(key="k")
    assert (response.created.created, live(adapter)) == (True, [response.created.runtime.provider_id])
    assert scene.intent.state is IntentState.DONE


@pytest.mark.parametrize("adapter_of", ALL)
async def test_conflict_without_a_found_runtime_is_unknown(adapter_of: AdapterType) -> None:
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
    adapter_of: AdapterType, failure: GatewayError, stopped: bool
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
    scene = Scene(adapter) if first else await lost_create(adapter, made=False)
    adapter.world.fail("create", failure)
    await create_raises(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN
    await scene.create(key="k")
    assert len(set(adapter.world.keys)) == 1


async def test_conflict_of_a_replay_is_unknown_when_only_a_stopped_runtime_is_found() -> None:
    """The conflict may be with the create's own runtime, which the list does not show yet."""
    adapter = Keyed()
    adapter.put("box", State.STOPPED)
    scene = await lost_create(adapter, made=False)
    adapter.world.fail("create", CONFLICT)
    await create_raises(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN


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
    """The provider keeps names unique, so the lost create cannot take effect later. See docs/fault-cases.md#fault-8."""
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
