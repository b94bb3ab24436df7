"""A create whose key or name already has an intent."""

import asyncio

import pytest

from gateway.domain import errors
from gateway.domain.conclusions import REPLAY_AGE
from gateway.domain.errors import OutcomeUnknown, Retryable
from gateway.domain.intents import IntentState
from gateway.domain.values import State
from gateway.ports.store import Decision, Version
from tests.unit.services.intents.creates import (
    ALL,
    AdapterType,
    create_in_progress,
    create_raises,
    lost_create,
    park_intent,
    wait_out,
)
from tests.unit.services.intents.scene import LOST, Durable, Keyed, Plain, Scene, call_count, error_response, live


@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("adapter_of", ALL)
async def test_second_caller_waits_for_the_first_and_receives_the_same_runtime(
    adapter_of: AdapterType, key: str | None
) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    creating, proceed = await create_in_progress(scene, adapter, key=key)
    second = asyncio.create_task(scene.create(key=key))
    await asyncio.sleep(0)
    proceed.set()
    first, joined = await creating, await second
    assert first.created.runtime.id == joined.created.runtime.id
    assert (joined.replayed, joined.created.created) == ((True, True) if key else (False, False))
    assert len(live(adapter)) == 1


@pytest.mark.parametrize("key", ["k", None])
async def test_caller_that_waited_for_the_join_wait_is_asked_to_retry(key: str | None) -> None:
    adapter = Durable()
    scene = Scene(adapter)
    creating, proceed = await create_in_progress(scene, adapter, key=key)
    since = scene.clock.time
    error = await create_raises(scene, errors.IdempotencyInProgress, key=key)
    assert 10.0 <= scene.clock.time - since < 10.5
    assert (error.retry_after, error.retryable) == (1.0, Retryable.SAME_REQUEST)
    assert error.extra == {"intent": scene.intent.id, "name": "box"}
    proceed.set()
    await creating


@pytest.mark.parametrize(("adapter_of", "key"), [(Durable, "k"), (Keyed, "k"), (Durable, None), (Keyed, None)])
async def test_lost_create_of_a_dead_holder_is_sent_again_where_the_provider_deduplicates(
    adapter_of: AdapterType, key: str | None
) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    adapter.lost.append(LOST)
    scene.store_fails("move")
    await create_raises(scene, OutcomeUnknown, key=key)
    scene.on_store = None
    assert scene.intent.state is IntentState.OPEN
    assert scene.intent.lease_until is not None
    scene.clock.time = scene.intent.lease_until + 1.0
    response = await scene.create(key=key)
    assert live(adapter) == [response.created.runtime.provider_id]
    assert call_count(adapter) == (2 if adapter_of is Durable else 1), "a found marker is sufficient proof"
    assert len(set(adapter.world.keys)) == 1
    assert len({wire.body for wire in adapter.sent}) == 1
    assert scene.states[0] is IntentState.DONE


@pytest.mark.parametrize("age", [0.0, REPLAY_AGE + 1.0])
async def test_lost_create_is_looked_up_and_never_sent_again_where_nothing_is_deduplicated(age: float) -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    scene.clock.time += age
    error = await create_raises(scene, OutcomeUnknown)
    assert error.extra == {"intent": scene.intent.id, "name": "box", "idempotency_key": "k"}
    assert call_count(adapter) == 1
    adapter.put("box", State.RUNNING)
    response = await scene.create(key="k")
    assert (response.created.created, response.created.runtime.adopted) == (True, True)
    assert (call_count(adapter), scene.intent.reason) == (1, "adopted")


async def test_slow_look_up_finds_the_same_runtime_as_a_fast_one() -> None:
    """The provider's clock advances during the look-up."""
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    existing = adapter.put("box", State.RUNNING, created_at="1970-01-01T00:16:41Z")  # a second after the send
    scene.clock.time += 3.0

    async def slow() -> None:
        scene.clock.time += 8.0
        adapter.world.calls[-1].provider_date = "Thu, 01 Jan 1970 00:16:51 GMT"

    adapter.world.before["find"] = slow
    response = await scene.create(key="k")
    assert response.created.runtime.id == existing.id


@pytest.mark.parametrize("adapter_of", [Durable, Keyed])
async def test_nothing_is_sent_again_after_an_hour_or_the_lifetime_of_the_key(adapter_of: AdapterType) -> None:
    class Forgetful(adapter_of):  # type: ignore[misc, valid-type]
        idempotency_key_ttl = 600.0

    for adapter, age in ((adapter_of(), REPLAY_AGE), (Forgetful(), 600.0)):
        scene = await lost_create(adapter, made=False)
        scene.clock.time += age + 1.0
        await create_raises(scene, OutcomeUnknown)
        assert (call_count(adapter), scene.intent.state) == (1, IntentState.UNKNOWN)
    scene = await lost_create(adapter_of(), made=False)
    scene.clock.time += REPLAY_AGE
    assert (await scene.create(key="k")).created.created


async def test_unknown_create_that_another_process_settles_is_waited_for() -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=False)
    scene.clock.time += 2.0
    assert await scene.store.claim_due("settler", 100.0, 1)
    error = await create_raises(scene, errors.IdempotencyInProgress)
    assert error.extra["intent"] == scene.intent.id
    assert call_count(adapter) == 1


async def test_unknown_create_is_settled_for_a_caller_with_the_same_name() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=True)
    response = await scene.create(key=None)
    assert (response.created.created, live(adapter)) == (False, [response.created.runtime.provider_id])
    error = await lost_create(Plain(), made=False)
    other = await create_raises(error, OutcomeUnknown, key=None)
    assert "idempotency_key" not in other.extra, "the key belongs to another caller"


async def test_same_key_after_absent_sends_the_same_bytes_and_provider_key_in_the_same_intent() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    await wait_out(scene)
    response = await scene.create(key="k")
    assert (response.created.created, live(adapter)) == (True, [response.created.runtime.provider_id])
    assert (scene.intent.epoch, scene.intent.generation) == (2, 0)
    assert len(set(adapter.world.keys)) == 1
    assert len({wire.body for wire in adapter.sent}) == 1


@pytest.mark.parametrize("key", ["other", None])
async def test_another_caller_after_absent_takes_over_the_name_with_the_same_provider_key(key: str | None) -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    old = scene.intent
    await wait_out(scene)
    response = await scene.create(key=key, principal="bob")
    assert (response.created.created, call_count(adapter)) == (True, 2)
    assert len(set(adapter.world.keys)) == 1
    first, second = scene.rows.intents.values()
    assert (first.id, first.state, first.superseded_by) == (old.id, IntentState.ABSENT, second.id)
    assert (second.generation, second.provider_key) == (0, first.provider_key)


async def test_late_runtime_found_after_absent_completes_the_create_without_a_send() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    await wait_out(scene)
    late = adapter.put("box", State.RUNNING)
    response = await scene.create(key="k")
    assert (response.created.created, response.created.runtime.provider_id) == (True, late.provider_id)
    assert call_count(adapter) == 1


@pytest.mark.parametrize("adapter_of", ALL)
async def test_same_key_after_refused_is_a_new_attempt_with_a_new_provider_key(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    adapter.world.fail("create", error_response(400, errors.InvalidRequest))
    scene = Scene(adapter)
    await create_raises(scene, errors.InvalidRequest)
    assert scene.intent.generation == 0
    response = await scene.create(key="k")
    assert response.created.created
    assert (scene.intent.generation, scene.intent.epoch, len(set(adapter.world.keys))) == (1, 2, 2)
    assert len(scene.intent.attempts) == 1


async def test_retry_after_refused_waits_for_another_create_that_uses_the_name_by_then() -> None:
    adapter = Durable()
    adapter.world.fail("create", error_response(400, errors.InvalidRequest))
    scene = Scene(adapter)
    await create_raises(scene, errors.InvalidRequest)
    creating, proceed = await create_in_progress(scene, adapter, key="other")
    joining = asyncio.create_task(scene.create(key="k"))
    await asyncio.sleep(0)
    proceed.set()
    assert (await creating).created.created
    assert not (await joining).created.created
    assert len(live(adapter)) == 1


@pytest.mark.parametrize("key", ["k", None])
async def test_parked_create_is_not_retryable_and_sends_nothing(key: str | None) -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    scene.clock.time += 2.0
    intent = await park_intent(scene)
    error = await create_raises(scene, OutcomeUnknown, key=key)
    assert (error.retryable, error.extra["intent"]) == (Retryable.NO, intent.id)
    assert call_count(adapter) == 1


@pytest.mark.parametrize("decision", Decision)
async def test_decision_of_an_operator_determines_the_response(decision: Decision) -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=True)
    scene.clock.time += 2.0
    (runtime_id,) = live(adapter)
    intent = await park_intent(scene)
    if decision is Decision.ABSENT:
        adapter.world.runtimes.clear()
    made = runtime_id if decision is Decision.MADE else None
    await scene.store.decide(Version.of(intent), decision, "olga", runtime_id=made)
    response = await scene.create(key="k")
    assert response.created.created
    assert (call_count(adapter), len(live(adapter))) == ((1, 1) if made else (2, 1))


async def test_response_of_a_create_settled_without_its_caller_is_read_once_and_then_stored() -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=True)
    await scene.settle(after=2.0)
    assert (scene.intent.state, scene.intent.outcome) == (IntentState.DONE, None)
    (runtime_id,) = live(adapter)
    adapter.move(runtime_id, State.PAUSED)
    rebuilt = await scene.create(key="k")
    assert (rebuilt.replayed, rebuilt.created.created) == (True, True)
    assert rebuilt.created.runtime.state is State.PAUSED
    adapter.move(runtime_id, State.RUNNING)
    reads = call_count(adapter, "get")
    again = await scene.create(key="k")
    assert (again.created, call_count(adapter, "get")) == (rebuilt.created, reads)


async def test_start_that_was_not_sent_is_sent_by_the_replay() -> None:
    """The holder died between the create, which is stored, and the start."""
    adapter = Durable()
    scene = Scene(adapter)
    starting = asyncio.Event()

    async def die() -> None:
        del adapter.world.before["start"]
        starting.set()
        await asyncio.Event().wait()

    adapter.world.before["start"] = die
    creating = asyncio.create_task(scene.create(key="k", start=True))
    await starting.wait()
    creating.cancel()
    await scene.intents.drain()
    assert (scene.intent.state, scene.intent.outcome) == (IntentState.DONE, None)
    response = await scene.create(key="k", start=True)
    assert (response.replayed, response.created.runtime.state) == (True, State.RUNNING)
    assert (call_count(adapter), len(live(adapter))) == (1, 1)


async def test_create_of_a_name_that_is_done_asks_the_provider_again() -> None:
    """The runtime may have been stopped since."""
    adapter = Plain()
    scene = Scene(adapter)
    first = await scene.create()
    assert not (await scene.create()).created.created
    adapter.move(first.created.runtime.provider_id, State.STOPPED)
    assert (await scene.create()).created.created
    assert len(live(adapter)) == 1


async def test_caller_that_waited_for_a_name_is_refused_with_if_exists_fail() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    creating, proceed = await create_in_progress(scene, adapter, key=None)
    second = asyncio.create_task(scene.create(if_exists="fail"))
    await asyncio.sleep(0)
    proceed.set()
    await creating
    with pytest.raises(errors.AlreadyExists):
        await second
    assert len(live(adapter)) == 1
