"""How the reconciler settles creates that no caller waits for."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.domain import errors
from gateway.domain.conclusions import GIVE_UP, REPLAY_AGE
from gateway.domain.errors import OutcomeUnknown, StoreUnavailable
from gateway.domain.intents import IntentState
from gateway.domain.values import State
from gateway.services.fleet import Fleet
from gateway.services.intents import PayloadSealer, Reconciler, TargetResolver
from gateway.services.intents.timing import SURPLUS_KEPT
from gateway.settings import CreatesSettings
from gateway.storage.sealing import Keyring, new_key
from tests.unit.services.intents.scene import (
    LOST,
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
AWAY = error_response(503, errors.ProviderUnavailable)
GARBAGE = error_response(201, OutcomeUnknown)


async def lost_create(
    adapter: Durable | Plain | Keyed, *, made: bool, failure: Failure = LOST, **options: Any
) -> Scene:
    """A create whose response was lost; ``made``: the provider executed it."""
    if made:
        adapter.lost.append(failure)
    else:
        adapter.world.fail("create", failure)
    scene = Scene(adapter, **options)
    with pytest.raises(OutcomeUnknown):
        await scene.create(key="k")
    assert scene.intent.state is IntentState.UNKNOWN
    return scene


async def until_settled(scene: Scene) -> float:
    """Run the reconciler until the intent is not unknown. Return the seconds that this took."""
    since = scene.clock.time
    while scene.intent.state is IntentState.UNKNOWN:
        assert scene.intent.due_at is not None
        assert scene.clock.time - since < 2 * GIVE_UP
        scene.clock.time = max(scene.clock.time, scene.intent.due_at)
        await scene.reconciler.settle_due()
    return scene.clock.time - since


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
async def test_log_lines_of_settling_have_the_request_id_that_the_provider_receives(adapter_of: Adapter) -> None:
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
async def test_create_that_costs_money_is_only_looked_up(adapter_of: Adapter, made: bool) -> None:
    """See docs/fault-cases.md#case-16."""
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
async def test_create_that_made_something_and_is_not_found_is_parked(adapter_of: Adapter) -> None:
    """The response proved that something exists, so it is not absent. See docs/fault-cases.md#case-3."""
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


def replace_sealing_key(scene: Scene) -> None:
    """Restart the gateway with another sealing key, without the previous one."""
    sealer = Keyring([new_key()])
    scene.restart(payloads=PayloadSealer(sealer), targets=TargetResolver(scene.fleet, sealer))


@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
@pytest.mark.parametrize("made", [True, False])
async def test_create_without_its_sealing_key_is_found_by_look_up_or_parked(adapter_of: Adapter, made: bool) -> None:
    """The namespace has the account, so the target is still known. See docs/fault-cases.md#case-10."""
    adapter = with_account(adapter_of())
    scene = await lost_create(adapter, made=made)
    replace_sealing_key(scene)
    if adapter_of is Durable:
        report_times(adapter, "Thu, 01 Jan 1970 00:16:42 GMT")
    await until_settled(scene)
    assert call_count(adapter) == 1
    if made:
        assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(adapter))
    else:
        assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "unreadable")


async def test_create_without_its_sealing_key_and_an_account_is_parked() -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=False)
    replace_sealing_key(scene)
    await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "target_changed")
    assert call_count(adapter) == 1


def report_times(adapter: Any, date: str) -> None:
    """Make a provider report its time, and the times at which its runtimes were made."""
    for provider_id, runtime in adapter.world.runtimes.items():
        adapter.world.runtimes[provider_id] = msgspec.structs.replace(runtime, created_at="1970-01-01T00:16:41Z")

    async def tell() -> None:
        adapter.world.calls[-1].provider_date = date

    adapter.world.before["find"] = tell


def with_account(adapter: Any, account: str = "acc-1") -> Any:
    """Make a provider return its account."""

    async def tell(_call: object) -> str:
        return account

    adapter.account = tell
    return adapter


@pytest.mark.parametrize("change", ["token", "account", "address", "scope", "gone"])
@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
async def test_changed_target_sends_nothing_and_parks_the_create(adapter_of: Adapter, change: str) -> None:
    """See docs/fault-cases.md#case-10."""
    first = adapter_of() if change == "token" else with_account(adapter_of())
    scene = await lost_create(first, made=False)
    settings = {
        "token": {"token": "another-token-1"},
        "address": {"base_url": "http://elsewhere.test"},
        "scope": {"scope": "work"},
        "gone": {"name": "other", "base_url": "http://elsewhere.test"},
    }
    now = adapter_of(**settings.get(change, {}))
    if change != "token":
        now = with_account(now, "acc-2" if change == "account" else "acc-1")
    reconfigure(scene, now)
    await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "target_changed")
    assert call_count(now) == 0
    assert call_count(first) == 1


def reconfigure(scene: Scene, adapter: Any) -> None:
    """Restart the gateway with another provider."""
    fleet = Fleet([adapter], scene.clock)
    scene.adapters, scene.fleet = (adapter,), fleet
    scene.restart(fleet=fleet, targets=TargetResolver(fleet, scene.sealer))


async def test_new_name_and_token_of_the_same_account_are_the_same_target() -> None:
    scene = await lost_create(with_account(Durable()), made=False)
    now = with_account(Durable("renamed", token="another-token-1"))
    reconfigure(scene, now)
    await scene.settle(after=2.0)
    assert (scene.intent.state, call_count(now)) == (IntentState.DONE, 1)


async def test_unknown_create_is_parked_after_a_day() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=False)
    scene.clock.time += GIVE_UP
    await scene.settle(after=1.0)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "too_old")


@pytest.mark.parametrize("state", [IntentState.ABSENT, IntentState.PARKED])
@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_late_evidence_is_accepted(adapter_of: Adapter, state: IntentState) -> None:
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
    """The create was duplicated in transit. See docs/fault-cases.md#case-1."""
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


async def test_each_due_intent_is_settled_by_only_one_of_two_replicas() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    adapter.world.fail("create", *[LOST] * 6)
    for number in range(6):
        with pytest.raises(OutcomeUnknown):
            await scene.create(f"box{number}")
    scene.clock.time += 2.0
    other = Reconciler(scene.context)
    await scene.reconciler.settle_due()
    await other.settle_due()
    assert set(scene.states) == {IntentState.DONE}
    assert call_count(adapter) == 12
    assert len(live(adapter)) == 6


async def test_number_of_concurrently_settled_intents_is_limited() -> None:
    adapter = Durable()
    scene = Scene(adapter, rules=CreatesSettings(settling_in_flight=2))
    adapter.world.fail("create", *[LOST] * 3)
    for number in range(3):
        with pytest.raises(OutcomeUnknown):
            await scene.create(f"box{number}")
    most = 0

    async def count() -> None:
        nonlocal most
        most = max(most, scene.reconciler.in_flight)

    adapter.world.before["create"] = count
    await scene.settle(after=2.0)
    assert (most, sorted(scene.states)) == (2, ["done", "done", "unknown"])
    assert scene.reconciler.in_flight == 0


class Enough(Exception):
    """Ends the reconciler's loop."""


async def pauses_of(scene: Scene, times: int) -> list[float]:
    """Run the reconciler's loop for this many pauses. Return their lengths in seconds."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        scene.clock.time += seconds
        for _ in range(20):  # the tasks that it started run meanwhile
            await asyncio.sleep(0)
        if len(pauses) == times:
            raise Enough

    scene.clock.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(Enough):
        await scene.reconciler.run()
    return pauses


async def test_failed_store_is_called_at_growing_intervals_for_days_and_used_again_when_it_works() -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=True)
    scene.store_fails("is_any_due")
    pauses = await pauses_of(scene, 3_000)
    assert pauses[:7] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert set(pauses[7:]) == {60.0}
    scene.on_store = None
    assert await pauses_of(scene, 2) == [1.0, 1.0]
    assert call_count(adapter, "find") == 1


async def test_result_that_cannot_be_stored_is_reported_and_due_again() -> None:
    adapter = Plain()
    scene = await lost_create(adapter, made=True)
    scene.store_fails("record_created")
    await scene.settle(after=2.0)
    assert scene.observer.events[-1] == ("not_written", StoreUnavailable.code)
    scene.on_store = None
    await until_settled(scene)
    assert scene.intent.state is IntentState.DONE


async def test_settled_intents_are_deleted_after_their_retention_and_those_with_a_surplus_later() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    await scene.create("one")
    await scene.create("two")
    adapter.put("two", State.RUNNING)
    adapter.world.fail("create", LOST)
    with pytest.raises(OutcomeUnknown):
        await scene.create("three")
    scene.clock.time += WAIT_OUT
    await pauses_of(scene, 2)
    assert len(scene.states) == 3
    scene.clock.time += CreatesSettings().retention
    await pauses_of(scene, 2)
    assert [(intent.name, bool(intent.surplus)) for intent in scene.rows.intents.values()] == [
        ("two", True),
        ("three", False),
    ]
    scene.clock.time += SURPLUS_KEPT
    await pauses_of(scene, 2)
    assert "two" not in {intent.name for intent in scene.rows.intents.values()}
