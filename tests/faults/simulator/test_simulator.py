"""The simulator itself: it runs the interleavings that it claims to, and detects gateways that break the promise."""

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
from tests.faults.simulator.invariants import Violation
from tests.faults.simulator.loop import REPLICA, Process, SimulatedLoop
from tests.faults.simulator.replica import IntentGateway, request_of
from tests.faults.simulator.scenarios import SCENARIOS, Client, Scenario
from tests.faults.simulator.search import Choices, explore, path_of, text_of
from tests.faults.simulator.world import Material, World


class CarelessGateway:
    """Writes an intent, sends the create, and writes the outcome. Each subclass has one bug; ``broken`` matches the
    violation that the bug causes."""

    broken: ClassVar[str]

    def __init__(self, material: Material) -> None:
        self.material = material
        (self.adapter,) = material.adapters

    async def create(self, client: Client) -> Created:
        intent = await self.begin(client)
        try:
            created = await self.send(client)
        except TransportFailure as failure:
            await self.failed(intent, failure)
            raise OutcomeUnknown("The outcome is unknown.") from failure
        await self.material.store.record_created(intent.id, created.runtime.provider_id)
        return created

    async def begin(self, client: Client) -> Intent:
        new = NewIntent(
            id=new_intent_id(),
            principal=client.principal,
            key=client.key,
            namespace="there",
            pinned=False,
            provider="one",
            scope="home",
            kind="browser",
            name=client.name,
            operation="create",
            digest=b"",
            digest_version="1",
            target="there",
        )
        begun = await self.material.store.begin(new, "me", 1000.0)
        if isinstance(begun, Inserted):
            return begun.intent
        if begun.intent.state is IntentState.DONE:
            raise AlreadyExists("It is done, and this gateway stores no responses.")
        raise IdempotencyInProgress("Another request is in progress.")

    async def send(self, client: Client) -> Created:
        wire = self.adapter.wire_create(request_of("browser", client.name), "home")
        deadline = self.material.clock.monotonic() + 20.0
        return await self.adapter.send_create(wire, "home", Call(deadline))

    async def failed(self, intent: Intent, failure: TransportFailure) -> None:  # noqa: ARG002 (subclasses use it)
        await self.material.store.move(Version.of(intent), IntentState.UNKNOWN, Actor.HOLDER, "me")

    async def settle(self) -> None:
        return None

    async def drain(self) -> None:
        return None


class SendsBeforeWriting(CarelessGateway):
    """Writes the intent after it sent the create."""

    broken: ClassVar[str] = r"sent a create of box; \[\]"

    async def begin(self, client: Client) -> Intent:
        await self.send(client)
        return await super().begin(client)


class ResendsAfterLostResponse(CarelessGateway):
    """Sends again after a lost response, as if the request had been lost."""

    broken: ClassVar[str] = r"sent a create of box; \['box open\(1\)'\]"

    async def send(self, client: Client) -> Created:
        try:
            return await super().send(client)
        except TransportFailure:
            return await super().send(client)


class TreatsLostResponseAsRefusal(CarelessGateway):
    """Concludes from a lost response that nothing was made."""

    broken: ClassVar[str] = r"one-0 exists, but the store has only \['box refused\(1\)'\]"

    async def failed(self, intent: Intent, failure: TransportFailure) -> None:  # noqa: ARG002 (subclasses use it)
        await self.material.store.move(Version.of(intent), IntentState.REFUSED, Actor.HOLDER, "me")


class NeverSettles(CarelessGateway):
    """Leaves the intent unknown."""

    broken: ClassVar[str] = r"left unsettled: \['box unknown\(1\)'\]"


class SendsAfterLeaseEnd(CarelessGateway):
    """Sends without checking that its lease has not ended."""

    broken: ClassVar[str] = r"after its lease had ended|sent a create of box; \['box unknown\(1\)'\]"

    async def begin(self, client: Client) -> Intent:
        intent = await super().begin(client)
        version = Version.of(intent)
        await self.material.store.update(version, "me", lease=10.0)
        await self.material.store.update(version, "me", lease=10.0)
        return intent

    async def failed(self, intent: Intent, failure: TransportFailure) -> None:
        if failure.phase is Phase.SENT:
            await super().failed(intent, failure)

    async def settle(self) -> None:
        while True:
            for intent in await self.material.store.claim_due("settler", 1.0, 9):
                await self.material.store.move(Version.of(intent), IntentState.UNKNOWN, Actor.ANYONE, "settler")
            await self.material.clock.sleep(5.0)


class ReturnsAnotherRuntime(CarelessGateway):
    """Returns a runtime that does not exist."""

    broken: ClassVar[str] = "a client received one-99 as box, whose name is"

    async def create(self, client: Client) -> Created:
        created = await super().create(client)
        return Created(msgspec.structs.replace(created.runtime, provider_id="one-99"), created=True)


class BelievesAnotherAnswer(CarelessGateway):
    """Takes the response of another create for its own."""

    broken: ClassVar[str] = r"a client received one-theirs as theirs, whose name is \[\]"


class BelievesAnotherName(CarelessGateway):
    """Takes a response with another name for its own."""

    broken: ClassVar[str] = r"a client received one-0 as theirs, whose name is \['box'\]"


_CARELESS = [
    SendsBeforeWriting,
    ResendsAfterLostResponse,
    TreatsLostResponseAsRefusal,
    NeverSettles,
    SendsAfterLeaseEnd,
    ReturnsAnotherRuntime,
    BelievesAnotherAnswer,
    BelievesAnotherName,
]


@pytest.mark.parametrize("gateway", _CARELESS)
def test_careless_gateway_violates_its_invariant_and_again_when_replayed(gateway: type[CarelessGateway]) -> None:
    """Without this test, an invariant that never fails would go unnoticed."""
    scenario = Scenario("careless", [Deduplication.NONE], [Client("box", key="k")])
    broken = []

    def run(choices: Choices) -> None:
        try:
            World(scenario, choices, gateway).run()
        except Violation as violation:
            if re.search(gateway.broken, str(violation)):
                broken.append(choices.shortest_path())

    explore(run, runs=200, walks=0, seed=1)
    assert broken
    with pytest.raises(Violation, match=gateway.broken):
        World(scenario, Choices(path_of(text_of(broken[0]))), gateway).run()


def test_same_path_repeats_the_same_run_step_by_step() -> None:
    for title in ("none, one key", "by_key, one name"):
        traces = set()
        for _ in range(3):
            world = World(SCENARIOS[title], Choices((0, 1, 0, 0, 0, 2, 0, 1)), IntentGateway)
            world.run()
            traces.add("\n".join(world.scheduler.trace))
        assert len(traces) == 1


def test_all_paths_with_few_deviations_are_run_once() -> None:
    """With four choices of three options each there are eight paths with one deviation, and 24 with two."""
    taken = []

    def run(choices: Choices) -> None:
        taken.append(tuple(choices.choose(3) for _ in range(4)))

    explored = explore(run, runs=33, walks=0, seed=5)
    assert explored.by_deviations == {0: 1, 1: 8, 2: 24}
    assert explored.complete == 2
    expected = [path for path in product(range(3), repeat=4) if sum(1 for chosen in path if chosen) <= 2]
    assert sorted(taken) == sorted(expected)


def test_paths_are_sampled_by_the_seed_when_not_all_can_be_run() -> None:
    """No path is repeated. Walks are additional, and equal walks count once."""

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


def test_timers_fire_in_order_later_for_a_stopped_process_and_never_for_a_dead_one() -> None:
    loop, notes = SimulatedLoop(), list[str]()
    stopped, dead = Process("stopped"), Process("dead")
    with loop.running():
        for what, seconds, process in (
            ("late", 5.0, None),
            ("stopped", 1.0, stopped),
            ("dead", 1.0, dead),
            ("early", 2.0, None),
        ):
            token = REPLICA.set(process) if process else None
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
    assert not loop.unhandled


def test_timeouts_and_shields_work_on_the_simulated_clock() -> None:
    """The code under test uses both."""
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
