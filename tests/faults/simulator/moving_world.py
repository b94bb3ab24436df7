"""A simulated move: two providers, two replicas that may move and serve clients, and what the clients observe."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain.errors import GatewayError, NotFound, OutcomeUnknown, Retryable, StoreUnavailable
from gateway.domain.moves import CreateMove, ItemState, MoveState
from gateway.domain.requests import CREATE_REQUESTS, ReplaceConfig, StartRequest
from gateway.domain.runtime import Runtime
from gateway.domain.validation import validate
from gateway.domain.values import State
from gateway.ports.context import RequestContext
from gateway.ports.moves import StoredItem, StoredMove
from gateway.services.fleet import Fleet
from gateway.services.moves.describing import Describer
from gateway.services.moves.map import MoveMap
from gateway.services.moves.planned import sealed, sealed_request
from gateway.services.moves.reading import LiveReader
from gateway.services.moves.worker import with_details
from gateway.storage.relocation_rows import relocations
from tests.faults.simulator.invariants import Violation
from tests.faults.simulator.loop import REPLICA, Process, SimulatedLoop
from tests.faults.simulator.moving_ends import End
from tests.faults.simulator.moving_replica import MovingGateway, SharedStore, context
from tests.faults.simulator.replica import SEALER
from tests.faults.simulator.scenarios import START
from tests.faults.simulator.scheduler import GO, Budget, Scheduler, Stuck
from tests.faults.simulator.search import Choices
from tests.faults.simulator.world import NoResponse, WorldClock
from tests.memory_store import MemoryDatabase, MemoryStore
from tests.unit.services.fakes import DurableLike

MOVE: Final = "mv_1"
_POINTS: Final = frozenset(
    {
        *("begin", "record_created", "change_move_item", "hold_runtime", "release_runtime", "switch_runtime"),
        *("enter_write", "leave_write", "relocations", "change_move"),
    }
)
"""The calls of the store before and after which anything may happen."""

_UNAVAILABLE: Final = _POINTS - {"leave_write", "release_runtime"}
_RELEASES: Final = frozenset({"pause", "stop", "reset"})
_BEFORE: Final = 3.0
"""Seconds in which clients write before the move is announced."""

_EVERY: Final = 1.7
_CLIENT_TIMEOUT: Final = 40.0
_HORIZON: Final = 400.0
"""Seconds after the last disturbance within which the move has to end."""


@dataclass(frozen=True, slots=True)
class MovingScenario:
    """A runtime ``agent`` that is moved, and may be brought back. ``when`` and ``running`` are of the move and of the
    runtime. ``budget`` bounds the disturbances."""

    title: str
    budget: Callable[[], Budget]
    when: str = "idle"
    running: bool = False
    back: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    """The runtime goes from an end. Of the writes, all before ``carried`` are carried over; it was switched before the
    one of the number ``at``."""

    source: str
    carried: int
    at: int


class MovingWorld:
    """One run. ``acknowledged`` are the request ids of the writes that clients received a success for."""

    def __init__(self, scenario: MovingScenario, choices: Choices, database: MemoryDatabase | None = None) -> None:
        self.scenario = scenario
        self.loop = SimulatedLoop()
        self.rows = database or MemoryDatabase()
        self.rows.clear()
        self._ticks = 0
        self.processes = [Process("A"), Process("B")]
        self.scheduler = Scheduler(
            choices,
            self.loop,
            self.processes,
            stops=(6.0, 17.0, 45.0),
            budget=scenario.budget(),
            killed=self._killed,
            drained=lambda _: None,
            most_steps=3000,
        )
        self.writes: list[Any] = []
        self.ends = [End(name, self.scheduler, self.writes, self._sent) for name in ("old", "new")]
        self.replicas = [MovingGateway(self.ends, self._store(), WorldClock(self.loop, 0.0)) for _ in self.processes]
        self.director = MemoryStore(self._now, database=self.rows)
        self.switches: list[Switch] = []
        self.acknowledged: set[str] = set()
        self.violation: Violation | None = None
        self._place = "old"
        self._pending: list[tuple[Process, asyncio.Future[Any]]] = []
        self._numbers = itertools.count(1)
        self._active = 0
        self._ending = False
        self.runtime = self._made()

    def _now(self) -> float:
        self._ticks += 1
        return START + self.loop.now + self._ticks * 1e-6

    def _store(self) -> SharedStore:
        return SharedStore(self._now, database=self.rows, on_call=self._on_store)

    def _made(self) -> Runtime:
        source = DurableLike("old")
        source.world = self.ends[0].runtimes
        runtime = source.put("agent", State.RUNNING if self.scenario.running else State.IDLE)
        source.world.configs[runtime.provider_id] = {"version": "v2", "n": 0}
        return runtime

    def _on_store(self, call: str, done: bool) -> Awaitable[None] | None:
        if done and call == "switch_runtime":
            self._switched()
        return self._at_store(call, done) if call in _POINTS else None

    async def _at_store(self, call: str, done: bool) -> None:
        faults = ("unavailable",) if call in _UNAVAILABLE else ()
        if await self.scheduler.wait(f"{call}{' is done' if done else ''}", faults=faults) != GO:
            raise StoreUnavailable("The store does not respond.", retry_after=2.0)

    def _switched(self) -> None:
        """Called after a transaction that may have switched the runtime."""
        gone = {row.source for row in self.rows.run(lambda: relocations(0), self._now(), writes=False).rows}
        place = "new" if "old" in gone else "old"
        if place != self._place:
            process = REPLICA.get()
            carried = next(end for end in self.ends if end.name == self._place).read_at.get(process, -1)
            self._check(carried >= 0, f"{process.name} switched the runtime without having read it")
            self.switches.append(Switch(self._place, carried, len(self.writes)))
            self._place = place

    def _sent(self, end: End, verb: str, request_id: str) -> None:
        """Called when a write is sent to a provider."""
        allowed = request_id.startswith("mv_") or verb in _RELEASES
        allowed |= not self.switches or end.name == self._place
        self._check(allowed, f"{request_id} sent {verb} to {end.name}, from which the runtime has gone")

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds and self.violation is None:
            self.violation = Violation(otherwise)

    def run(self) -> None:
        """Run to the end. Raises :class:`Violation`."""
        with self.loop.running():
            try:
                planning = self.loop.create_task(self._plan())
                self.loop.run_ready()
                planning.result()
                for process, replica in zip(self.processes, self.replicas, strict=True):
                    self._in(process, replica.run())
                for client in (self._direct, self._write, self._read, self._create, self._toggle):
                    self.loop.create_task(self._guarded(client))
                    self._active += 1
                self.scheduler.run(self._is_over)
                self._at_the_end()
            except Stuck as exc:
                raise Violation(str(exc)) from exc
            finally:
                self.scheduler.over = True
                self.loop.end()

    def report(self) -> str:
        """The steps of the run, the writes, and the switches."""
        writes = [f"{number}: {write}" for number, write in enumerate(self.writes)]
        return "\n".join([*self.scheduler.trace, *writes, *map(str, self.switches), f"{sorted(self.acknowledged)}"])

    async def _plan(self) -> None:
        """Plan the move, and announce it."""
        document = {"source": {"provider": "old"}, "target": {"provider": "new"}, "when": self.scenario.when}
        request = validate(CreateMove, document)
        move = StoredMove(
            id=MOVE,
            state=MoveState.PLANNING,
            principal="ops",
            source="old",
            source_scope=None,
            target="new",
            request=sealed_request(request, MOVE, SEALER),
        )
        await self.director.add_move(move)
        adapters = [DurableLike(end.name, base_url=f"http://{end.name}.test") for end in self.ends]
        for adapter, end in zip(adapters, self.ends, strict=True):
            adapter.world = end.runtimes
        fleet = Fleet(adapters, WorldClock(self.loop, 0.0))
        describer = Describer(fleet, MoveMap(), LiveReader(fleet))
        between, ctx = describer.between(request), RequestContext("plan")
        assert between is not None
        facts = await describer.read(between, adapters[0].reference(self.runtime), ctx)
        item = StoredItem(
            move_id=MOVE,
            position=0,
            provider="old",
            scope=self.runtime.scope,
            provider_id=self.runtime.provider_id,
            runtime_id=self.runtime.id,
            name=self.runtime.name,
            kind=self.runtime.kind,
            state=ItemState.PLANNED,
            plan=sealed(await describer.describe(between, facts, ctx), MOVE, 0, SEALER),
        )
        await self.director.claim_moves("planner", 10, {MoveState.PLANNING})
        assert await self.director.add_move_items([item], "planner")
        await self.director.change_move(MOVE, {MoveState.PLANNING}, state=MoveState.PLANNED, digest="d")

    async def _direct(self) -> None:
        """The operator: apply the move, and bring the runtime back if that is wanted."""
        await asyncio.sleep(_BEFORE)
        await self.director.change_move(MOVE, {MoveState.PLANNED}, state=MoveState.APPLYING)
        await self._reached(MoveState.DONE, ItemState.MOVED)
        await asyncio.sleep(6.0)  # clients continue
        if self.scenario.back:
            move = await self.director.get_move(MOVE)
            assert move is not None
            details = with_details(move, rollback={"sync_back": ["config"], "discard": False})
            await self.director.change_move(MOVE, {move.state}, state=MoveState.ROLLING_BACK, details=details)
            await self._reached(MoveState.ROLLED_BACK, ItemState.ROLLED_BACK)
            await asyncio.sleep(6.0)
        self._ending = True

    async def _reached(self, state: MoveState, item_state: ItemState) -> None:
        move = None
        while move is None or move.state is not state:
            await asyncio.sleep(1.0)
            move = await self.director.get_move(MOVE)
        (item,) = await self.director.move_items(MOVE)
        self._check(item.state is item_state, f"the item is {item.state}: {item.details}")

    async def _write(self) -> None:
        """Replaces the config again and again, each time with another one."""
        while not self._ending:
            number = next(self._numbers)
            request = ReplaceConfig.model_validate({"config": {"version": "v2", "n": number}})
            await self._once(
                number,
                lambda gateway, ctx, body=request: gateway.services.config.replace(self.runtime.id, body, None, ctx),
            )
            await asyncio.sleep(_EVERY)

    async def _toggle(self) -> None:
        """Resets and starts a runtime that runs."""
        while self.scenario.running and not self._ending:
            for verb in ("reset", "start"):
                number = next(self._numbers)

                async def act(gateway: MovingGateway, ctx: RequestContext, verb: str = verb) -> Any:
                    lifecycle = gateway.services.lifecycle
                    if verb == "reset":
                        return await lifecycle.reset(self.runtime.id, ctx)
                    return await lifecycle.start(self.runtime.id, StartRequest(), ctx)

                await self._once(number, act)
                await asyncio.sleep(2 * _EVERY)

    async def _read(self) -> None:
        """Reads the runtime. It always answers, under its first id."""
        while not self._ending:
            shown = await self._once(
                next(self._numbers), lambda gateway, ctx: gateway.services.lifecycle.get(self.runtime.id, ctx)
            )
            if shown is not None:
                self._check(shown.id == self.runtime.id, f"the runtime answers as {shown.id}")
            await asyncio.sleep(_EVERY)

    async def _create(self) -> None:
        """Creates the runtime of the name at the source again: it exists already, wherever it is."""
        body = {"kind": "durable", "name": "agent", "provider": "old"}
        request = validate(CREATE_REQUESTS["durable"], body)
        while not self._ending:
            made = await self._once(
                next(self._numbers), lambda gateway, ctx: gateway.services.create.create(request, ctx)
            )
            if made is not None:
                runtime = made.created.runtime
                own = (runtime.id, made.created.created) == (self.runtime.id, False)
                self._check(own, f"a create of the name returned {runtime.id}")
            await asyncio.sleep(4 * _EVERY)

    async def _guarded(self, client: Callable[[], Awaitable[None]]) -> None:
        try:
            await client()
        except Exception as exc:  # noqa: BLE001 (a bug of the gateway, reported as a violation)
            self._check(False, f"a client received an unexpected exception: {exc!r}")
        finally:
            self._active -= 1

    async def _once(self, number: int, call: Callable[[MovingGateway, RequestContext], Awaitable[Any]]) -> Any:
        """One call at one of the replicas in turn; None if there was no success. Whatever fails may be repeated."""
        able = [index for index, process in enumerate(self.processes) if not process.dead]
        index = able[number % len(able)]
        process, gateway, ctx = self.processes[index], self.replicas[index], context(f"client-{number}")
        response: asyncio.Future[Any] = self.loop.create_future()
        self._pending.append((process, response))

        async def serve() -> None:
            try:
                with ctx:
                    result = await call(gateway, ctx)
            except Exception as exc:  # noqa: BLE001 (the client receives it)
                if not response.done():
                    response.set_exception(exc)
            else:
                if not response.done():
                    response.set_result(result)

        self._in(process, serve())
        timer = self.loop.call_later(_CLIENT_TIMEOUT, _lose, response)
        try:
            result = await response
        except NoResponse:
            return None
        except GatewayError as error:
            self._check(not isinstance(error, NotFound), f"client-{number} received {error!r}")
            is_known = error.retryable is not Retryable.NO or isinstance(error, OutcomeUnknown)
            self._check(is_known, f"client-{number} received {error!r}: {error.detail}")
            return None
        finally:
            timer.cancel()
        self.acknowledged.add(ctx.request_id)
        return result

    def _in(self, process: Process, work: Any) -> None:
        token = REPLICA.set(process)
        try:
            self.loop.create_task(work)
        finally:
            REPLICA.reset(token)

    def _killed(self, process: Process) -> None:
        for owner, response in self._pending:
            if owner is process:
                _lose(response)

    def _is_over(self) -> bool:
        if self.violation is not None:
            return True
        if self.loop.now > self.scheduler.last_disturbance + _HORIZON:
            self._check(False, "the move does not end")
        return not self._active and not any(end.in_flight for end in self.ends)

    def _at_the_end(self) -> None:
        if self.violation is None:
            self._check_writes()
            self._check_ends()
        if self.violation is not None:
            raise self.violation

    def _check_writes(self) -> None:
        """No write that was acknowledged took effect where the runtime was left, after it was read there."""
        for number, switch in enumerate(self.switches):
            until = self.switches[number + 1].at if number + 1 < len(self.switches) else len(self.writes)
            for write in self.writes[switch.carried : until]:
                lost = write.end == switch.source and write.request_id in self.acknowledged
                if self.scheduler.last_disturbance and write.verb in _RELEASES:
                    continue  # a replica that cannot know of the move ends things all the same
                self._check(not lost, f"{write} was acknowledged, and lost by {switch}")

    def _check_ends(self) -> None:
        old, new = self.ends
        self._check(len(self.switches) == 1 + self.scenario.back, f"the switches are {self.switches}")
        self._check((old.creates, new.creates) == (0, 1), f"{old.creates} and {new.creates} creates")
        here, left = (old, new) if self.scenario.back else (new, old)
        states = [runtime.state for runtime in left.runtimes.runtimes.values()]
        self._check(State.RUNNING not in states, f"the runtime that was left at {left.name} runs")
        self._check(len(here.runtimes.runtimes) == 1, f"{here.name} has several runtimes")


def _lose(response: "asyncio.Future[Any]") -> None:
    if not response.done():
        response.set_exception(NoResponse())


_BUDGETS: Final[dict[str, Callable[[], Budget]]] = {
    "undisturbed": lambda: Budget(0, 0, 0, 0, 0),
    "killed": lambda: Budget(0, 0, 0, 1, 0),
    "stopped": lambda: Budget(0, 0, 1, 0, 0),
    "faults": lambda: Budget(1, 1, 0, 0, 0),
    "all": lambda: Budget(2, 1, 2, 1, 0),
}


def _scenarios() -> Sequence[MovingScenario]:
    return [
        MovingScenario(f"{title}, {name}", budget, **options)
        for title, options in (
            ("an idle runtime", {}),
            ("a running runtime", {"when": "now", "running": True}),
            ("an idle runtime and back", {"back": True}),
        )
        for name, budget in _BUDGETS.items()
    ]


SCENARIOS: Final = {scenario.title: scenario for scenario in _scenarios()}
