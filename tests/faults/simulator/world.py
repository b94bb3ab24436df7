"""The simulated world: one or two providers, one store, two replicas of the gateway, and clients that retry.

The code under test waits at the scheduler at each await, and the ledger checks the invariants at each step.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.domain.errors import ClientError, GatewayError, IdempotencyInProgress, Retryable, StoreUnavailable
from gateway.ports.clock import Clock
from gateway.ports.provider import Created
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.store import Store
from tests.faults.simulator.adapters import ADAPTERS, SimulatedAdapter
from tests.faults.simulator.invariants import Ledger, Violation
from tests.faults.simulator.loop import REPLICA, Process, SimulatedLoop
from tests.faults.simulator.provider import DEADLINE, Upstream
from tests.faults.simulator.scenarios import HORIZON, LEASE, SEND_WITHIN, START, WAIT_OUT, Client, Scenario
from tests.faults.simulator.scheduler import GO, Scheduler, Stuck
from tests.faults.simulator.search import Choices
from tests.memory_store import MemoryDatabase, MemoryStore

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
_CLIENT_TIMEOUT: Final = 30.0  # seconds that a client waits for one response
_PAUSES: Final = (1.0, 5.0, 20.0, 40.0, 60.0, 90.0, 120.0)


class Gateway(Protocol):
    """The use cases under test, in one process."""

    async def create(self, client: Client) -> Created:
        """Make the runtime, or return the existing one."""

    async def settle(self) -> None:
        """Settle creates, until cancelled."""

    async def drain(self) -> None:
        """Cancel the creates in progress, as at the end of a shutdown."""


class WorldClock(Clock):
    """The clocks of a replica. Its wall clock is ``offset`` seconds ahead."""

    def __init__(self, loop: SimulatedLoop, offset: float) -> None:
        self._loop = loop
        self._offset = offset

    def monotonic(self) -> float:
        return self._loop.now

    def now(self) -> float:
        return START + self._loop.now + self._offset

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Material:
    """What a replica is built from."""

    adapters: Sequence[SimulatedAdapter]
    store: Store
    clock: Clock


Factory = Callable[[Material], Gateway]


@dataclass(slots=True)
class Outcome:
    """What a client received last: the response, or the error. Neither: it gave up."""

    client: Client
    response: Created | None = None
    error: GatewayError | None = None


class NoResponse(Exception):
    """A client received no response: the process died, or took too long."""


@dataclass(slots=True)
class Replica:
    """A process of the gateway."""

    process: Process
    gateway: Gateway
    pending: list["asyncio.Future[Created]"] = field(default_factory=list)

    def run(self, loop: SimulatedLoop, work: Callable[[], Awaitable[None]]) -> None:
        """Start a task that belongs to this process."""
        context = copy_context()
        context.run(REPLICA.set, self.process)
        context.run(lambda: loop.create_task(_awaited(work), context=context))


class World:
    """One run of a scenario."""

    def __init__(
        self, scenario: Scenario, choices: Choices, factory: Factory, database: MemoryDatabase | None = None
    ) -> None:
        """``database`` may be that of an earlier world that is over. Its rows are deleted."""
        self.scenario = scenario
        self.loop = SimulatedLoop()
        self.rows = database or MemoryDatabase()
        self.rows.clear()
        self.outcomes = [Outcome(client) for client in scenario.clients]
        processes = [Process("A"), Process("B")]
        self.scheduler = Scheduler(
            choices,
            self.loop,
            processes,
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
        self._active_clients = len(self.outcomes)
        self._last_response_at = 0.0
        self.replicas = [
            Replica(process, factory(self._material(offset)))
            for process, offset in zip(processes, scenario.clocks[1:], strict=True)
        ]

    def _material(self, offset: float) -> Material:
        store = MemoryStore(self.database_now, database=self.rows, on_call=self._on_store)
        self.stores.append(store)
        adapters = [
            ADAPTERS[upstream.deduplication](settings, upstream)
            for settings, upstream in zip(_SETTINGS, self.upstreams, strict=False)
        ]
        return Material(adapters, store, WorldClock(self.loop, offset))

    def database_now(self) -> float:
        """The database's time. Each call returns a later one, so that no two moments are equal."""
        self._ticks += 1
        return START + self.loop.now + self.scenario.clocks[0] + self._ticks * 1e-6

    def _on_store(self, call: str, done: bool) -> Awaitable[None] | None:
        return self._around_write(call, done) if call in _WRITES else None

    async def _around_write(self, call: str, done: bool) -> None:
        if done and not self.ledger.changed(REPLICA.get()):
            return
        result = await self.scheduler.wait(f"{call}{' is done' if done else ''}", faults=("unavailable",))
        if result != GO:
            raise StoreUnavailable("The store does not response.", retry_after=2.0)

    def run(self) -> None:
        """Run the scenario to its end. Raises :class:`Violation`."""
        with self.loop.running():
            try:
                for store in self.stores:
                    self.loop.create_task(store.open())
                self.loop.run_ready()
                for replica in self.replicas:
                    replica.run(self.loop, replica.gateway.settle)
                for outcome in self.outcomes:
                    self.loop.create_task(self._client(outcome))
                self.scheduler.run(self._is_over)
                self.ledger.at_the_end(self.outcomes)
                self._check_unhandled()
            except Stuck as exc:
                raise Violation(str(exc)) from exc
            finally:
                self.scheduler.over = True
                self.loop.end()

    def report(self) -> str:
        """The steps of the run, what the clients received, and the final state of the store and the providers."""
        outcomes = [f"{one.client} received {_describe(one)}" for one in self.outcomes]
        return "\n".join([*self.scheduler.trace, *outcomes, *self.ledger.report()])

    def _is_over(self) -> bool:
        if self.ledger.violation is not None:
            return True
        if self._active_clients or any(upstream.in_flight for upstream in self.upstreams):
            return False
        return (
            self.ledger.is_settled()
            or self.loop.now > max(self._last_response_at, self.scheduler.last_disturbance) + HORIZON
        )

    def _check_unhandled(self) -> None:
        if self.loop.unhandled:
            context = self.loop.unhandled[0]
            raise Violation(f"unhandled exception: {context.get('message')} {context.get('exception')!r}")

    async def _client(self, outcome: Outcome) -> None:
        """Retry at the two replicas in turn until there is a response, a final error, or no attempt left."""
        for number, pause in enumerate(_PAUSES[: outcome.client.tries]):
            replica = self.replicas[(outcome.client.first + number) % 2]
            if replica.process.dead or replica.process.ending:
                replica = self.replicas[(outcome.client.first + number + 1) % 2]
            try:
                outcome.response = await self._attempt(replica, outcome.client)
            except (NoResponse, IdempotencyInProgress, StoreUnavailable):
                await asyncio.sleep(pause)
            except GatewayError as error:
                outcome.error = error
                if error.retryable is Retryable.NO and not (isinstance(error, ClientError) and number == 0):
                    break
                await asyncio.sleep(pause)
            except Exception as exc:  # noqa: BLE001 (a bug of the gateway, reported as a violation)
                self.ledger.broken(f"a client received an unexpected exception: {exc!r}")
                break
            else:
                outcome.error = None
                self.ledger.received(outcome)
                break
        self._active_clients -= 1
        self._last_response_at = self.loop.now

    async def _attempt(self, replica: Replica, client: Client) -> Created:
        response: asyncio.Future[Created] = self.loop.create_future()
        replica.pending.append(response)

        async def serve() -> None:
            try:
                created = await replica.gateway.create(client)
            except Exception as exc:  # noqa: BLE001 (the client receives it)
                if not response.done():
                    response.set_exception(exc)
            else:
                if not response.done():
                    response.set_result(created)

        replica.run(self.loop, serve)
        timer = self.loop.call_later(_CLIENT_TIMEOUT, _lose, response)
        try:
            return await response
        finally:
            timer.cancel()

    def _drained(self, process: Process) -> None:
        (replica,) = [replica for replica in self.replicas if replica.process is process]

        async def drain() -> None:
            await replica.gateway.drain()
            process.dead = True
            self._killed(process)

        replica.run(self.loop, drain)

    def _killed(self, process: Process) -> None:
        for replica in self.replicas:
            if replica.process is process:
                for response in replica.pending:
                    _lose(response)


def _describe(outcome: Outcome) -> str:
    if outcome.response is not None:
        return f"{outcome.response.runtime.provider_id}, created: {outcome.response.created}"
    return repr(outcome.error) if outcome.error is not None else "nothing"


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def _lose(response: "asyncio.Future[Created]") -> None:
    if not response.done():
        response.set_exception(NoResponse())
