"""A replica of the simulated world that moves runtimes: the gateway's own use cases and background work."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from gateway.domain.access import Principal
from gateway.domain.errors import StoreUnavailable
from gateway.domain.moves import MoveState
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.services import Services
from gateway.services.fleet import Fleet
from gateway.services.intents import CreateContext, IntentService, PayloadSealer, Reconciler, TargetResolver
from gateway.services.moves.map import MoveReplica
from gateway.services.moves.mover import Mover
from gateway.services.moves.permits import WritePermits
from gateway.services.moves.rollback import Rollback
from gateway.services.moves.worker import MoveWorker
from tests.faults.simulator.moving_ends import End, MovableRuntimes
from tests.faults.simulator.replica import RULES, SEALER
from tests.memory_store import MemoryStore
from tests.unit.services.fakes import NullSignals

REFRESH_EVERY: Final = 2.0


class SharedStore(MemoryStore):
    """A store that other replicas use too."""

    shared = True


class MovingGateway:
    """One process."""

    def __init__(self, ends: Sequence[End], store: SharedStore, clock: Clock) -> None:
        self._clock = clock
        self.fleet = fleet = Fleet([MovableRuntimes(end) for end in ends], clock)
        self.permits = permits = fleet.permits = WritePermits(fleet.moves, store, clock, lambda: self._replica.age)
        self._replica = MoveReplica(store, fleet.moves, clock, on_read=permits.announced)
        fleet.moves_age, fleet.refresh_moves = lambda: self._replica.age, self._replica.refresh
        parts = CreateContext(
            fleet=fleet,
            store=store,
            targets=TargetResolver(fleet, SEALER, store),
            payloads=PayloadSealer(SEALER),
            clock=clock,
            rules=RULES,
            observer=NullSignals(),
        )
        self.services = Services.over(fleet, IntentService(parts), store, sealer=SEALER)
        self._reconciler = Reconciler(parts)
        context = replace(self.services.move_control.context, on_switched=self._replica.refresh)
        work = {MoveState.APPLYING: Mover(context).apply, MoveState.ROLLING_BACK: Rollback(context).roll_back}
        self._worker = MoveWorker(store, clock, work, None)

    async def run(self) -> None:
        """Move, settle creates, and keep the copy of the relocations current, until cancelled."""
        await asyncio.gather(self._worker.run(), self._reconciler.run(), self._refresh())

    async def _refresh(self) -> None:
        while True:
            with suppress(StoreUnavailable):  # the copy becomes too old, which is what is tested
                await self._replica.refresh()
            await self._clock.sleep(REFRESH_EVERY)


context = partial(RequestContext, principal=Principal("client"))
