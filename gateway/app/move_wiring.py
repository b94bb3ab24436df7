"""Assembles the parts of moves: their descriptions and plans, and the worker that every replica has."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from aiohttp import web

from gateway.app.create_wiring import Creates
from gateway.app.serving import background_task
from gateway.domain.access import Principal
from gateway.domain.moves import MoveState
from gateway.ports.clock import Clock
from gateway.services import Services
from gateway.services.access.directory import Directory
from gateway.services.fleet import Fleet
from gateway.services.intents import TargetResolver
from gateway.services.moves.adopted import AdoptedRuntimes
from gateway.services.moves.describing import Describer
from gateway.services.moves.kept import KeptCreates, KeptReader
from gateway.services.moves.map import MoveMap
from gateway.services.moves.planner import Planner
from gateway.services.moves.reading import LiveReader
from gateway.services.moves.worker import MoveWorker
from gateway.telemetry.logs import Logger
from gateway.telemetry.moves import MoveSignals


@dataclass(frozen=True, slots=True)
class Moves:
    """The assembled parts."""

    worker: MoveWorker

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Work on moves while the application serves."""
        async with background_task(self.worker.run()):
            yield


def assemble_moves(
    fleet: Fleet,
    moves: MoveMap,
    creates: Creates,
    services: Services,
    directory: Directory,
    *,
    clock: Clock,
    logger: Logger,
) -> Moves:
    """Assemble the parts. ``moves`` is this replica's copy of the relocations."""
    store, sealer = creates.store, creates.sealer

    def principals() -> Iterable[Principal]:
        return directory.declared.values()

    reader = KeptReader(LiveReader(fleet, creates.specs), KeptCreates(store, sealer))
    planner = Planner(
        fleet,
        moves,
        store,
        sealer,
        Describer(fleet, moves, reader, services.data_plane),
        adopted=AdoptedRuntimes(TargetResolver(fleet, sealer, store), store),
        principals=principals,
    )
    worker = MoveWorker(store, clock, {MoveState.PLANNING: planner.run}, MoveSignals(logger))
    services.moves.on_work = worker.wake
    return Moves(worker)
