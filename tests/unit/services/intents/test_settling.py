"""How the reconciler settles creates that no caller waits for."""

from collections.abc import Sequence

import pytest

from gateway.domain import errors
from gateway.domain.conclusions import GIVE_UP, REPLAY_AGE
from gateway.domain.errors import OutcomeUnknown, StoreUnavailable
from gateway.domain.intents import IntentState
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.transport import Call
from tests.unit.services.intents.creates import AdapterType, lost_create, until_settled
from tests.unit.services.intents.scene import (
    LOST,
    WAIT_OUT,
    Durable,
    Keyed,
    Plain,
    Scene,
    call_count,
    error_response,
    live,
)

AWAY = error_response(503, errors.ProviderUnavailable)
GARBAGE = error_response(201, OutcomeUnknown)


@pytest.mark.parametrize("made", [True, False])
async def test_free_create_is_sent_again_and_makes_one_runtime(made: bool) -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=made)
    await scene.settle(after=2.0)
    assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(adapter))
    assert (call_count(adapter), call_count(adapter, "find")) == (2, 0)
    assert len(set(adapter.world.keys)) == len({wire.body for wire in adapter.sent}) == 1
    assert scene.observer.events[-1] == ("settled", IntentState.DONE, False)


@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
async def test_log_lines_of_settling_have_the_request_id_that_the_provider_receives(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    scene = await lost_create(adapter, made=True)
    before = len(adapter.world.calls)
    await scene.settle(after=2.0)
    ids = adapter.world.logged_ids[before:]
    assert ids == [call.request_id for call in adapter.world.calls[before:]]
    assert ids
    assert all(one is not None and one.startswith("settle-") for one in ids)


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
@pytest.mark.parametrize("made", [True, False])
async def test_create_that_costs_money_is_only_looked_up(adapter_of: AdapterType, made: bool) -> None:
    """See docs/fault-cases.md#fault-16."""
    adapter = adapter_of()
    scene = await lost_create(adapter, made=made)
    took = await until_settled(scene)
    assert call_count(adapter) == 1
    if made:
        assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(adapter))
        assert scene.intent.reason == ("adopted" if adapter_of is Plain else None)
        assert scene.observer.events[-1] == ("settled", IntentState.DONE, True)
    else:
        assert (scene.intent.state, scene.intent.reason) == (IntentState.ABSENT, "waited_out")
        assert WAIT_OUT < took < WAIT_OUT + 2.0
        assert len(scene.intent.looks) >= 2
        (attempt,) = scene.intent.attempts
        assert attempt.last_send is not None
        assert scene.intent.looks[-1].at > attempt.last_send + WAIT_OUT


async def test_one_look_up_is_not_sufficient_however_late_it_is() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    looks = call_count(adapter, "find")
    await scene.settle(after=2 * WAIT_OUT)
    assert (scene.intent.state, len(scene.intent.looks)) == (IntentState.UNKNOWN, 1)
    await scene.settle()
    assert scene.intent.state is IntentState.ABSENT
    assert call_count(adapter, "find") == looks + 2


@pytest.mark.parametrize("failure", [LOST, GARBAGE])
async def test_look_up_that_began_before_the_end_of_the_wait_out_is_not_the_last_one(failure: Exception) -> None:
    """What it shows may be older than what the provider made until then."""

    class Slow(Plain):
        seconds = 0.0

        async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
            found = await super().find(scope, name, call)
            if self.seconds:
                scene.clock.time += self.seconds
            return found

    adapter = Slow()
    scene = await lost_create(adapter, made=False, failure=failure)
    await scene.settle(after=2.0)
    adapter.seconds = 3.0
    await scene.settle(after=WAIT_OUT - 3.0)
    (attempt,) = scene.intent.attempts
    assert attempt.last_send is not None
    assert scene.intent.looks[-1].at > attempt.last_send + WAIT_OUT
    assert scene.intent.state is IntentState.UNKNOWN
    made = adapter.put("box", State.RUNNING)
    await scene.settle(after=2.0)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, made.provider_id)


async def test_failed_look_up_proves_nothing() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    for _ in range(5):
        adapter.world.fail("find", AWAY)
        await scene.settle(after=WAIT_OUT)
        assert (scene.intent.state, scene.intent.looks) == (IntentState.UNKNOWN, ())
        assert scene.intent.due_at == scene.clock.time + 5.0
        assert scene.intent.lease_until is None
    await until_settled(scene)
    assert scene.intent.state is IntentState.ABSENT


async def test_free_create_that_cannot_be_sent_remains_unknown() -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=True)
    for failure in (
        error_response(401, errors.ProviderCredentialsRejected),
        error_response(429, errors.RateLimited),
        LOST,
    ):
        adapter.world.fail("create", failure)
        assert scene.intent.due_at is not None
        await scene.settle(after=scene.intent.due_at - scene.clock.time)
        assert scene.intent.state is IntentState.UNKNOWN
        assert scene.intent.due_at is not None
    assert [attempt.status for attempt in scene.intent.attempts] == [None, 401, 429, None]


async def test_free_create_is_not_sent_again_after_an_hour() -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=False)
    await scene.settle(after=REPLAY_AGE + 1.0)
    assert (call_count(adapter), call_count(adapter, "find")) == (1, 1)


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_create_that_made_something_and_is_not_found_is_parked(adapter_of: AdapterType) -> None:
    """The response proved that something exists, so it is not absent. See docs/fault-cases.md#fault-3."""
    adapter = adapter_of()
    scene = await lost_create(adapter, made=False, failure=GARBAGE)
    took = await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "made_but_not_found")
    assert took > WAIT_OUT
    assert scene.observer.events[-1] == ("parked", "made_but_not_found")


async def test_ambiguous_matches_are_parked() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=True)
    adapter.put("box", State.RUNNING)
    await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "several")


async def test_two_runtimes_with_the_same_marker_are_one_runtime_and_a_surplus() -> None:
    adapter = Keyed()
    scene = await lost_create(adapter, made=True)
    second = adapter.put("box", State.RUNNING)
    adapter.markers[second.provider_id] = scene.intent.id
    await until_settled(scene)
    assert scene.intent.state is IntentState.DONE
    assert {scene.intent.runtime_id, *scene.intent.surplus} == set(live(adapter))
    assert ("surplus", scene.intent.surplus[0]) in scene.observer.events


async def test_unknown_create_is_parked_after_a_day() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    scene.clock.time += GIVE_UP
    await scene.settle(after=1.0)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "too_old")


@pytest.mark.parametrize("state", [IntentState.ABSENT, IntentState.PARKED])
@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_late_evidence_is_accepted(adapter_of: AdapterType, state: IntentState) -> None:
    adapter = adapter_of()
    scene = await lost_create(adapter, made=False, failure=LOST if state is IntentState.ABSENT else GARBAGE)
    await until_settled(scene)
    assert scene.intent.state is state
    await scene.settle(after=WAIT_OUT)
    assert scene.intent.state is state
    late = adapter.put("box", State.RUNNING)
    if isinstance(adapter, Keyed):
        adapter.markers[late.provider_id] = scene.intent.id
    await scene.settle(after=2 * WAIT_OUT)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, late.provider_id)
    assert scene.observer.events[-1] == ("settled", IntentState.DONE, True)


async def test_late_evidence_is_looked_up_at_growing_intervals_for_a_day() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    await until_settled(scene)
    looks, since = call_count(adapter, "find"), scene.clock.time
    while (due := scene.intent.due_at) is not None:
        scene.clock.time = due
        await scene.reconciler.settle_due()
    assert GIVE_UP < scene.clock.time - since < 3 * GIVE_UP
    assert call_count(adapter, "find") - looks < 15
    assert (scene.intent.state, scene.intent.request) == (IntentState.ABSENT, None)


async def test_second_runtime_after_the_wait_out_is_a_surplus_and_is_not_stopped() -> None:
    """The create was duplicated in transit. See docs/fault-cases.md#fault-1."""
    adapter = Plain()
    scene = Scene(adapter)
    response = await scene.create(key="k")
    second = adapter.put("box", State.RUNNING)
    await scene.settle(after=WAIT_OUT)
    assert scene.intent.runtime_id == response.created.runtime.provider_id
    assert scene.intent.surplus == (second.provider_id,)
    assert ("surplus", second.provider_id) in scene.observer.events
    assert len(live(adapter)) == 2
    assert "stop" not in adapter.world.asked
    assert (await scene.create(key="k")).created == response.created
    while scene.intent.due_at is not None:
        await scene.settle(after=GIVE_UP)
    assert scene.observer.events.count(("surplus", second.provider_id)) == 1


async def test_runtime_of_another_create_is_not_evidence() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    first = scene.intent
    await until_settled(scene)
    await scene.create(key="other")
    for _ in range(3):
        await scene.settle(after=WAIT_OUT)
    assert scene.rows.intents[first.id].state is IntentState.ABSENT
    assert [intent.surplus for intent in scene.rows.intents.values()] == [(), ()]


async def test_dead_holder_is_assumed_to_have_sent_until_its_lease_ended() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    adapter.world.fail("create", LOST)
    scene.store_fails("move")
    with pytest.raises(OutcomeUnknown):
        await scene.create(key="k")
    scene.on_store = None
    ended = scene.intent.lease_until
    assert ended is not None
    await scene.settle(after=ended - scene.clock.time - 0.1)
    assert scene.intent.state is IntentState.OPEN
    await scene.settle(after=0.2)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.UNKNOWN, "lease_ended")
    (attempt,) = scene.intent.attempts
    assert attempt.last_send is not None
    assert attempt.last_send >= ended
    await until_settled(scene)
    assert scene.clock.time > ended + WAIT_OUT


async def test_result_that_cannot_be_stored_is_reported_and_due_again() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=True)
    scene.store_fails("record_created")
    await scene.settle(after=2.0)
    assert scene.observer.events[-1] == ("not_written", StoreUnavailable.code)
    scene.on_store = None
    await until_settled(scene)
    assert scene.intent.state is IntentState.DONE
