"""A create whose key or name has an intent already."""

import asyncio
from typing import Any

import pytest

from gateway.domain import errors
from gateway.domain.conclusions import REPLAY_AGE
from gateway.domain.errors import GatewayError, OutcomeUnknown, Retryable
from gateway.domain.intents import Actor, Intent, IntentState
from gateway.domain.values import State
from gateway.ports.store import Decision, Version
from gateway.services.intents import PayloadSealer
from gateway.settings import CreatesSettings
from gateway.storage.sealing import Keyring, new_key
from tests.unit.services.intents.scene import LOST, Durable, Keyed, Plain, Scene, W, asked, live, said

Adapter = type[Durable | Plain | Keyed]
ALL = [Durable, Plain, Keyed]
RULES = CreatesSettings()


async def told(scene: Scene, error: type[GatewayError], **options: Any) -> GatewayError:
    """The error that a create of the key ``k`` is answered with."""
    with pytest.raises(error) as caught:
        await scene.create(**{"key": "k", **options})
    return caught.value


async def lost(adapter: Durable | Plain | Keyed, *, made: bool, **options: Any) -> Scene:
    """A create whose answer was lost; ``made``: it was carried out."""
    if made:
        adapter.lost.append(LOST)
    else:
        adapter.world.fail("create", LOST)
    scene = Scene(adapter)
    await told(scene, OutcomeUnknown, **options)
    return scene


async def begun(
    scene: Scene, adapter: Durable | Plain | Keyed, **options: Any
) -> tuple[asyncio.Task[Any], asyncio.Event]:
    """A create that is being sent, until the event is set."""
    sending, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        del adapter.world.before["create"]
        sending.set()
        await go_on.wait()

    adapter.world.before["create"] = hang
    asking = asyncio.create_task(scene.create(**{"key": "k", **options}))
    await sending.wait()
    return asking, go_on


async def parked(scene: Scene) -> Intent:
    """Leave the only intent to a person."""
    moved = await scene.store.claim_due("settler", 10.0, 1)
    assert [intent.state for intent in moved] == [IntentState.UNKNOWN]
    await scene.store.move(Version.of(scene.intent), IntentState.PARKED, Actor.RECONCILER, "settler")
    return scene.intent


@pytest.mark.parametrize("adapter_of", ALL)
async def test_a_replay_has_the_same_answer_whatever_became_of_the_runtime(adapter_of: Adapter) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    first = await scene.create(key="k")
    adapter.move(first.created.runtime.provider_id, State.STOPPED)
    adapter.world.asked.clear()
    for _ in range(2):
        again = await scene.create(key="k")
        assert (again.replayed, again.created) == (True, first.created)
    assert adapter.world.asked == []


async def test_a_replay_of_what_was_found_tells_that_it_was_not_made() -> None:
    adapter = Durable()
    adapter.put("box")
    scene = Scene(adapter)
    answers = [await scene.create(key="k") for _ in range(2)]
    assert [(one.created.created, one.replayed) for one in answers] == [(False, False), (False, True)]


@pytest.mark.parametrize("state", ["open", "unknown", "done", "refused", "absent", "parked"])
async def test_a_key_is_of_one_request_in_every_state(state: str) -> None:
    adapter = Plain()
    scene = Scene(adapter)
    go_on = asking = None
    if state == "open":
        asking, go_on = await begun(scene, adapter)
    elif state == "done":
        await scene.create(key="k")
    else:
        failure = {"refused": said(400, errors.InvalidRequest), "absent": said(429, errors.RateLimited)}.get(
            state, LOST
        )
        adapter.world.fail("create", failure)
        await told(scene, GatewayError)
    if state == "parked":
        await scene.settle(after=2.0)
        scene.clock.time += 60.0
        await parked(scene)
    assert scene.intent.state == state
    sent = asked(adapter)
    await told(scene, errors.IdempotencyKeyReused, name="another")
    await told(scene, errors.IdempotencyKeyReused, driver="playwright")
    assert asked(adapter) == sent
    assert scene.intent.state == state
    if go_on is not None and asking is not None:
        go_on.set()
        await asking


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"labels": {}},
    {"labels": {"a": ""}},
    {"config": {}},
    {"config": {"version": "v2"}},
    {"config": {"resources": {"cpu_cores": 1}}},
    {"config": {"list": []}},
    {"config": {"list": None}},
    {"start": False},
    {"if_exists": "return"},
]


@pytest.mark.parametrize("first", range(len(DIFFERENT)))
async def test_absent_null_empty_and_a_default_that_is_given_are_different_requests(first: int) -> None:
    """Case 13."""
    scene = Scene(Durable())
    await scene.create(key="k", **DIFFERENT[first])
    for other, fields in enumerate(DIFFERENT):
        if other == first:
            assert (await scene.create(key="k", **fields)).replayed
        else:
            await told(scene, errors.IdempotencyKeyReused, **fields)


async def test_the_order_of_keys_and_the_form_of_numbers_make_no_other_request() -> None:
    scene = Scene(Durable())
    await scene.create(key="k", config={"a": 1, "b": {"c": 2, "d": [3]}}, labels={"x": "1", "y": "2"})
    again = await scene.create(key="k", labels={"y": "2", "x": "1"}, config={"b": {"d": [3.0], "c": 2.0}, "a": 1})
    assert again.replayed


async def test_one_key_of_two_principals_is_two_runtimes() -> None:
    """Case 13. Neither hears of the other."""
    adapter = Durable()
    scene = Scene(adapter)
    answers = [await scene.create(name=None, key="k", principal=who) for who in ("alice", "bob")]
    assert len({answer.created.runtime.id for answer in answers}) == 2
    assert not any(answer.replayed for answer in answers)
    assert len({answer.created.runtime.name for answer in answers}) == 2
    assert len(set(adapter.world.keys)) == 2


async def test_a_key_without_a_name_has_a_name_of_its_own_for_every_try() -> None:
    """Case 9."""
    adapter = Plain()
    scene = await lost(adapter, made=True, name=None)
    name = scene.intent.name
    await scene.settle(after=3.0)
    answer = await scene.create(name=None, key="k")
    assert (answer.created.runtime.name, len(live(adapter))) == (name, 1)


@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("adapter_of", ALL)
async def test_a_second_caller_waits_for_the_first_and_hears_the_same(adapter_of: Adapter, key: str | None) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    asking, go_on = await begun(scene, adapter, key=key)
    second = asyncio.create_task(scene.create(key=key))
    await asyncio.sleep(0)
    go_on.set()
    first, joined = await asking, await second
    assert first.created.runtime.id == joined.created.runtime.id
    assert (joined.replayed, joined.created.created) == ((True, True) if key else (False, False))
    assert len(live(adapter)) == 1


@pytest.mark.parametrize("key", ["k", None])
async def test_who_waited_long_enough_is_told_to_come_back(key: str | None) -> None:
    adapter = Durable()
    scene = Scene(adapter)
    asking, go_on = await begun(scene, adapter, key=key)
    since = scene.clock.time
    error = await told(scene, errors.IdempotencyInProgress, key=key)
    assert 10.0 <= scene.clock.time - since < 10.5
    assert (error.retry_after, error.retryable) == (1.0, Retryable.SAME_REQUEST)
    assert error.extra == {"intent": scene.intent.id, "name": "box"}
    go_on.set()
    await asking


@pytest.mark.parametrize(("adapter_of", "key"), [(Durable, "k"), (Keyed, "k"), (Durable, None), (Keyed, None)])
async def test_where_a_provider_dedupes_the_lost_create_of_a_dead_holder_is_sent_again(
    adapter_of: Adapter, key: str | None
) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    adapter.lost.append(LOST)
    scene.store_fails("move")
    await told(scene, OutcomeUnknown, key=key)
    scene.on_store = None
    assert scene.intent.state is IntentState.OPEN
    assert scene.intent.lease_until is not None
    scene.clock.time = scene.intent.lease_until + 1.0
    answer = await scene.create(key=key)
    assert live(adapter) == [answer.created.runtime.provider_id]
    assert asked(adapter) == (2 if adapter_of is Durable else 1), "a marker that is seen is proof enough"
    assert len(set(adapter.world.keys)) == 1
    assert len({wire.body for wire in adapter.sent}) == 1
    assert scene.states[0] is IntentState.DONE


@pytest.mark.parametrize("age", [0.0, REPLAY_AGE + 1.0])
async def test_where_nothing_dedupes_a_lost_create_is_looked_for_and_never_sent_again(age: float) -> None:
    adapter = Plain()
    scene = await lost(adapter, made=False)
    scene.clock.time += age
    error = await told(scene, OutcomeUnknown)
    assert error.extra == {"intent": scene.intent.id, "name": "box", "idempotency_key": "k"}
    assert asked(adapter) == 1
    adapter.put("box", State.RUNNING)
    answer = await scene.create(key="k")
    assert (answer.created.created, answer.created.runtime.adopted) == (True, True)
    assert (asked(adapter), scene.intent.reason) == (1, "adopted")


async def test_a_look_that_takes_long_finds_what_a_quick_one_finds() -> None:
    """The provider's clock goes on while it looks."""
    adapter = Plain()
    scene = await lost(adapter, made=False)
    there = adapter.put("box", State.RUNNING, created_at="1970-01-01T00:16:41Z")  # a second after the send
    scene.clock.time += 3.0

    async def slow() -> None:
        scene.clock.time += 8.0
        adapter.world.calls[-1].provider_date = "Thu, 01 Jan 1970 00:16:51 GMT"

    adapter.world.before["find"] = slow
    answer = await scene.create(key="k")
    assert answer.created.runtime.id == there.id


@pytest.mark.parametrize("adapter_of", [Durable, Keyed])
async def test_after_an_hour_or_when_the_key_is_forgotten_nothing_is_sent_again(adapter_of: Adapter) -> None:
    class Forgetful(adapter_of):  # type: ignore[misc, valid-type]
        idempotency_key_ttl = 600.0

    for adapter, age in ((adapter_of(), REPLAY_AGE), (Forgetful(), 600.0)):
        scene = await lost(adapter, made=False)
        scene.clock.time += age + 1.0
        await told(scene, OutcomeUnknown)
        assert (asked(adapter), scene.intent.state) == (1, IntentState.UNKNOWN)
    scene = await lost(adapter_of(), made=False)
    scene.clock.time += REPLAY_AGE
    assert (await scene.create(key="k")).created.created


async def test_an_unknown_create_that_somebody_settles_is_waited_for() -> None:
    adapter = Durable()
    scene = await lost(adapter, made=False)
    scene.clock.time += 2.0
    assert await scene.store.claim_due("settler", 100.0, 1)
    error = await told(scene, errors.IdempotencyInProgress)
    assert error.extra["intent"] == scene.intent.id
    assert asked(adapter) == 1


async def test_by_name_an_unknown_create_is_settled_for_who_asks_for_the_name() -> None:
    adapter = Plain()
    scene = await lost(adapter, made=True)
    answer = await scene.create(key=None)
    assert (answer.created.created, live(adapter)) == (False, [answer.created.runtime.provider_id])
    error = await lost(Plain(), made=False)
    other = await told(error, OutcomeUnknown, key=None)
    assert "idempotency_key" not in other.extra, "it is another caller's"


async def waited_out(scene: Scene) -> None:
    while scene.intent.state is IntentState.UNKNOWN:
        await scene.settle(after=W)
    assert scene.intent.state is IntentState.ABSENT


async def test_after_absent_the_same_key_sends_the_same_bytes_under_the_same_key_in_its_row() -> None:
    adapter = Plain()
    scene = await lost(adapter, made=False)
    await waited_out(scene)
    answer = await scene.create(key="k")
    assert (answer.created.created, live(adapter)) == (True, [answer.created.runtime.provider_id])
    assert (scene.intent.epoch, scene.intent.generation) == (2, 0)
    assert len(set(adapter.world.keys)) == 1
    assert len({wire.body for wire in adapter.sent}) == 1


@pytest.mark.parametrize("key", ["other", None])
async def test_after_absent_another_caller_takes_the_name_over_with_the_same_provider_key(key: str | None) -> None:
    adapter = Plain()
    scene = await lost(adapter, made=False)
    old = scene.intent
    await waited_out(scene)
    answer = await scene.create(key=key, principal="bob")
    assert (answer.created.created, asked(adapter)) == (True, 2)
    assert len(set(adapter.world.keys)) == 1
    first, second = scene.rows.intents.values()
    assert (first.id, first.state, first.superseded_by) == (old.id, IntentState.ABSENT, second.id)
    assert (second.generation, second.provider_key) == (0, first.provider_key)


async def test_after_absent_what_turned_up_is_taken_for_the_create_and_nothing_is_sent() -> None:
    adapter = Plain()
    scene = await lost(adapter, made=False)
    await waited_out(scene)
    late = adapter.put("box", State.RUNNING)
    answer = await scene.create(key="k")
    assert (answer.created.created, answer.created.runtime.provider_id) == (True, late.provider_id)
    assert asked(adapter) == 1


@pytest.mark.parametrize("adapter_of", ALL)
async def test_after_refused_the_same_key_is_a_new_attempt_with_a_new_key_for_the_provider(adapter_of: Adapter) -> None:
    adapter = adapter_of()
    adapter.world.fail("create", said(400, errors.InvalidRequest))
    scene = Scene(adapter)
    await told(scene, errors.InvalidRequest)
    assert scene.intent.generation == 0
    answer = await scene.create(key="k")
    assert answer.created.created
    assert (scene.intent.generation, scene.intent.epoch, len(set(adapter.world.keys))) == (1, 2, 2)
    assert len(scene.intent.attempts) == 1


async def test_after_refused_the_name_may_be_somebody_elses_by_now() -> None:
    adapter = Durable()
    adapter.world.fail("create", said(400, errors.InvalidRequest))
    scene = Scene(adapter)
    await told(scene, errors.InvalidRequest)
    asking, go_on = await begun(scene, adapter, key="other")
    joining = asyncio.create_task(scene.create(key="k"))
    await asyncio.sleep(0)
    go_on.set()
    assert (await asking).created.created
    assert not (await joining).created.created
    assert len(live(adapter)) == 1


@pytest.mark.parametrize("key", ["k", None])
async def test_what_is_parked_is_for_a_person(key: str | None) -> None:
    adapter = Plain()
    scene = await lost(adapter, made=False)
    scene.clock.time += 2.0
    intent = await parked(scene)
    error = await told(scene, OutcomeUnknown, key=key)
    assert (error.retryable, error.extra["intent"]) == (Retryable.NO, intent.id)
    assert asked(adapter) == 1


@pytest.mark.parametrize("decision", Decision)
async def test_what_a_person_decided_is_the_answer(decision: Decision) -> None:
    adapter = Plain()
    scene = await lost(adapter, made=True)
    scene.clock.time += 2.0
    (runtime_id,) = live(adapter)
    intent = await parked(scene)
    if decision is Decision.ABSENT:
        adapter.world.runtimes.clear()
    made = runtime_id if decision is Decision.MADE else None
    await scene.store.decide(Version.of(intent), decision, "olga", runtime_id=made)
    answer = await scene.create(key="k")
    assert answer.created.created
    assert (asked(adapter), len(live(adapter))) == ((1, 1) if made else (2, 1))


async def test_a_done_create_that_was_never_answered_is_answered_from_the_runtime_and_then_for_good() -> None:
    adapter = Durable()
    scene = await lost(adapter, made=True)
    await scene.settle(after=2.0)
    assert (scene.intent.state, scene.intent.outcome) == (IntentState.DONE, None)
    (runtime_id,) = live(adapter)
    adapter.move(runtime_id, State.PAUSED)
    rebuilt = await scene.create(key="k")
    assert (rebuilt.replayed, rebuilt.created.created) == (True, True)
    assert rebuilt.created.runtime.state is State.PAUSED
    adapter.move(runtime_id, State.RUNNING)
    reads = asked(adapter, "get")
    again = await scene.create(key="k")
    assert (again.created, asked(adapter, "get")) == (rebuilt.created, reads)


async def test_a_start_that_nobody_lived_to_ask_for_is_asked_for_by_the_replay() -> None:
    """The holder died between the create, which is on disk, and the start."""
    adapter = Durable()
    scene = Scene(adapter)
    starting = asyncio.Event()

    async def die() -> None:
        del adapter.world.before["start"]
        starting.set()
        await asyncio.Event().wait()

    adapter.world.before["start"] = die
    asking = asyncio.create_task(scene.create(key="k", start=True))
    await starting.wait()
    asking.cancel()
    await scene.intents.drain()
    assert (scene.intent.state, scene.intent.outcome) == (IntentState.DONE, None)
    answer = await scene.create(key="k", start=True)
    assert (answer.replayed, answer.created.runtime.state) == (True, State.RUNNING)
    assert (asked(adapter), len(live(adapter))) == (1, 1)


async def test_without_its_sealing_key_no_request_is_taken_for_another() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    await scene.create(key="k")
    scene.restart(payloads=PayloadSealer(Keyring([new_key()])))
    error = await told(scene, OutcomeUnknown)
    assert error.retryable is Retryable.NO
    assert asked(adapter) == 1


async def test_a_create_of_a_name_that_is_done_by_now_asks_the_provider_anew() -> None:
    """Its runtime may have ended."""
    adapter = Plain()
    scene = Scene(adapter)
    first = await scene.create()
    assert not (await scene.create()).created.created
    adapter.move(first.created.runtime.provider_id, State.STOPPED)
    assert (await scene.create()).created.created
    assert len(live(adapter)) == 1


async def test_who_waited_for_a_name_hears_how_its_runtime_differs() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    asking, go_on = await begun(scene, adapter, key=None)
    second = asyncio.create_task(scene.create(if_exists="fail"))
    await asyncio.sleep(0)
    go_on.set()
    await asking
    with pytest.raises(errors.AlreadyExists):
        await second
    assert len(live(adapter)) == 1
