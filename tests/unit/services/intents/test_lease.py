"""Nothing is sent on a lease that another process may hold, and recorded send times err on the safe side."""

import asyncio

import pytest

from gateway.domain.errors import (
    IdempotencyInProgress,
    OutcomeUnknown,
    Overloaded,
    ProviderError,
    ProviderUnavailable,
    StoreUnavailable,
)
from gateway.domain.intents import Actor, IntentState
from gateway.ports.store import Version
from gateway.settings import CreatesSettings
from tests.unit.services.intents.scene import (
    LOST,
    REFUSED,
    Durable,
    Keyed,
    Plain,
    Scene,
    call_count,
    error_response,
    live,
)

RULES = CreatesSettings()


def slow_once(scene: Scene, call: str, seconds: float, *, wall: bool = False, done: bool = True) -> None:
    """Make the next call of the store take ``seconds``; with ``wall``, only by the wall clock; with ``done``, after it
    took effect, else before."""

    async def wait(name: str, is_done: bool) -> None:
        if name == call and is_done is done:
            scene.on_store = None
            if wall:
                scene.clock.offset += seconds
            else:
                scene.clock.time += seconds

    scene.on_store = wait


def calls_of(scene: Scene) -> list[str]:
    """A list that receives the names of the store's calls from now on."""
    calls: list[str] = []

    async def note(name: str, is_done: bool) -> None:
        if not is_done and "spelling" not in name:
            calls.append(name)

    scene.on_store = note
    return calls


@pytest.mark.parametrize("seconds", [0.0, 4.9, -4.9])
async def test_fresh_lease_is_sufficient_to_send(seconds: float) -> None:
    scene = Scene(Durable())
    scene.clock.offset = 100.0
    calls = calls_of(scene)
    scene.clock.offset += seconds
    assert (await scene.create()).created.created
    assert calls == ["begin", "record_created"]


@pytest.mark.parametrize(("seconds", "wall"), [(5.0, False), (100.0, False), (5.0, True), (-3600.0, True)])
async def test_lease_that_is_old_by_either_clock_is_renewed_before_the_send(seconds: float, wall: bool) -> None:
    """The monotonic clock does not count the time of a suspended machine, and the wall clock may jump."""
    adapter = Durable()
    scene = Scene(adapter)
    calls: list[str] = []

    async def on_store(name: str, done: bool) -> None:
        if done and "spelling" not in name:
            calls.append(name)
        if (name, done) == ("begin", True):
            if wall:
                scene.clock.offset += seconds
            else:
                scene.clock.time += seconds

    scene.on_store = on_store
    assert (await scene.create()).created.created
    assert calls == ["begin", "update", "record_created"]
    assert call_count(adapter) == 1


async def test_nothing_is_sent_when_the_store_is_too_slow_for_a_fresh_lease() -> None:
    adapter = Durable()
    scene = Scene(adapter)

    async def slow(name: str, done: bool) -> None:
        scene.clock.time += 6.0 if done and name in {"begin", "update"} else 0.0

    scene.on_store = slow
    with pytest.raises(Overloaded, match="nothing was sent"):
        await scene.create(key="k")
    assert (call_count(adapter), scene.intent.state) == (0, IntentState.REFUSED)


async def test_nothing_is_sent_after_the_lease_was_lost() -> None:
    adapter = Durable()
    scene = Scene(adapter)

    async def suspended(name: str, done: bool) -> None:
        if (name, done) == ("begin", True):
            scene.on_store = None
            scene.clock.time += 1_000.0
            intent = scene.intent
            await scene.store.move(Version.of(intent), IntentState.UNKNOWN, Actor.ANYONE, "another")

    scene.on_store = suspended
    with pytest.raises(IdempotencyInProgress):
        await scene.create(key="k")
    assert (call_count(adapter), scene.intent.state) == (0, IntentState.UNKNOWN)


async def test_lease_is_as_long_as_an_attempt_may_take() -> None:
    scene = Scene(Durable(deadlines={"create": 70}))
    leases = []

    async def note(name: str, done: bool) -> None:
        if (name, done) == ("begin", True):
            assert scene.intent.lease_until is not None
            leases.append(scene.intent.lease_until - scene.clock.time)

    scene.on_store = note
    await scene.create()
    assert leases == [RULES.send_within + 70 + RULES.lease_margin]


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("offset", [0.0, 60.0, -60.0])
async def test_recorded_interval_of_a_send_is_by_the_databases_clock_and_never_too_short(
    offset: float, done: bool
) -> None:
    """A slow store may read its clock long before it responds, or long after it was called. So the first send may have
    been later than recorded, and the last one earlier, but not the other way round."""
    adapter = Plain()
    scene = Scene(adapter, database_offset=offset)
    slow_once(scene, "begin", 4.0, done=done)
    sends: list[float] = []

    async def sent() -> None:
        sends.append(await scene.store.now())
        scene.clock.time += 7.0

    adapter.world.before["create"] = sent
    adapter.world.fail("create", LOST)
    with pytest.raises(OutcomeUnknown):
        await scene.create(name=None)
    (attempt,) = scene.intent.attempts
    assert attempt.first_send is not None
    assert attempt.last_send is not None
    assert sends[0] - 4.0 <= attempt.first_send <= sends[0]
    assert sends[0] + 7.0 <= attempt.last_send <= sends[0] + 7.0 + 4.0
    assert (attempt.epoch, attempt.phase, attempt.status, attempt.made) == (1, "sent", None, None)


@pytest.mark.parametrize(
    ("failure", "phase", "status", "made"),
    [
        (error_response(500, ProviderError), "answered", 500, None),
        (error_response(201, OutcomeUnknown), "answered", 201, True),
        (LOST, "sent", None, None),
    ],
)
async def test_phase_status_and_proof_of_the_response_are_recorded(
    failure: Exception, phase: str, status: int | None, made: bool | None
) -> None:
    adapter = Durable()
    adapter.lost.append(failure)  # type: ignore[arg-type]
    scene = Scene(adapter)
    with pytest.raises(OutcomeUnknown):
        await scene.create()
    (attempt,) = scene.intent.attempts
    assert (attempt.phase, attempt.status, attempt.made) == (phase, status, made)


async def test_response_is_returned_although_the_store_fails_and_is_settled_later() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    scene.store_fails("record_created")
    response = await scene.create(key="k")
    assert response.created.created
    assert scene.intent.state is IntentState.OPEN
    assert scene.observer.events == [("not_written", "store_unavailable")]
    scene.on_store = None
    assert scene.intent.lease_until is not None
    await scene.settle(after=scene.intent.lease_until - scene.clock.time + 1.0)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, response.created.runtime.provider_id)
    again = await scene.create(key="k")
    assert (again.replayed, again.created.runtime.id) == (True, response.created.runtime.id)
    assert len(live(adapter)) == 1


async def test_refusal_is_returned_although_it_cannot_be_stored() -> None:
    adapter = Durable()
    adapter.world.fail("create", REFUSED)
    scene = Scene(adapter)
    scene.store_fails("move")
    with pytest.raises(ProviderUnavailable):
        await scene.create()
    assert scene.intent.state is IntentState.OPEN
    assert ("not_written", "store_unavailable") in scene.observer.events


async def test_without_a_store_nothing_is_sent() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    for done in (False, True):
        scene.store_fails("begin", done=done)
        with pytest.raises(StoreUnavailable):
            await scene.create(key=f"k-{done}")
    assert call_count(adapter) == 0


@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
async def test_create_cancelled_while_it_is_sent_is_unknown_and_has_no_lease(
    adapter_of: type[Durable | Plain | Keyed],
) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    sending = asyncio.Event()

    async def hang() -> None:
        sending.set()
        await asyncio.Event().wait()

    adapter.world.before["create"] = hang
    creating = asyncio.create_task(scene.create(key="k"))
    await sending.wait()
    assert scene.intents.in_flight == 1
    await scene.intents.drain()
    with pytest.raises(asyncio.CancelledError):
        await creating
    intent = scene.intent
    assert (intent.state, intent.reason, intent.lease_until) == (IntentState.UNKNOWN, "cancelled", None)
    assert [attempt.made for attempt in intent.attempts] == [None]
    assert scene.intents.in_flight == 0


async def test_create_cancelled_before_it_is_sent_is_refused() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    looking = asyncio.Event()

    async def hang() -> None:
        looking.set()
        await asyncio.Event().wait()

    adapter.world.before["find"] = hang
    creating = asyncio.create_task(scene.create(key="k"))
    await looking.wait()
    await scene.intents.drain()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert (scene.intent.state, scene.intent.reason) == (IntentState.REFUSED, "cancelled")


async def test_caller_that_disconnects_does_not_cancel_its_create() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    sending, proceed = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        sending.set()
        await proceed.wait()

    adapter.world.before["create"] = hang
    creating = asyncio.create_task(scene.create(key="k"))
    await sending.wait()
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    proceed.set()
    again = await scene.create(key="k")
    assert again.replayed
    assert (scene.intent.state, call_count(adapter)) == (IntentState.DONE, 1)


async def test_create_cancelled_before_the_first_store_write_sends_nothing() -> None:
    """Its caller receives an error that says that nothing was done."""
    adapter = Durable()
    scene = Scene(adapter)
    looking, proceed = asyncio.Event(), asyncio.Event()

    async def hang(call: str, done: bool) -> None:
        if call == "by_key" and not done:
            looking.set()
            await proceed.wait()

    scene.on_store = hang
    creating = asyncio.create_task(scene.create(key="k"))
    await looking.wait()
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    proceed.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert (scene.intents.in_flight, call_count(adapter), scene.rows.intents) == (0, 0, {})
