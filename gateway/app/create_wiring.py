"""Assembles the parts behind creates (``docs/creates.md``), and those of moves with the worker of every replica."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from gateway.app.access_wiring import assemble_audit
from gateway.app.serving import background_task, in_background
from gateway.domain.access import Principal
from gateway.domain.moves import MoveState
from gateway.ports.clock import Clock
from gateway.ports.sealing import Sealer
from gateway.ports.whole_store import WholeStore
from gateway.services import Services
from gateway.services.access.directory import Directory
from gateway.services.access.lifetime_ends import LifetimeEnder
from gateway.services.access.lifetimes import Lifetimes
from gateway.services.access.quotas import Quotas
from gateway.services.audit.trail import AuditTrail
from gateway.services.fleet import Fleet
from gateway.services.health import Lead
from gateway.services.intents import CreateContext, IntentService, PayloadSealer, Reconciler, TargetResolver
from gateway.services.moves.adopted import AdoptedRuntimes
from gateway.services.moves.mover import Mover
from gateway.services.moves.planner import Planner
from gateway.services.moves.reading import KeptCreates
from gateway.services.moves.rollback import Rollback
from gateway.services.moves.worker import MoveWorker
from gateway.services.specs import SpecKeeper
from gateway.services.store_monitor import StoreMonitor
from gateway.settings import Settings
from gateway.storage.opening import open_store
from gateway.storage.sql_store import SqlStore
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.signals import CreateSignals, LifetimeSignals, MoveSignals

_READY_WITHIN: Final = 2.0
"""Seconds that the start waits for the store. The gateway serves without it: calls that need it get 503."""


@dataclass(frozen=True, slots=True)
class Creates:
    """The assembled parts. ``lead`` takes a role that one replica has. Without ``store.keep_specs``, ``specs`` has the
    value None."""

    store: WholeStore
    sealer: Sealer
    lead: Lead
    intents: IntentService
    specs: SpecKeeper | None
    reconciler: Reconciler
    monitor: StoreMonitor
    ender: LifetimeEnder
    trail: AuditTrail

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Keep the store open and settle in the background while the application serves."""
        await self.store.open()
        async with background_task(self.monitor.run()):
            with suppress(TimeoutError):
                async with asyncio.timeout(_READY_WITHIN):
                    await self.monitor.first_check.wait()
            async with background_task(self.reconciler.run()), background_task(self.ender.run()):
                yield
                await self.intents.drain()
        if self.specs is not None:
            await self.specs.close()
        await self.store.close()


def assemble(
    settings: Settings,
    fleet: Fleet,
    *,
    clock: Clock,
    metrics: Metrics,
    logger: Logger,
    store: tuple[WholeStore, Sealer] | None = None,
    workers: int = 1,
) -> Creates:
    """Assemble the parts from the settings, or over another ``store``. Raises :class:`SettingsError`
    if the store has no usable key."""
    opened, sealer = store or open_store(settings.store)
    trail = assemble_audit(settings, opened, clock=clock, metrics=metrics, logger=logger)
    signals = CreateSignals(metrics, logger)
    specs = None
    if settings.store.keep_specs:
        specs = SpecKeeper(opened, sealer, clock, lambda trouble: metrics.dropped.labels(f"spec_{trouble}").inc())
    context = CreateContext(
        fleet=fleet,
        store=opened,
        targets=TargetResolver(fleet, sealer, opened),
        payloads=PayloadSealer(sealer),
        clock=clock,
        rules=settings.creates,
        observer=signals,
        specs=specs,
    )
    migrates = isinstance(opened, SqlStore) and settings.store.migrate == "auto"
    monitor = StoreMonitor(opened, clock, signals, upgrade=opened.upgrade if migrates else None)  # type: ignore[attr-defined]
    intents, reconciler = IntentService(context), Reconciler(context)
    metrics.queue_depth.labels("creates").set_function(lambda: intents.in_flight)
    metrics.queue_depth.labels("settling").set_function(lambda: reconciler.in_flight)
    this_process = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    async def lead(role: str, seconds: float) -> bool:
        return await opened.acquire_leadership(role, this_process, seconds)

    fleet.lifetimes = Lifetimes(opened, clock)
    fleet.owners.sealer = sealer
    fleet.quotas = Quotas(fleet, opened, specs, lambda limit: metrics.limit_refusals.labels(limit).inc(), workers)
    ender = LifetimeEnder(fleet, opened, lead, LifetimeSignals(metrics, logger, trail.lifetime_ended))
    return Creates(opened, sealer, lead, intents, specs, reconciler, monitor, ender, trail)


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
