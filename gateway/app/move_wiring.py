"""Assembles the parts of moves: their descriptions and plans, and the worker that every replica has."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace

from aiohttp import web

from gateway.app.create_wiring import Creates
from gateway.app.serving import in_background
from gateway.domain.access import Principal
from gateway.domain.moves import MoveState
from gateway.services import Services
from gateway.services.access.directory import Directory
from gateway.services.intents import TargetResolver
from gateway.services.moves.adopted import AdoptedRuntimes
from gateway.services.moves.kept import KeptCreates
from gateway.services.moves.mover import Mover
from gateway.services.moves.planner import Planner
from gateway.services.moves.rollback import Rollback
from gateway.services.moves.worker import MoveWorker
from gateway.telemetry.logs import Logger
from gateway.telemetry.moves import MoveSignals


def assemble_moves(
    creates: Creates,
    services: Services,
    directory: Directory,
    *,
    logger: Logger,
    on_switched: Callable[[], Awaitable[None]],
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Assemble the parts. Returns what runs while the application serves. ``on_switched`` reads where runtimes are;
    it is called when this replica has switched one."""
    store, sealer = creates.store, creates.sealer
    context = replace(services.move_control.context, signals=MoveSignals(logger), on_switched=on_switched)
    fleet = context.fleet

    def principals() -> Iterable[Principal]:
        return directory.declared.values()

    planner = Planner(
        fleet,
        fleet.moves,
        store,
        sealer,
        context.describer,
        kept=KeptCreates(store, sealer),
        adopted=AdoptedRuntimes(TargetResolver(fleet, sealer, store), store),
        principals=principals,
    )
    work = {
        MoveState.PLANNING: planner.run,
        MoveState.APPLYING: Mover(context).apply,
        MoveState.ROLLING_BACK: Rollback(context).roll_back,
    }
    worker = MoveWorker(store, context.clock, work, context.signals)
    services.moves.on_work = worker.wake
    return in_background(worker.run)
