"""The simulator itself: it tries what it says, and a gateway that breaks the promise is found out."""

import asyncio
import re
from itertools import product
from typing import ClassVar

import msgspec
import pytest

from gateway.domain.errors import AlreadyExists, IdempotencyInProgress, OutcomeUnknown
from gateway.domain.intents import Actor, Intent, IntentState, NewIntent, new_intent_id
from gateway.ports.provider import Created, Deduplication
from gateway.ports.store import Inserted, Version
from gateway.ports.transport import Call, Phase, TransportFailure
from tests.faults.simulator.loop import REPLICA, Life, SimulatedLoop
from tests.faults.simulator.promises import Violation
from tests.faults.simulator.replica import IntentGateway, request_of
from tests.faults.simulator.scenarios import SCENARIOS
from tests.faults.simulator.search import Choices, explore, path_of, text_of
from tests.faults.simulator.world import Ask, Material, Scenario, World


class CarelessGateway:
    """Writes a create down, sends it, and writes down what came of it; each subclass gets one thing wrong."""

    broken: ClassVar[str]

    def __init__(self, made: Material) -> None:
        self.made = made
        (self.adapter,) = made.adapters

    async def create(self, ask: Ask) -> Created:
        intent = await self.begin(ask)
        try:
            created = await self.send(ask)
        except TransportFailure as failure:
            await self.failed(intent, failure)
            raise OutcomeUnknown("Nobody knows.") from failure
        await self.made.store.record_created(intent.id, created.runtime.provider_id)
        return created

    async def begin(self, ask: Ask) -> Intent:
        new = NewIntent(
            id=new_intent_id(),
            principal=ask.principal,
            key=ask.key,
            namespace="there",
            pinned=False,
            provider="one",
            scope="home",
            kind="browser",
            name=ask.name,
            operation="create",
            digest=b"",
            digest_version="1",
            target="there",
        )
        begun = await self.made.store.begin(new, "me", 1000.0)
        if isinstance(begun, Inserted):
            return begun.intent
        if begun.intent.state is IntentState.DONE:
            raise AlreadyExists("It is done, and this gateway keeps no answers.")
        raise IdempotencyInProgress("Somebody is at it.")

    async def send(self, ask: Ask) -> Created:
        wire = self.adapter.wire_create(request_of("browser", ask.name), "home")
        deadline = self.made.clock.monotonic() + 20.0
        return await self.adapter.send_create(wire, "home", Call(deadline))

    async def failed(self, intent: Intent, failure: TransportFailure) -> None:  # noqa: ARG002 (others look at it)
        await self.made.store.move(Version.of(intent), IntentState.UNKNOWN, Actor.HOLDER, "me")

    async def settle(self) -> None:
        return None

    async def drain(self) -> None:
        return None


class SendsFirst(CarelessGateway):
    """Writes down afterwards what it did."""

    broken: ClassVar[str] = r"sent a create of box; \[\]"

    async def begin(self, ask: Ask) -> Intent:
        await self.send(ask)
        return await super().begin(ask)


class SendsAgain(CarelessGateway):
    """Takes a lost answer for a lost request."""

    broken: ClassVar[str] = r"sent a create of box; \['box open\(1\)'\]"

    async def send(self, ask: Ask) -> Created:
        try:
            return await super().send(ask)
        except TransportFailure:
            return await super().send(ask)


class TakesSilenceForNo(CarelessGateway):
    """Concludes from a lost answer that nothing was made."""

    broken: ClassVar[str] = r"one-0 exists, and all that is known is \['box refused\(1\)'\]"

    async def failed(self, intent: Intent, failure: TransportFailure) -> None:  # noqa: ARG002 (others look at it)
        await self.made.store.move(Version.of(intent), IntentState.REFUSED, Actor.HOLDER, "me")


class NeverLooksAgain(CarelessGateway):
    """Leaves it at not knowing."""

    broken: ClassVar[str] = r"left unsettled: \['box unknown\(1\)'\]"


class SendsOnAnEndedLease(CarelessGateway):
    """Does not ask how long ago it was allowed to."""

    broken: ClassVar[str] = r"after its lease had ended|sent a create of box; \['box unknown\(1\)'\]"

    async def begin(self, ask: Ask) -> Intent:
        intent = await super().begin(ask)
        version = Version.of(intent)
        await self.made.store.update(version, "me", lease=10.0)
        await self.made.store.update(version, "me", lease=10.0)
        return intent

    async def failed(self, intent: Intent, failure: TransportFailure) -> None:
        if failure.phase is Phase.SENT:
            await super().failed(intent, failure)

    async def settle(self) -> None:
        while True:
            for intent in await self.made.store.claim_due("settler", 1.0, 9):
                await self.made.store.move(Version.of(intent), IntentState.UNKNOWN, Actor.ANYONE, "settler")
            await self.made.clock.sleep(5.0)


class AnswersWithAnything(CarelessGateway):
    """Tells of a runtime that there is not."""

    broken: ClassVar[str] = "a client was told of one-99, which is"

    async def create(self, ask: Ask) -> Created:
        created = await super().create(ask)
        return Created(msgspec.structs.replace(created.runtime, provider_id="one-99"), created=True)


_CARELESS = [SendsFirst, SendsAgain, TakesSilenceForNo, NeverLooksAgain, SendsOnAnEndedLease, AnswersWithAnything]


@pytest.mark.parametrize("gateway", _CARELESS)
def test_a_gateway_that_breaks_the_promise_is_found_out(gateway: type[CarelessGateway]) -> None:
    """And breaks it again on the same path."""
    scenario = Scenario("careless", [Deduplication.NONE], [Ask("box", key="k")])
    broken = []

    def run(choices: Choices) -> None:
        try:
            World(scenario, choices, gateway).run()
        except Violation as violation:
            if re.search(gateway.broken, str(violation)):
                broken.append(choices.told())

    explore(run, runs=200, walks=0, seed=1)
    assert broken
    with pytest.raises(Violation, match=gateway.broken):
        World(scenario, Choices(path_of(text_of(broken[0]))), gateway).run()


def test_a_path_is_one_run() -> None:
    """Step by step, as often as it is taken."""
    for title in ("none, one key", "by_key, one name"):
        told = set()
        for _ in range(3):
            world = World(SCENARIOS[title], Choices((0, 1, 0, 0, 0, 2, 0, 1)), IntentGateway)
            world.run()
            told.add("\n".join(world.scheduler.trace))
        assert len(told) == 1


def test_all_paths_of_few_deviations_are_tried_once() -> None:
    """In a tree of four questions with three answers each, those of one deviation are eight, of two twenty-four."""
    taken = []

    def run(choices: Choices) -> None:
        taken.append(tuple(choices.choose(3) for _ in range(4)))

    explored = explore(run, runs=33, walks=0, seed=5)
    assert explored.by_deviations == {0: 1, 1: 8, 2: 24}
    assert explored.complete == 2
    expected = [path for path in product(range(3), repeat=4) if sum(1 for chosen in path if chosen) <= 2]
    assert sorted(taken) == sorted(expected)


def test_what_cannot_all_be_tried_is_drawn() -> None:
    """Without repeating any, by the seed; walks come on top, counted once each."""

    def tried(seed: int) -> list[tuple[int, ...]]:
        taken = []

        def run(choices: Choices) -> None:
            taken.append(tuple(choices.choose(4) for _ in range(6)))

        explored = explore(run, runs=100, walks=20, seed=seed)
        assert explored.by_deviations == {0: 1, 1: 18, 2: 81}
        assert explored.complete == 1
        assert explored.walks == len(set(taken[100:]))
        assert len(set(taken[:100])) == 100
        return taken

    assert tried(1) == tried(1) != tried(2)


async def _noting(what: str, seconds: float, notes: list[str]) -> None:
    await asyncio.sleep(seconds)
    notes.append(what)


def test_timers_come_in_their_order_and_those_of_a_stopped_process_later() -> None:
    """And those of a dead one never."""
    loop, notes = SimulatedLoop(), list[str]()
    stopped, dead = Life("stopped"), Life("dead")
    with loop.running():
        for what, seconds, life in (
            ("late", 5.0, None),
            ("stopped", 1.0, stopped),
            ("dead", 1.0, dead),
            ("early", 2.0, None),
        ):
            token = REPLICA.set(life) if life else None
            loop.create_task(_noting(what, seconds, notes))
            if token is not None:
                REPLICA.reset(token)
        loop.run_ready()
        stopped.stopped_until, dead.dead = 7.0, True
        while (moment := loop.next_timer()) is not None:
            loop.advance(moment)
        assert loop.now == 7.0
        loop.end()
    assert notes == ["early", "late", "stopped"]
    assert not loop.complaints


def test_timeouts_and_shields_work_on_the_simulated_clock() -> None:
    """As the code under test uses them."""
    loop, notes = SimulatedLoop(), list[str]()

    async def main() -> None:
        inner = asyncio.create_task(_noting("inner", 10.0, notes))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.0):
                await asyncio.shield(inner)
        notes.append(f"timed out at {asyncio.get_running_loop().time()}")
        await inner

    with loop.running():
        task = loop.create_task(main())
        loop.run_ready()
        while not task.done():
            moment = loop.next_timer()
            assert moment is not None
            loop.advance(moment)
    assert notes == ["timed out at 3.0", "inner"]
