"""Builds the application: the only place that connects settings, adapters, transports, use cases and HTTP."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib import import_module
from typing import Any

from aiohttp import web
from msgspec import convert

from gateway.api import create_admin, create_api
from gateway.api.cache.cache import ReadCache
from gateway.api.openapi import openapi_document
from gateway.api.pipeline import ENDPOINTS
from gateway.app.access_wiring import assemble_access, assemble_rates, moving
from gateway.app.callers import issuers, principals_by_digest
from gateway.app.create_wiring import assemble, assemble_moves
from gateway.app.data_wiring import assemble_data_plane, data_plane_work, relocated
from gateway.app.descriptors import AcceptFailures, fit_descriptors
from gateway.app.event_loop import loop_factory
from gateway.app.folders import discover
from gateway.app.reload import Reloader, dialect_rules, forward_rules
from gateway.app.serving import ADMIN, DATA, PLANE, RELOADER, Addresses, in_background, listening, serve_until_signal
from gateway.app.usage_wiring import sampling
from gateway.app.worker import Place, joined
from gateway.dataplane.app import create_data_plane
from gateway.ports.clock import Clock, SystemClock
from gateway.ports.dialect import Dialect, DialectGateway
from gateway.ports.plugin import AdapterPlugin
from gateway.ports.process_signals import hold_again
from gateway.ports.provider import ProviderAdapter
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.sealing import Sealer
from gateway.ports.whole_store import WholeStore
from gateway.services import Services
from gateway.services.dialects import DialectService
from gateway.services.fleet import Fleet
from gateway.services.health import Checked, HealthService
from gateway.services.provider_history import ProviderHistory
from gateway.settings import CacheSettings, Problem, Settings, SettingsError, SettingsSource
from gateway.settings.model import unknown_eras
from gateway.storage.relocation_file import RelocationFile
from gateway.telemetry.logs import Event, Logger, make_logger
from gateway.telemetry.metrics import Metrics, measure_loop_lag
from gateway.telemetry.signals import CallSignals
from gateway.upstream.observed import AttemptLog
from gateway.upstream.passthrough import PassThrough
from gateway.upstream.policies import guarded
from gateway.upstream.transport import HttpTransport

__all__ = [
    "check_providers",
    "create_app",
    "create_emulator",
    "dialect_eras",
    "openapi_document",
    "plugins",
    "provider_models",
    "run",
    "serving",
]


def plugins() -> Mapping[str, AdapterPlugin]:
    """Every provider API that this gateway supports, by name."""
    return discover()


def provider_models() -> Mapping[str, type[ProviderSettings]]:
    return {api: plugin.settings for api, plugin in discover().items()}


def dialect_eras() -> Mapping[str, frozenset[str]]:
    """The eras that the routes of each dialect declare, by the dialect's prefix, and the presets of its ``forward``, by
    the prefix and ``.forward``."""
    eras: dict[str, set[str]] = {}
    for plugin in discover().values():
        if plugin.dialect is not None:
            eras.setdefault(plugin.dialect.prefix, set()).update(r.era for r in plugin.dialect.routes if r.era)
            eras.setdefault(f"{plugin.dialect.prefix}.forward", set()).update(plugin.dialect.presets)
    return {prefix: frozenset(names) for prefix, names in eras.items()}


def create_app(
    settings: Settings,
    *,
    adapters: Iterable[ProviderAdapter[Any]] | None = None,
    store: tuple[WholeStore, Sealer] | None = None,
    clock: Clock | None = None,
    logger: Logger | None = None,
    metrics: Metrics | None = None,
    workers: int = 1,
) -> web.Application:
    """Build the service as an aiohttp application.

    ``adapters`` and ``store`` replace those that the settings describe. ``workers`` is how many processes share the
    rates that each counts alone. If ``admin.listen`` is set, probes and metrics are a second application, at
    ``app[ADMIN]``. Raises :class:`SettingsError` for a dialect route whose era
    the dialect does not have.
    """
    if problems := [Problem(".".join(at), text) for at, text in unknown_eras(settings.dialects, dialect_eras())]:
        raise SettingsError(problems)
    clock = clock or SystemClock()
    logger = logger or make_logger(settings.log.level, settings.log.format)
    metrics = metrics or Metrics()
    logger.on_lost(metrics.dropped.labels("log_line").inc)

    def make_adapter(provider: ProviderSettings) -> ProviderAdapter[Any]:
        return _adapter(provider, clock, metrics, logger)

    def make_native(provider: ProviderSettings) -> PassThrough:
        return PassThrough(provider, metrics=metrics, logger=logger, clock=clock)

    def on_credentials(provider: str, ok: bool) -> None:
        metrics.credentials_ok.labels(provider).set(ok)
        (logger.info if ok else logger.warning)(Event.CREDENTIALS, provider=provider, accepted=ok)

    fleet_adapters = list(adapters) if adapters is not None else list(map(make_adapter, settings.providers.values()))
    fleet = Fleet(fleet_adapters, clock, on_credentials=on_credentials, observer=CallSignals(metrics, logger))
    creates = assemble(settings, fleet, clock=clock, metrics=metrics, logger=logger, store=store, workers=workers)
    trail = creates.trail
    reads = _read_cache(settings.cache, fleet, metrics)

    def on_changed() -> None:
        services.hub.wake_all()
        if reads is not None:
            reads.clear()
        if plane is not None:
            plane.end_revoked()

    access = assemble_access(
        creates.store,
        fleet,
        clock=clock,
        metrics=metrics,
        logger=logger,
        on_changed=on_changed,
        on_moved=lambda news: relocated(fleet, plane, news),
        snapshot=RelocationFile(settings.audit.folder(settings.store) / "relocations.json"),
    )
    rates = fleet.rates = assemble_rates(settings.limits, clock=clock, metrics=metrics, logger=logger, workers=workers)
    plane = assemble_data_plane(
        settings.data, fleet, access.administration.directory, creates.store, creates.sealer, clock
    )
    history = ProviderHistory(fleet, metrics, clock)
    services = Services.over(
        fleet,
        creates.intents,
        creates.store,
        sealer=creates.sealer,
        specs=creates.specs,
        data_plane=plane,
        history=history,
    )
    moves = assemble_moves(
        creates, services, access.administration.directory, logger=logger, on_switched=access.moves.refresh
    )
    native = {adapter.name: make_native(adapter.settings) for adapter in fleet_adapters}
    dialects = DialectService(
        fleet, services.create, dialect_rules(settings), creates.sealer, plane, forward_rules(settings)
    )
    health = HealthService(fleet, timeout=settings.health.timeout, lead=creates.lead)
    separate_admin = settings.admin.listen is not None
    app = create_api(
        services,
        metrics=metrics,
        logger=logger,
        clock=clock,
        keys=principals_by_digest(settings),
        administration=access.administration,
        tokens=access.tokens,
        issuers=issuers(settings),
        trail=trail,
        http=settings.http,
        rates=rates,
        native=native,
        dialects=_dialects(dialects),
        reads=reads,
        with_admin=not separate_admin,
        with_console=settings.console,
        workers=workers,
    )
    app[ENDPOINTS].outdated = lambda: creates.monitor.outdated
    if separate_admin:
        app[ADMIN] = create_admin(app, http=settings.http, metrics=metrics)

    if plane is not None:
        app[PLANE] = plane
        app[DATA] = create_data_plane(
            plane, settings.data, settings.http, metrics=metrics, logger=logger, clock=clock, trail=trail
        )
        app.cleanup_ctx.extend(data_plane_work(plane, settings.data, fleet, services.lifecycle, creates.store))

    reloader = app[RELOADER] = Reloader(
        settings,
        fleet=fleet,
        native=native,
        dialects=dialects,
        authenticator=app[ENDPOINTS].authenticator,
        cors=app[ENDPOINTS].cors,
        in_flight=app[ENDPOINTS].in_flight,
        health=health,
        reads=reads,
        make_adapter=make_adapter,
        make_native=make_native,
        on_principals=trail.principals_reloaded,
        metrics=metrics,
        logger=logger,
        clock=clock,
    )

    async def providers(_app: web.Application) -> AsyncIterator[None]:
        yield
        await reloader.close()
        await rates.close()

    measured = in_background(partial(measure_loop_lag, metrics, clock)), in_background(history.keep)
    sampled = sampling(settings, fleet, services, creates.lead, metrics=metrics, logger=logger)
    app.cleanup_ctx.extend(
        (providers, creates.running, partial(moving, trail), access.running, moves, *measured, *sampled)
    )
    return app


def _adapter(provider: ProviderSettings, clock: Clock, metrics: Metrics, logger: Logger) -> ProviderAdapter[Any]:
    log = AttemptLog(provider.name, metrics, logger)
    transport = guarded(HttpTransport(provider, clock, log), provider, clock=clock, metrics=metrics, logger=logger)
    return discover()[provider.api].adapter(provider, transport)


def _read_cache(cache: CacheSettings, fleet: Fleet, metrics: Metrics) -> ReadCache | None:
    if not cache.enabled:
        return None
    reads = ReadCache(
        fleet,
        ttl=cache.ttl,
        stale_if_error=cache.stale_if_error,
        max_entries=cache.max_entries,
        max_bytes=cache.max_bytes,
    )
    metrics.cache_entries.set_function(lambda: len(reads))
    metrics.cache_bytes.set_function(lambda: reads.size)
    return reads


def _dialects(gateway: DialectGateway) -> list[Dialect]:
    return [plugin.dialect(gateway) for plugin in discover().values() if plugin.dialect is not None]


def check_providers(settings: Settings, names: Sequence[str] | None = None) -> list[Checked]:
    """Check, without serving, whether providers (all if ``names`` is empty or None) respond and accept the configured
    credentials. Raises ``KeyError`` for the name of an unknown provider."""
    clock, metrics, logger = SystemClock(), Metrics(), make_logger("error", settings.log.format, sys.stderr)
    asked = [settings.providers[name] for name in names or settings.providers]

    async def check() -> list[Checked]:
        adapters = [_adapter(provider, clock, metrics, logger) for provider in asked]
        try:
            return await HealthService(Fleet(adapters, clock), timeout=settings.health.timeout).check_all()
        finally:
            for adapter in adapters:
                await adapter.transport.close()

    return asyncio.run(check())


def create_emulator(
    api: str, *, token: str, personality: Mapping[str, str] | None = None, **options: Any
) -> web.Application:
    """The emulator of a provider API; ``token`` is the only credential that it accepts, ``options`` are those of
    ``AdapterPlugin.emulator_options``."""
    module, _, function = discover()[api].emulator.partition(":")
    app: web.Application = getattr(import_module(module), function)(token=token, personality=personality, **options)
    return app


def serving(settings: Settings, app: web.Application | None = None) -> AbstractAsyncContextManager[Addresses]:
    """Serve ``app``, or an application built from the settings; see :func:`gateway.app.serving.listening`."""
    return listening(app or create_app(settings))


def run(settings: Settings, source: SettingsSource | None = None, worker: Mapping[str, object] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Changed settings in ``source`` are applied on SIGHUP and automatically. If it is
    for several workers, this process is their supervisor, unless ``worker`` is the :class:`Place` of one. Raises
    ``OSError`` when an address cannot be listened on, and :class:`SettingsError` when there are too few file
    descriptors."""

    workers, place = 1 if source is None else source.workers, None if worker is None else convert(worker, Place)
    if workers > 1 and place is None:
        from gateway.app.supervisor import supervise  # noqa: PLC0415 (a worker needs nothing of it)

        return supervise(settings, workers)

    async def serve() -> None:
        logger = make_logger(settings.log.level, settings.log.format)
        if place is not None:
            logger = logger.bind(worker=place.number)
        for warning in source.warnings if source is not None else ():
            logger.warning(Event.SETTINGS_WARNING, setting=warning.path, detail=warning.message)
        asyncio.get_running_loop().set_exception_handler(AcceptFailures(logger))
        metrics = Metrics()
        app = create_app(settings, logger=logger, metrics=metrics, workers=workers)
        fit_descriptors(app, settings, logger)
        link = None if place is None else await joined(place, metrics)
        await serve_until_signal(app, source, logger, link)

    try:
        with asyncio.Runner(loop_factory=loop_factory(settings.http.event_loop)) as runner:
            runner.run(serve())
    finally:
        hold_again()
    return 0
