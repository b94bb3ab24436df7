"""A small world: one provider, one store, two replicas of the gateway, and clients that ask until they are answered.

Everything under test waits at the scheduler for its turn, and every step is checked against the create promise.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.domain.errors import (
    ClientError,
    GatewayError,
    IdempotencyInProgress,
    Retryable,
    StoreUnavailable,
)
from gateway.ports.clock import Clock
from gateway.ports.provider import Created, Deduplication
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.store import Store
from gateway.storage.memory import MemoryDatabase, MemoryStore
from tests.faults.simulator.loop import REPLICA, Life, SimulatedLoop
from tests.faults.simulator.promises import Ledger, Violation
from tests.faults.simulator.provider import ADAPTERS, DEADLINE, SimulatedAdapter, Upstream
from tests.faults.simulator.scheduler import GO, Budget, Scheduler, Stuck
from tests.faults.simulator.search import Choices

START: Final = 1_800_000_000.0
WAIT_OUT: Final = 60.0
SEND_WITHIN: Final = 5.0
LEASE_MARGIN: Final = 10.0
LEASE: Final = SEND_WITHIN + DEADLINE + LEASE_MARGIN
HORIZON: Final = 600.0
"""Seconds after the last client was answered and the last trouble was made; by then everything is settled."""

_SETTINGS: Final = [
    ProviderSettings.model_validate(
        {
            "name": name,
            "api": "sim",
            "base_url": f"http://{name}.test",
            "token": f"simulated-token-of-{name}",
            "scope": "home",
            "deadlines": {"create": DEADLINE, "list": 10, "get": 10},
        }
    )
    for name in ("one", "two")
]
_WRITES: Final = frozenset({"begin", "move", "update", "record_created", "claim_due", "decide"})
_PATIENCE: Final = 30.0  # seconds that a client waits for one answer
_PAUSES: Final = (1.0, 5.0, 20.0, 40.0, 60.0, 90.0, 120.0)


@dataclass(frozen=True, slots=True)
class Ask:
    """A client: what it asks for, of which replica first, and how often at most."""

    name: str
    key: str | None = None
    principal: str = "alice"
    first: int = 0
    tries: int = 7


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a world begins with, and what may happen in it.

    ``providers`` are asked in this order. ``clocks`` are how far the clocks of the database and of the two replicas are
    off. ``commits_within`` seconds a provider carries out what it was sent, and ``lag`` seconds later its lists show
    it. ``promised`` False: a second runtime may be made, and is shown. ``taken``: that name is somebody else's.
    """

    title: str
    providers: Sequence[Deduplication]
    asks: Sequence[Ask]
    budget: Callable[[], Budget] = Budget
    clocks: tuple[float, float, float] = (0.0, 0.0, 0.0)
    commits_within: float = WAIT_OUT
    lag: float = 0.0
    promised: bool = True
    taken: str | None = None


class Gateway(Protocol):
    """The use cases under test, in one process."""

    async def create(self, ask: Ask) -> Created:
        """Make the runtime, or answer with the one there is."""

    async def settle(self) -> None:
        """Find out what became of creates, for ever."""

    async def drain(self) -> None:
        """Cut off what is under way."""


class WorldClock(Clock):
    """The clocks of a replica. The wall clock may be off."""

    def __init__(self, loop: SimulatedLoop, off: float) -> None:
        self._loop = loop
        self._off = off

    def monotonic(self) -> float:
        return self._loop.now

    def now(self) -> float:
        return START + self._loop.now + self._off

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Material:
    """What a replica is made of."""

    adapters: Sequence[SimulatedAdapter]
    store: Store
    clock: Clock


Factory = Callable[[Material], Gateway]


@dataclass(slots=True)
class Heard:
    """What a client was told at last: the answer, or the error. Neither: it gave up."""

    ask: Ask
    answer: Created | None = None
    error: GatewayError | None = None


class Stale(Exception):
    """No answer came: the process died, or took too long."""


@dataclass(slots=True)
class Replica:
    """A process of the gateway."""

    life: Life
    gateway: Gateway
    asked: list["asyncio.Future[Created]"] = field(default_factory=list)

    def run(self, loop: SimulatedLoop, work: Callable[[], Awaitable[None]]) -> None:
        """Run something in this process."""
        context = copy_context()
        context.run(REPLICA.set, self.life)
        context.run(lambda: loop.create_task(_awaited(work), context=context))


class World:
    """One run of a scenario."""

    def __init__(
        self, scenario: Scenario, choices: Choices, factory: Factory, database: MemoryDatabase | None = None
    ) -> None:
        """``database`` is that of an earlier world, which is over: its rows are deleted."""
        self.scenario = scenario
        self.loop = SimulatedLoop()
        self.rows = database or MemoryDatabase()
        self.rows.clear()
        self.heard = [Heard(ask) for ask in scenario.asks]
        lives = [Life("A"), Life("B")]
        self.scheduler = Scheduler(
            choices,
            self.loop,
            lives,
            stops=(SEND_WITHIN + 1.0, LEASE + 1.0, LEASE + WAIT_OUT + 30.0),
            budget=scenario.budget(),
            killed=self._killed,
            drained=self._drained,
        )
        self.ledger = Ledger(self.rows, self.scheduler, self.database_now, promised=scenario.promised)
        self.upstreams = [
            Upstream(
                settings.name,
                deduplication,
                self.scheduler,
                START,
                scenario.commits_within,
                on_sent=self.ledger.sent,
                on_made=self.ledger.made,
                lag=scenario.lag,
            )
            for settings, deduplication in zip(_SETTINGS, scenario.providers, strict=False)
        ]
        self.ledger.upstreams = self.upstreams
        if scenario.taken is not None:
            self.upstreams[0].put(scenario.taken)
        self.stores: list[MemoryStore] = []
        self._ticks = 0
        self._left = len(self.heard)
        self._answered_at = 0.0
        self.replicas = [
            Replica(life, factory(self._parts(off))) for life, off in zip(lives, scenario.clocks[1:], strict=True)
        ]

    def _parts(self, off: float) -> Material:
        store = MemoryStore(self.database_now, database=self.rows, on_call=self._on_store)
        self.stores.append(store)
        adapters = [
            ADAPTERS[upstream.deduplication](settings, upstream)
            for settings, upstream in zip(_SETTINGS, self.upstreams, strict=False)
        ]
        return Material(adapters, store, WorldClock(self.loop, off))

    def database_now(self) -> float:
        """No two moments of the database are the same."""
        self._ticks += 1
        return START + self.loop.now + self.scenario.clocks[0] + self._ticks * 1e-6

    async def _on_store(self, call: str, done: bool) -> None:
        if call not in _WRITES:
            return
        if done and not self.ledger.changed(REPLICA.get()):
            return
        told = await self.scheduler.wait(f"{call}{' is done' if done else ''}", faults=("unavailable",))
        if told != GO:
            raise StoreUnavailable("The store does not answer.", retry_after=2.0)

    def run(self) -> None:
        """Let everything happen. Raises :class:`Violation`."""
        with self.loop.running():
            try:
                for store in self.stores:
                    self.loop.create_task(store.open())
                self.loop.run_ready()
                for replica in self.replicas:
                    replica.run(self.loop, replica.gateway.settle)
                for heard in self.heard:
                    self.loop.create_task(self._client(heard))
                self.scheduler.run(self._is_over)
                self.ledger.at_the_end(self.heard)
                self._nobody_complained()
            except Stuck as exc:
                raise Violation(str(exc)) from exc
            finally:
                self.scheduler.over = True
                self.loop.end()

    def told(self) -> str:
        """The run, step by step, and what came of it."""
        heard = [f"{one.ask} heard {_heard(one)}" for one in self.heard]
        return "\n".join([*self.scheduler.trace, *heard, *self.ledger.told()])

    def _is_over(self) -> bool:
        if self.ledger.violation is not None:
            return True
        if self._left or any(upstream.in_flight for upstream in self.upstreams):
            return False
        return self.ledger.is_settled() or self.loop.now > max(self._answered_at, self.scheduler.last_trouble) + HORIZON

    def _nobody_complained(self) -> None:
        if self.loop.complaints:
            complaint = self.loop.complaints[0]
            raise Violation(f"unheard: {complaint.get('message')} {complaint.get('exception')!r}")

    async def _client(self, heard: Heard) -> None:
        """Ask until there is an answer, of one replica and then of the other one."""
        for number, pause in enumerate(_PAUSES[: heard.ask.tries]):
            replica = self.replicas[(heard.ask.first + number) % 2]
            if replica.life.dead or replica.life.ending:
                replica = self.replicas[(heard.ask.first + number + 1) % 2]
            try:
                heard.answer = await self._asked(replica, heard.ask)
            except (Stale, IdempotencyInProgress, StoreUnavailable):
                await asyncio.sleep(pause)
            except GatewayError as error:
                heard.error = error
                if error.retryable is Retryable.NO and not (isinstance(error, ClientError) and number == 0):
                    break
                await asyncio.sleep(pause)
            except Exception as exc:  # noqa: BLE001 (a mistake of the gateway)
                self.ledger.broken(f"a client was told of a mistake of the gateway: {exc!r}")
                break
            else:
                heard.error = None
                self.ledger.answered(heard)
                break
        self._left -= 1
        self._answered_at = self.loop.now

    async def _asked(self, replica: Replica, ask: Ask) -> Created:
        answer: asyncio.Future[Created] = self.loop.create_future()
        replica.asked.append(answer)

        async def serve() -> None:
            try:
                created = await replica.gateway.create(ask)
            except Exception as exc:  # noqa: BLE001 (it is the client who is told)
                if not answer.done():
                    answer.set_exception(exc)
            else:
                if not answer.done():
                    answer.set_result(created)

        replica.run(self.loop, serve)
        timer = self.loop.call_later(_PATIENCE, _lose, answer)
        try:
            return await answer
        finally:
            timer.cancel()

    def _drained(self, life: Life) -> None:
        (replica,) = [replica for replica in self.replicas if replica.life is life]

        async def drain() -> None:
            await replica.gateway.drain()
            life.dead = True
            self._killed(life)

        replica.run(self.loop, drain)

    def _killed(self, life: Life) -> None:
        for replica in self.replicas:
            if replica.life is life:
                for answer in replica.asked:
                    _lose(answer)


def _heard(heard: Heard) -> str:
    if heard.answer is not None:
        return f"{heard.answer.runtime.provider_id}, created: {heard.answer.created}"
    return repr(heard.error) if heard.error is not None else "nothing"


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def _lose(answer: "asyncio.Future[Created]") -> None:
    if not answer.done():
        answer.set_exception(Stale())
