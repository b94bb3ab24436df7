"""Assembles the parts of moves: their descriptions and plans, and the worker that every replica has."""

from collections.abc import AsyncIterator, Callable, Iterable

from aiohttp import web

from gateway.app.create_wiring import Creates
from gateway.app.serving import in_background
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
from gateway.services.moves.planner import Planner
from gateway.services.moves.reading import LiveReader
from gateway.services.moves.worker import MoveWorker
from gateway.telemetry.logs import Logger
from gateway.telemetry.moves import MoveSignals


def assemble_moves(
    fleet: Fleet,
    creates: Creates,
    services: Services,
    directory: Directory,
    *,
    clock: Clock,
    logger: Logger,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Assemble the parts. Returns what runs while the application serves."""
    store, sealer = creates.store, creates.sealer

    def principals() -> Iterable[Principal]:
        return directory.declared.values()

    kept = KeptCreates(store, sealer)
    reader = KeptReader(LiveReader(fleet, creates.specs), kept)
    planner = Planner(
        fleet,
        fleet.moves,
        store,
        sealer,
        Describer(fleet, fleet.moves, reader, services.data_plane),
        kept=kept,
        adopted=AdoptedRuntimes(TargetResolver(fleet, sealer, store), store),
        principals=principals,
    )
    worker = MoveWorker(store, clock, {MoveState.PLANNING: planner.run}, MoveSignals(logger))
    services.moves.on_work = worker.wake
    return in_background(worker.run)
