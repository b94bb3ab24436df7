"""Moves between fake providers in simulated time, by one or several replicas over one database."""

import asyncio
from typing import Any

from gateway.domain.errors import StoreUnavailable
from gateway.domain.moves import CreateMove, ItemState, MoveState
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.moves import StoredItem, StoredMove
from gateway.services.fleet import Fleet
from gateway.services.moves.context import MoverContext
from gateway.services.moves.describing import Describer
from gateway.services.moves.map import MoveMap
from gateway.services.moves.mover import Mover
from gateway.services.moves.planned import MovingItem, Progress, sealed, sealed_request
from gateway.services.moves.reading import LiveReader
from gateway.services.moves.rollback import Rollback
from gateway.services.moves.runtimes import MovedRuntimes
from gateway.services.moves.worker import MoveWorker, with_details
from tests.memory_store import MemoryDatabase, MemoryStore, OnCall
from tests.unit.services.fakes import DurableLike, FakeAdapter, intents_of, keyring
from tests.unit.services.moves.loop_clock import LoopTime, loop_time

MOVE_ID = "mv_1"


class Replica:
    """One gateway. ``cut_off``: it cannot reach the store."""

    def __init__(self, scene: "Scene", on_call: OnCall | None = None) -> None:
        self.cut_off = False
        self.on_call = on_call
        self.store = MemoryStore(loop_time, database=scene.rows, on_call=self._called)
        self.fleet = Fleet(scene.adapters, LoopTime())
        runtimes = MovedRuntimes(self.fleet, LoopTime())
        self.context = MoverContext(
            fleet=self.fleet,
            store=self.store,
            sealer=keyring(),
            clock=LoopTime(),
            intents=intents_of(self.fleet, self.store),
            describer=Describer(self.fleet, MoveMap(), LiveReader(self.fleet)),
            runtimes=runtimes,
            on_switched=self._refresh,
        )
        self.mover = Mover(self.context)
        self.rollback = Rollback(self.context)
        work = {MoveState.APPLYING: self.mover.apply, MoveState.ROLLING_BACK: self.rollback.roll_back}
        self.worker = MoveWorker(self.store, LoopTime(), work, None)
        self.task: asyncio.Task[None] | None = None

    async def _refresh(self) -> None:
        self.fleet.moves.update(await self.store.relocations(0))

    def _called(self, name: str, done: bool) -> Any:
        if self.cut_off:
            raise StoreUnavailable("cut off")
        return None if self.on_call is None else self.on_call(name, done)

    def run(self) -> None:
        """Work in the background."""
        self.task = asyncio.create_task(self.worker.run())

    async def kill(self) -> None:
        """End at once, without any further call of the store."""
        self.cut_off = True
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.context.intents.drain()


class Scene:
    """Two providers, ``old`` and ``new``, and a move between them."""

    def __init__(self, source: FakeAdapter | None = None, target: FakeAdapter | None = None, **request: Any) -> None:
        self.old = source or DurableLike("old")
        self.new = target or DurableLike("new")
        self.adapters = (self.old, self.new)
        self.rows = MemoryDatabase()
        self.store = MemoryStore(loop_time, database=self.rows)
        self.request = CreateMove.model_validate(
            {"source": {"provider": "old"}, "target": {"provider": "new"}, **request}
        )
        self.replicas: list[Replica] = []

    def replica(self, on_call: OnCall | None = None) -> Replica:
        """Another gateway over the same database."""
        replica = Replica(self, on_call)
        self.replicas.append(replica)
        return replica

    async def planned(self, *runtimes: Runtime, move_id: str = MOVE_ID) -> None:
        """A move of these runtimes, as it is planned now."""
        sealer, fleet = keyring(), Fleet(self.adapters, LoopTime())
        move = StoredMove(
            id=move_id,
            state=MoveState.PLANNING,
            principal="ops",
            source="old",
            source_scope=None,
            target="new",
            request=sealed_request(self.request, move_id, sealer),
        )
        await self.store.add_move(move)
        describer = Describer(fleet, MoveMap(), LiveReader(fleet))
        between = describer.between(self.request)
        assert between is not None
        ctx = RequestContext("plan")
        items = []
        for position, runtime in enumerate(runtimes):
            facts = await describer.read(between, self.old.reference(runtime), ctx)
            plan = await describer.describe(between, facts, ctx)
            items.append(
                StoredItem(
                    move_id=move_id,
                    position=position,
                    provider="old",
                    scope=runtime.scope,
                    provider_id=runtime.provider_id,
                    runtime_id=runtime.id,
                    name=runtime.name,
                    kind=runtime.kind,
                    state=ItemState.BLOCKED if plan.blocked_by else ItemState.PLANNED,
                    plan=sealed(plan, move_id, position, sealer),
                )
            )
        await self.store.claim_moves("planner", 10, {MoveState.PLANNING})
        assert await self.store.add_move_items(items, "planner")
        await self.store.change_move(move_id, {MoveState.PLANNING}, state=MoveState.PLANNED, digest="d")

    async def applied(self, *, until: MoveState = MoveState.DONE, within: float = 600, move_id: str = MOVE_ID) -> None:
        """Apply the move with one replica, or those that there are, and wait until it has a state."""
        await self.store.change_move(move_id, {MoveState.PLANNED}, state=MoveState.APPLYING)
        if not self.replicas:
            self.replica()
        for replica in self.replicas:
            if replica.task is None:
                replica.run()
        await self.reaches(until, within, move_id)

    async def rolled_back(self, *sync_back: str, discard: bool = False, within: float = 600) -> None:
        """Roll the move back, and wait until that is done."""
        move = await self.move()
        options = {"sync_back": sync_back, "discard": discard}
        details = with_details(move, rollback=options)
        await self.store.change_move(MOVE_ID, {move.state}, state=MoveState.ROLLING_BACK, details=details)
        await self.reaches(MoveState.ROLLED_BACK, within)

    async def reaches(self, state: MoveState, within: float = 600, move_id: str = MOVE_ID) -> None:
        """Wait until the move has a state."""
        for _ in range(int(within * 10)):
            if (await self.move(move_id)).state is state:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"the move is {(await self.move(move_id)).state}, and {await self.items(move_id)}")

    async def end(self) -> None:
        """End all replicas."""
        for replica in self.replicas:
            if replica.task is not None and not replica.cut_off:
                await replica.kill()

    async def move(self, move_id: str = MOVE_ID) -> StoredMove:
        """The move as it is stored."""
        stored = await self.store.get_move(move_id)
        assert stored is not None
        return stored

    async def items(self, move_id: str = MOVE_ID) -> list[StoredItem]:
        """Its items as they are stored."""
        return list(await self.store.move_items(move_id, limit=1000))

    async def item(self, position: int = 0) -> tuple[StoredItem, Progress]:
        """An item, and its progress."""
        stored = (await self.items())[position]
        return stored, MovingItem(self.store, "", stored).progress
