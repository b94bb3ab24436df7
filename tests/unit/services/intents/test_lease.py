"""Nothing goes out on a lease that may be somebody else's, and what is known of times errs on the safe side."""

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
from tests.unit.services.intents.scene import LOST, REFUSED, Durable, Keyed, Plain, Scene, asked, live, said

RULES = CreatesSettings()


def slow_once(scene: Scene, call: str, seconds: float, *, wall: bool = False, done: bool = True) -> None:
    """Let the next call of the store take so long; ``wall``: only by the wall clock. ``done``: after it happened."""

    async def wait(name: str, is_done: bool) -> None:
        if name == call and is_done is done:
            scene.on_store = None
            if wall:
                scene.clock.off += seconds
            else:
                scene.clock.time += seconds

    scene.on_store = wait


def calls_of(scene: Scene) -> list[str]:
    """The names of the store's calls from now on."""
    told: list[str] = []

    async def note(name: str, is_done: bool) -> None:
        if not is_done:
            told.append(name)

    scene.on_store = note
    return told


@pytest.mark.parametrize("seconds", [0.0, 4.9, -4.9])
async def test_a_fresh_word_of_the_store_is_enough_to_send(seconds: float) -> None:
    scene = Scene(Durable())
    scene.clock.off = 100.0
    told = calls_of(scene)
    scene.clock.off += seconds
    assert (await scene.create()).created.created
    assert told == ["begin", "record_created"]


@pytest.mark.parametrize(("seconds", "wall"), [(5.0, False), (100.0, False), (5.0, True), (-3600.0, True)])
async def test_a_word_that_is_old_by_either_clock_is_asked_for_again_before_anything_is_sent(
    seconds: float, wall: bool
) -> None:
    """A suspended machine does not count on the one clock, a wrong one jumps on the other."""
    adapter = Durable()
    scene = Scene(adapter)
    told: list[str] = []

    async def on_store(name: str, done: bool) -> None:
        if done:
            told.append(name)
        if (name, done) == ("begin", True):
            if wall:
                scene.clock.off += seconds
            else:
                scene.clock.time += seconds

    scene.on_store = on_store
    assert (await scene.create()).created.created
    assert told == ["begin", "update", "record_created"]
    assert asked(adapter) == 1


async def test_where_the_store_is_too_slow_to_be_fresh_nothing_is_sent() -> None:
    adapter = Durable()
    scene = Scene(adapter)

    async def slow(name: str, done: bool) -> None:
        scene.clock.time += 6.0 if done and name in {"begin", "update"} else 0.0

    scene.on_store = slow
    with pytest.raises(Overloaded, match="nothing was sent"):
        await scene.create(key="k")
    assert (asked(adapter), scene.intent.state) == (0, IntentState.REFUSED)


async def test_a_lease_that_was_lost_sends_nothing() -> None:
    adapter = Durable()
    scene = Scene(adapter)

    async def frozen(name: str, done: bool) -> None:
        if (name, done) == ("begin", True):
            scene.on_store = None
            scene.clock.time += 1_000.0
            intent = scene.intent
            await scene.store.move(Version.of(intent), IntentState.UNKNOWN, Actor.ANYONE, "another")

    scene.on_store = frozen
    with pytest.raises(IdempotencyInProgress):
        await scene.create(key="k")
    assert (asked(adapter), scene.intent.state) == (0, IntentState.UNKNOWN)


async def test_the_lease_is_as_long_as_a_turn_may_take() -> None:
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
@pytest.mark.parametrize("off", [0.0, 60.0, -60.0])
async def test_what_is_kept_of_a_send_is_by_the_databases_clock_never_too_short(off: float, done: bool) -> None:
    """The answer of a slow store may come long after the moment that it tells, or that moment long after the question:
    the first send may have been later than is kept, and the last one earlier, but not the other way round."""
    adapter = Plain()
    scene = Scene(adapter, database_off=off)
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
        (said(500, ProviderError), "answered", 500, None),
        (said(201, OutcomeUnknown), "answered", 201, True),
        (LOST, "sent", None, None),
    ],
)
async def test_what_is_known_of_the_answer_is_kept(
    failure: Exception, phase: str, status: int | None, made: bool | None
) -> None:
    adapter = Durable()
    adapter.lost.append(failure)  # type: ignore[arg-type]
    scene = Scene(adapter)
    with pytest.raises(OutcomeUnknown):
        await scene.create()
    (attempt,) = scene.intent.attempts
    assert (attempt.phase, attempt.status, attempt.made) == (phase, status, made)


async def test_the_answer_is_given_although_the_store_fails_after_it_and_settled_later() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    scene.store_fails("record_created")
    answer = await scene.create(key="k")
    assert answer.created.created
    assert scene.intent.state is IntentState.OPEN
    assert scene.heard.told == [("not_written", "store_unavailable")]
    scene.on_store = None
    assert scene.intent.lease_until is not None
    await scene.settle(after=scene.intent.lease_until - scene.clock.time + 1.0)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, answer.created.runtime.provider_id)
    again = await scene.create(key="k")
    assert (again.replayed, again.created.runtime.id) == (True, answer.created.runtime.id)
    assert len(live(adapter)) == 1


async def test_a_refusal_is_told_although_it_cannot_be_written_down() -> None:
    adapter = Durable()
    adapter.world.fail("create", REFUSED)
    scene = Scene(adapter)
    scene.store_fails("move")
    with pytest.raises(ProviderUnavailable):
        await scene.create()
    assert scene.intent.state is IntentState.OPEN
    assert ("not_written", "store_unavailable") in scene.heard.told


async def test_without_a_store_nothing_is_sent() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    for done in (False, True):
        scene.store_fails("begin", done=done)
        with pytest.raises(StoreUnavailable):
            await scene.create(key=f"k-{done}")
    assert asked(adapter) == 0


@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
async def test_a_create_that_is_cut_off_while_it_is_sent_is_unknown_and_free_at_once(
    adapter_of: type[Durable | Plain | Keyed],
) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    sending = asyncio.Event()

    async def hang() -> None:
        sending.set()
        await asyncio.Event().wait()

    adapter.world.before["create"] = hang
    asking = asyncio.create_task(scene.create(key="k"))
    await sending.wait()
    assert scene.intents.in_flight == 1
    await scene.intents.drain()
    with pytest.raises(asyncio.CancelledError):
        await asking
    intent = scene.intent
    assert (intent.state, intent.reason, intent.lease_until) == (IntentState.UNKNOWN, "cancelled", None)
    assert [attempt.made for attempt in intent.attempts] == [None]
    assert scene.intents.in_flight == 0


async def test_a_create_that_is_cut_off_before_it_is_sent_has_made_nothing() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    looking = asyncio.Event()

    async def hang() -> None:
        looking.set()
        await asyncio.Event().wait()

    adapter.world.before["find"] = hang
    asking = asyncio.create_task(scene.create(key="k"))
    await looking.wait()
    await scene.intents.drain()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (scene.intent.state, scene.intent.reason) == (IntentState.REFUSED, "cancelled")


async def test_a_caller_who_leaves_ends_nothing() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    sending, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        sending.set()
        await go_on.wait()

    adapter.world.before["create"] = hang
    asking = asyncio.create_task(scene.create(key="k"))
    await sending.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    go_on.set()
    again = await scene.create(key="k")
    assert again.replayed
    assert (scene.intent.state, asked(adapter)) == (IntentState.DONE, 1)


async def test_a_create_that_is_cut_off_before_anybody_was_asked_asks_nobody_any_more() -> None:
    """Its caller is told that nothing was done."""
    adapter = Durable()
    scene = Scene(adapter)
    looking, go_on = asyncio.Event(), asyncio.Event()

    async def hang(call: str, done: bool) -> None:
        if call == "by_key" and not done:
            looking.set()
            await go_on.wait()

    scene.on_store = hang
    asking = asyncio.create_task(scene.create(key="k"))
    await looking.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    go_on.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert (scene.intents.in_flight, asked(adapter), scene.rows.intents) == (0, 0, {})
