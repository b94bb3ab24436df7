"""What the reconciler makes of creates that no caller waits for."""

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
from tests.unit.services.intents.scene import LOST, Durable, Failure, Keyed, Plain, Scene, W, asked, live, said

Adapter = type[Durable | Plain | Keyed]
AWAY = said(503, errors.ProviderUnavailable)
GARBAGE = said(201, OutcomeUnknown)


async def lost(adapter: Durable | Plain | Keyed, *, made: bool, failure: Failure = LOST, **options: Any) -> Scene:
    """A create whose answer was lost; ``made``: it was carried out."""
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
    """Let the reconciler work until nothing is unknown; how many seconds that took."""
    since = scene.clock.time
    while scene.intent.state is IntentState.UNKNOWN:
        assert scene.intent.due_at is not None
        assert scene.clock.time - since < 2 * GIVE_UP
        scene.clock.time = max(scene.clock.time, scene.intent.due_at)
        await scene.reconciler.settle_due()
    return scene.clock.time - since


@pytest.mark.parametrize("made", [True, False])
async def test_what_is_free_is_sent_again_and_makes_one_runtime(made: bool) -> None:
    adapter = Durable()
    scene = await lost(adapter, made=made)
    await scene.settle(after=2.0)
    assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(adapter))
    assert (asked(adapter), asked(adapter, "find")) == (2, 0)
    assert len(set(adapter.world.keys)) == len({wire.body for wire in adapter.sent}) == 1
    assert scene.heard.told[-1] == ("settled", IntentState.DONE, False)


@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
async def test_lines_of_settling_have_the_id_that_the_provider_receives(adapter_of: Adapter) -> None:
    adapter = adapter_of()
    scene = await lost(adapter, made=True)
    before = len(adapter.world.calls)
    await scene.settle(after=2.0)
    ids = adapter.world.logged_ids[before:]
    assert ids == [call.request_id for call in adapter.world.calls[before:]]
    assert ids
    assert all(one is not None and one.startswith("settle-") for one in ids)


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
@pytest.mark.parametrize("made", [True, False])
async def test_what_costs_is_only_looked_for(adapter_of: Adapter, made: bool) -> None:
    """Case 16."""
    adapter = adapter_of()
    scene = await lost(adapter, made=made)
    took = await until_settled(scene)
    assert asked(adapter) == 1
    if made:
        assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(adapter))
        assert scene.intent.reason == ("adopted" if adapter_of is Plain else None)
        assert scene.heard.told[-1] == ("settled", IntentState.DONE, True)
    else:
        assert (scene.intent.state, scene.intent.reason) == (IntentState.ABSENT, "waited_out")
        assert W < took < W + 2.0
        assert len(scene.intent.looks) >= 2
        (attempt,) = scene.intent.attempts
        assert attempt.last_send is not None
        assert scene.intent.looks[-1].at > attempt.last_send + W


async def test_one_look_is_not_enough_however_late_it_is() -> None:
    adapter = Plain()
    scene = await lost(adapter, made=False)
    looks = asked(adapter, "find")
    await scene.settle(after=2 * W)
    assert (scene.intent.state, len(scene.intent.looks)) == (IntentState.UNKNOWN, 1)
    await scene.settle()
    assert scene.intent.state is IntentState.ABSENT
    assert asked(adapter, "find") == looks + 2


async def test_a_provider_that_cannot_be_asked_proves_nothing() -> None:
    adapter = Plain()
    scene = await lost(adapter, made=False)
    for _ in range(5):
        adapter.world.fail("find", AWAY)
        await scene.settle(after=W)
        assert (scene.intent.state, scene.intent.looks) == (IntentState.UNKNOWN, ())
        assert scene.intent.due_at == scene.clock.time + 5.0
        assert scene.intent.lease_until is None
    await until_settled(scene)
    assert scene.intent.state is IntentState.ABSENT


async def test_what_is_free_and_cannot_be_sent_stays_unknown() -> None:
    adapter = Durable()
    scene = await lost(adapter, made=True)
    for failure in (said(401, errors.ProviderCredentialsRejected), said(429, errors.RateLimited), LOST):
        adapter.world.fail("create", failure)
        assert scene.intent.due_at is not None
        await scene.settle(after=scene.intent.due_at - scene.clock.time)
        assert scene.intent.state is IntentState.UNKNOWN
        assert scene.intent.due_at is not None
    assert [attempt.status for attempt in scene.intent.attempts] == [None, 401, 429, None]


async def test_what_is_free_is_not_sent_again_after_an_hour() -> None:
    adapter = Durable()
    scene = await lost(adapter, made=False)
    await scene.settle(after=REPLAY_AGE + 1.0)
    assert (asked(adapter), asked(adapter, "find")) == (1, 1)


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_what_was_made_and_is_not_found_is_for_a_person_and_not_absent(adapter_of: Adapter) -> None:
    """Case 3: something exists."""
    adapter = adapter_of()
    scene = await lost(adapter, made=False, failure=GARBAGE)
    took = await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "made_but_not_found")
    assert took > W
    assert scene.heard.told[-1] == ("parked", "made_but_not_found")


async def test_several_that_fit_are_for_a_person() -> None:
    adapter = Plain()
    scene = await lost(adapter, made=True)
    adapter.put("box", State.RUNNING)
    await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "several")


async def test_several_of_one_marker_are_one_runtime_and_a_surplus() -> None:
    adapter = Keyed()
    scene = await lost(adapter, made=True)
    second = adapter.put("box", State.RUNNING)
    adapter.markers[second.provider_id] = scene.intent.id
    await until_settled(scene)
    assert scene.intent.state is IntentState.DONE
    assert {scene.intent.runtime_id, *scene.intent.surplus} == set(live(adapter))
    assert ("surplus", scene.intent.surplus[0]) in scene.heard.told


def with_another_sealing_key(scene: Scene) -> None:
    """Lose the one that sealed everything so far."""
    sealer = Keyring([new_key()])
    scene.restart(payloads=PayloadSealer(sealer), targets=TargetResolver(scene.fleet, sealer))


@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
@pytest.mark.parametrize("made", [True, False])
async def test_without_the_sealing_key_it_is_found_by_a_look_or_left_to_a_person(
    adapter_of: Adapter, made: bool
) -> None:
    """Case 10. The namespace has the account, and still says where it went."""
    adapter = Accounted(adapter_of())
    scene = await lost(adapter, made=made)
    with_another_sealing_key(scene)
    if adapter_of is Durable:
        telling_the_time(adapter, "Thu, 01 Jan 1970 00:16:42 GMT")
    await until_settled(scene)
    assert asked(adapter) == 1
    if made:
        assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(adapter))
    else:
        assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "unreadable")


async def test_without_the_sealing_key_and_an_account_nobody_knows_where_it_went() -> None:
    adapter = Durable()
    scene = await lost(adapter, made=False)
    with_another_sealing_key(scene)
    await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "target_changed")
    assert asked(adapter) == 1


def telling_the_time(adapter: Any, date: str) -> None:
    """Let a provider say what time it is, and when what it has was made."""
    for provider_id, runtime in adapter.world.runtimes.items():
        adapter.world.runtimes[provider_id] = msgspec.structs.replace(runtime, created_at="1970-01-01T00:16:41Z")

    async def tell() -> None:
        adapter.world.calls[-1].provider_date = date

    adapter.world.before["find"] = tell


def Accounted(adapter: Any, account: str = "acc-1") -> Any:  # noqa: N802
    """Let a provider tell its account."""

    async def tell(_call: object) -> str:
        return account

    adapter.account = tell
    return adapter


@pytest.mark.parametrize("change", ["token", "account", "address", "scope", "gone"])
@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
async def test_where_the_target_is_another_one_now_nothing_is_sent_and_a_person_decides(
    adapter_of: Adapter, change: str
) -> None:
    """Case 10."""
    first = adapter_of() if change == "token" else Accounted(adapter_of())
    scene = await lost(first, made=False)
    settings = {
        "token": {"token": "another-token-1"},
        "address": {"base_url": "http://elsewhere.test"},
        "scope": {"scope": "work"},
        "gone": {"name": "other", "base_url": "http://elsewhere.test"},
    }
    now = adapter_of(**settings.get(change, {}))
    if change != "token":
        now = Accounted(now, "acc-2" if change == "account" else "acc-1")
    repoint(scene, now)
    await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "target_changed")
    assert asked(now) == 0
    assert asked(first) == 1


def repoint(scene: Scene, adapter: Any) -> None:
    """Be configured with another provider from now on."""
    fleet = Fleet([adapter], scene.clock)
    scene.adapters, scene.fleet = (adapter,), fleet
    scene.restart(fleet=fleet, targets=TargetResolver(fleet, scene.context.payloads._sealer))


async def test_a_new_name_and_a_new_token_of_the_same_account_are_the_same_target() -> None:
    scene = await lost(Accounted(Durable()), made=False)
    now = Accounted(Durable("renamed", token="another-token-1"))
    repoint(scene, now)
    await scene.settle(after=2.0)
    assert (scene.intent.state, asked(now)) == (IntentState.DONE, 1)


async def test_after_a_day_a_person_decides() -> None:
    adapter = Plain()
    scene = await lost(adapter, made=False)
    scene.clock.time += GIVE_UP
    await scene.settle(after=1.0)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "too_old")


@pytest.mark.parametrize("state", [IntentState.ABSENT, IntentState.PARKED])
@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_late_evidence_is_taken(adapter_of: Adapter, state: IntentState) -> None:
    adapter = adapter_of()
    scene = await lost(adapter, made=False, failure=LOST if state is IntentState.ABSENT else GARBAGE)
    await until_settled(scene)
    assert scene.intent.state is state
    await scene.settle(after=W)
    assert scene.intent.state is state
    late = adapter.put("box", State.RUNNING)
    if isinstance(adapter, Keyed):
        adapter.markers[late.provider_id] = scene.intent.id
    await scene.settle(after=2 * W)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, late.provider_id)
    assert scene.heard.told[-1] == ("settled", IntentState.DONE, True)


async def test_late_evidence_is_looked_for_less_and_less_often_and_for_a_day() -> None:
    adapter = Plain()
    scene = await lost(adapter, made=False)
    await until_settled(scene)
    looks, since = asked(adapter, "find"), scene.clock.time
    while (due := scene.intent.due_at) is not None:
        scene.clock.time = due
        await scene.reconciler.settle_due()
    assert GIVE_UP < scene.clock.time - since < 3 * GIVE_UP
    assert asked(adapter, "find") - looks < 15
    assert (scene.intent.state, scene.intent.request) == (IntentState.ABSENT, None)


async def test_a_second_runtime_that_shows_after_the_wait_is_a_surplus_and_nobody_stops_it() -> None:
    """Case 1: one was doubled on its way."""
    adapter = Plain()
    scene = Scene(adapter)
    answer = await scene.create(key="k")
    second = adapter.put("box", State.RUNNING)
    await scene.settle(after=W)
    assert scene.intent.runtime_id == answer.created.runtime.provider_id
    assert scene.intent.surplus == (second.provider_id,)
    assert ("surplus", second.provider_id) in scene.heard.told
    assert len(live(adapter)) == 2
    assert "stop" not in adapter.world.asked
    assert (await scene.create(key="k")).created == answer.created
    while scene.intent.due_at is not None:
        await scene.settle(after=GIVE_UP)
    assert scene.heard.told.count(("surplus", second.provider_id)) == 1


async def test_what_is_another_creates_runtime_is_no_evidence() -> None:
    adapter = Plain()
    scene = await lost(adapter, made=False)
    first = scene.intent
    await until_settled(scene)
    await scene.create(key="other")
    for _ in range(3):
        await scene.settle(after=W)
    assert scene.rows.intents[first.id].state is IntentState.ABSENT
    assert [intent.surplus for intent in scene.rows.intents.values()] == [(), ()]


async def test_a_holder_that_died_is_taken_for_having_sent_until_its_lease_ended() -> None:
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
    assert scene.clock.time > ended + W


async def test_each_due_intent_is_settled_by_one_of_two_replicas() -> None:
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
    assert asked(adapter) == 12
    assert len(live(adapter)) == 6


async def test_only_so_many_are_settled_side_by_side() -> None:
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
    """The loop ran long enough."""


async def paused(scene: Scene, times: int) -> list[float]:
    """How long the reconciler's loop paused, so many times."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        scene.clock.time += seconds
        for _ in range(20):  # what was begun goes on meanwhile
            await asyncio.sleep(0)
        if len(pauses) == times:
            raise Enough

    scene.clock.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(Enough):
        await scene.reconciler.run()
    return pauses


async def test_a_store_that_is_down_is_asked_less_and_less_often_for_days_and_is_used_again_once_it_is_back() -> None:
    adapter = Durable()
    scene = await lost(adapter, made=True)
    scene.store_fails("is_any_due")
    pauses = await paused(scene, 3_000)
    assert pauses[:7] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert set(pauses[7:]) == {60.0}
    scene.on_store = None
    assert await paused(scene, 2) == [1.0, 1.0]
    assert asked(adapter, "find") == 1


async def test_what_cannot_be_written_down_is_told_and_due_again() -> None:
    adapter = Plain()
    scene = await lost(adapter, made=True)
    scene.store_fails("record_created")
    await scene.settle(after=2.0)
    assert scene.heard.told[-1] == ("not_written", StoreUnavailable.code)
    scene.on_store = None
    await until_settled(scene)
    assert scene.intent.state is IntentState.DONE


async def test_what_is_settled_is_dropped_after_its_retention_and_what_has_a_surplus_later() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    await scene.create("one")
    await scene.create("two")
    adapter.put("two", State.RUNNING)
    adapter.world.fail("create", LOST)
    with pytest.raises(OutcomeUnknown):
        await scene.create("three")
    scene.clock.time += W
    await paused(scene, 2)
    assert len(scene.states) == 3
    scene.clock.time += CreatesSettings().retention
    await paused(scene, 2)
    assert [(intent.name, bool(intent.surplus)) for intent in scene.rows.intents.values()] == [
        ("two", True),
        ("three", False),
    ]
    scene.clock.time += SURPLUS_KEPT
    await paused(scene, 2)
    assert "two" not in {intent.name for intent in scene.rows.intents.values()}
