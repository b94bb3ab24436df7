"""Settling continues until a create is settled or given up: failures do not end it, and repeated work is bounded."""

import asyncio

import pytest
from msgspec import structs

from gateway.domain.conclusions import GIVE_UP
from gateway.domain.errors import AlreadyExists, OutcomeUnknown, PermissionDenied, ProviderError
from gateway.domain.intents import Intent, IntentState
from gateway.ports.sealing import Cell, Unreadable
from gateway.services.intents import PayloadSealer
from gateway.storage.sealing import Keyring, new_key
from tests.contract.store.subject import create, identity
from tests.unit.services.intents.scene import LOST, WAIT_OUT, Durable, Plain, Scene, call_count, error_response

INTENT = Intent(
    **identity(create()),
    state=IntentState.DONE,
    epoch=1,
    holder=None,
    lease_until=None,
    due_at=None,
    attempts=(),
    looks=(),
    created_at=1.0,
    updated_at=1.0,
)
GARBAGE = error_response(201, OutcomeUnknown)
FAILED = error_response(500, ProviderError)


async def test_parked_create_is_looked_up_for_a_day_and_then_given_up() -> None:
    adapter = Plain()
    adapter.world.fail("create", GARBAGE)
    scene = Scene(adapter)
    with pytest.raises(OutcomeUnknown):
        await scene.create(key="k")
    began, looks = scene.clock.time, 0
    while scene.intent.due_at is not None:
        scene.clock.time = max(scene.clock.time, scene.intent.due_at)
        looks = call_count(adapter, "find")
        await scene.settle()
        assert scene.clock.time - began < 3 * GIVE_UP
    assert scene.intent.state is IntentState.PARKED
    assert scene.clock.time - began > GIVE_UP
    assert looks < 50
    assert scene.intent.request is None


async def test_replays_are_not_counted_as_look_ups_and_are_sent_at_growing_intervals() -> None:
    adapter = Durable()
    adapter.world.fail("create", LOST, *[FAILED] * 4)
    scene = Scene(adapter)
    with pytest.raises(OutcomeUnknown):
        await scene.create(key="k")
    pauses = []
    for _ in range(4):
        assert scene.intent.due_at is not None
        pauses.append(scene.intent.due_at - scene.clock.time)
        scene.clock.time = scene.intent.due_at
        await scene.settle()
    assert pauses == [2.0, 4.0, 8.0, 16.0]
    assert scene.intent.looks == ()
    assert len(scene.intent.attempts) == 5


async def test_first_send_is_kept_when_the_list_of_attempts_is_full() -> None:
    adapter = Durable()
    adapter.world.fail("create", LOST, *[FAILED] * 100)
    scene = Scene(adapter)
    with pytest.raises(OutcomeUnknown):
        await scene.create(key="k")
    (first,) = scene.intent.attempts
    for _ in range(60):
        scene.clock.time += 20.0
        with pytest.raises(OutcomeUnknown):
            await scene.create(key="k")
    assert scene.intent.attempts[0] == first
    assert len(scene.intent.attempts) <= 52


async def test_unexpected_failure_of_one_create_is_reported_and_the_others_are_settled() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    for name in ("bad", "good"):
        adapter.lost.append(LOST)
        with pytest.raises(OutcomeUnknown):
            await scene.create(name)
    find = adapter.find

    async def find_or_fail(scope: str, name: str, call: object) -> object:
        if name == "bad":
            raise ZeroDivisionError
        return await find(scope, name, call)  # type: ignore[arg-type]

    adapter.find = find_or_fail  # type: ignore[assignment,method-assign]
    await scene.settle(after=2.0)
    assert scene.states == [IntentState.UNKNOWN, IntentState.DONE]
    assert ("failed", ZeroDivisionError) in scene.observer.events
    adapter.find = find  # type: ignore[method-assign]
    await scene.settle(after=WAIT_OUT)
    assert scene.states == [IntentState.DONE, IntentState.DONE]


async def test_unexpected_failure_of_the_store_does_not_end_settling() -> None:
    adapter = Durable()
    adapter.lost.append(LOST)
    scene = Scene(adapter)
    with pytest.raises(OutcomeUnknown):
        await scene.create()
    failures = 0

    async def fail_twice(call: str, done: bool) -> None:
        nonlocal failures
        if call == "is_any_due" and not done and failures < 2:
            failures += 1
            raise ZeroDivisionError

    scene.on_store = fail_twice
    running = asyncio.create_task(scene.reconciler.run())
    for _ in range(200):
        await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert scene.observer.events.count(("failed", ZeroDivisionError)) == 2
    assert scene.intent.state is IntentState.DONE


async def test_proof_is_stored_although_its_create_is_cancelled_meanwhile() -> None:
    """A known id must not be lost, because a look-up may not find the runtime again."""
    adapter = Plain()
    scene = Scene(adapter)
    reached = asyncio.Event()

    async def hold(call: str, done: bool) -> None:
        if call == "record_created" and not done:
            reached.set()
            for _ in range(10):
                await asyncio.sleep(0)

    scene.on_store = hold
    creating = asyncio.create_task(scene.create(key="k"))
    await reached.wait()
    await scene.intents.drain()
    await asyncio.gather(creating, return_exceptions=True)
    for _ in range(20):
        await asyncio.sleep(0)
    (made,) = adapter.world.runtimes
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, made)


async def test_native_runtime_made_right_before_a_failover_is_not_the_own_one() -> None:
    """A refused send has made nothing, so a runtime that is younger than only that send was made by others."""
    one, two = Durable("one"), Durable("two", order=2)
    scene = Scene(one, two)
    one.world.fail("create", error_response(403, PermissionDenied))

    async def native() -> None:
        two.put("box")
        two.world.fail("create", error_response(409, AlreadyExists, provider="two"))

    two.world.before["create"] = native
    with pytest.raises(AlreadyExists):
        await scene.create(key="k")
    assert scene.intent.state is IntentState.REFUSED


def test_stored_response_of_another_version_is_unreadable() -> None:
    sealer = Keyring([new_key()])
    intent = structs.replace(INTENT, outcome=sealer.seal(b'{"runtime": 1}', Cell("intents", INTENT.id, "outcome")))
    with pytest.raises(Unreadable):
        PayloadSealer(sealer).outcome(intent)
