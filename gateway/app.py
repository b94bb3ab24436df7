"""Where everything meets: settings, adapters, transports, use cases and the HTTP layer, and nothing else does."""

import asyncio
import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Any, Final, NamedTuple

from aiohttp import web

from adapters.registry import discover
from gateway.api import HttpLimits, create_admin, create_api
from gateway.api.openapi import openapi_document
from gateway.api.server import ENDPOINTS, GatewayRunner
from gateway.creates import assemble
from gateway.ports.clock import Clock, SystemClock
from gateway.ports.dialect import Dialect, DialectGateway
from gateway.ports.plugin import AdapterPlugin
from gateway.ports.provider import ProviderAdapter
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.sealing import Sealer
from gateway.ports.store import Store
from gateway.reload import Reloader, dialect_rules, key_digests
from gateway.services import Services
from gateway.services.dialects import DialectService
from gateway.services.fleet import Fleet
from gateway.services.health import Checked, HealthService
from gateway.services.read_cache import ReadCache
from gateway.settings import CacheSettings, ListenAddress, Settings, SettingsSource
from gateway.telemetry.logs import Event, Logger, make_logger
from gateway.telemetry.loop_lag import measure_loop_lag
from gateway.telemetry.metrics import Metrics
from gateway.upstream.observed import ObservedTransport
from gateway.upstream.passthrough import PassThrough
from gateway.upstream.policies import guarded
from gateway.upstream.transport import AiohttpTransport

__all__ = [
    "check_providers",
    "create_app",
    "create_emulator",
    "openapi_document",
    "plugins",
    "provider_models",
    "run",
    "serving",
]

ADMIN: Final = web.AppKey("admin", web.Application)
RELOADER: Final = web.AppKey("reloader", Reloader)

_GC_THRESHOLD: Final = 50_000


def plugins() -> Mapping[str, AdapterPlugin]:
    """Every provider API that this gateway speaks, by name."""
    return discover()


def provider_models() -> Mapping[str, type[ProviderSettings]]:
    """The settings model of each provider API."""
    return {api: plugin.settings for api, plugin in discover().items()}


def create_app(
    settings: Settings,
    *,
    adapters: Iterable[ProviderAdapter[Any]] | None = None,
    store: tuple[Store, Sealer] | None = None,
    clock: Clock | None = None,
    logger: Logger | None = None,
) -> web.Application:
    """The whole service as an aiohttp application.

    ``adapters`` and ``store`` replace those that the settings describe. Where ``admin.listen`` is set, the probes and
    metrics are in a second application, at ``app[ADMIN]``.
    """
    clock = clock or SystemClock()
    logger = logger or make_logger(settings.log.level, settings.log.format)
    metrics = Metrics()

    def make_adapter(provider: ProviderSettings) -> ProviderAdapter[Any]:
        return _adapter(provider, clock, metrics, logger)

    def make_native(provider: ProviderSettings) -> PassThrough:
        return PassThrough(provider, metrics=metrics, logger=logger, clock=clock)

    def on_credentials(provider: str, ok: bool) -> None:
        metrics.credentials_ok.labels(provider).set(ok)
        (logger.info if ok else logger.warning)(Event.CREDENTIALS, provider=provider, accepted=ok)

    fleet_adapters = list(adapters) if adapters is not None else list(map(make_adapter, settings.providers.values()))
    fleet = Fleet(fleet_adapters, clock, on_credentials=on_credentials)
    creates = assemble(settings, fleet, clock=clock, metrics=metrics, logger=logger, store=store)
    reads = _read_cache(settings.cache, fleet, metrics)
    services = Services.over(fleet, creates.intents, reads=reads, specs=creates.specs)
    native = {adapter.name: make_native(adapter.settings) for adapter in fleet_adapters}
    dialects = DialectService(fleet, services.create, dialect_rules(settings))
    this_process = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    async def lead(duty: str, seconds: float) -> bool:
        return await creates.store.lead(duty, this_process, seconds)

    health = HealthService(fleet, timeout=settings.health.timeout, lead=lead)
    separate_admin = settings.admin.listen is not None
    app = create_api(
        services,
        metrics=metrics,
        logger=logger,
        clock=clock,
        keys=key_digests(settings),
        limits=HttpLimits(
            max_body_bytes=settings.http.max_body_bytes,
            max_header_bytes=settings.http.max_header_bytes,
            max_line_bytes=settings.http.max_line_bytes,
            body_timeout=settings.http.body_timeout,
            max_requests_in_flight=settings.http.max_requests_in_flight,
        ),
        native=native,
        dialects=_dialects(dialects),
        with_admin=not separate_admin,
    )
    if separate_admin:
        app[ADMIN] = create_admin(app, metrics=metrics)

    reloader = app[RELOADER] = Reloader(
        settings,
        fleet=fleet,
        native=native,
        dialects=dialects,
        authenticator=app[ENDPOINTS].authenticator,
        in_flight=app[ENDPOINTS].in_flight,
        health=health,
        reads=services.reads,
        make_adapter=make_adapter,
        make_native=make_native,
        metrics=metrics,
        logger=logger,
        clock=clock,
    )

    async def providers(_app: web.Application) -> AsyncIterator[None]:
        yield
        await reloader.close()

    async def loop_lag(_app: web.Application) -> AsyncIterator[None]:
        async with _beside(measure_loop_lag(metrics, clock)):
            yield

    app.cleanup_ctx.extend((providers, creates.running, loop_lag))
    return app


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """``work`` runs for as long as the block does."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _adapter(provider: ProviderSettings, clock: Clock, metrics: Metrics, logger: Logger) -> ProviderAdapter[Any]:
    observed = ObservedTransport(AiohttpTransport(provider, clock), provider.name, metrics, logger)
    transport = guarded(observed, provider, clock=clock, metrics=metrics, logger=logger)
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


class Addresses(NamedTuple):
    """The base URLs of what is served. ``admin`` is None where the API's address has metrics and probes too."""

    api: str
    admin: str | None


@asynccontextmanager
async def serving(settings: Settings, app: web.Application | None = None) -> AsyncIterator[Addresses]:
    """Serve on the configured addresses. On leaving, stops accepting, and lets what is in flight finish within the
    ``shutdown.grace`` of then. Raises ``OSError`` whose ``strerror`` names the address that cannot be listened on."""
    app = app or create_app(settings)
    async with AsyncExitStack() as stack:
        admin = None
        if settings.admin.address is not None:  # first, so that it is closed last, when the API has drained
            admin = await _listen(stack, app[ADMIN], settings.admin.address, app[RELOADER])
        addresses = Addresses(await _listen(stack, app, settings.http.address, app[RELOADER]), admin)
        async with _beside(app[RELOADER].look_after_providers()):
            yield addresses


async def _listen(stack: AsyncExitStack, app: web.Application, address: ListenAddress, reloader: Reloader) -> str:
    http = reloader.settings.http
    runner = GatewayRunner(
        app,
        max_line_bytes=http.max_line_bytes,
        max_header_bytes=http.max_header_bytes,
        keepalive_timeout=http.keepalive_timeout,
        write_timeout=http.write_timeout,
        max_connections=http.max_connections,
    )

    async def end() -> None:
        runner.grace = reloader.settings.shutdown.grace
        await runner.cleanup()

    await runner.setup()
    stack.push_async_callback(end)
    return await listen(runner, address)


async def listen(runner: web.AppRunner, address: ListenAddress) -> str:
    """Accept connections at the address, and give the base URL. Raises ``OSError`` whose ``strerror`` names it."""
    try:
        await web.TCPSite(runner, address.host, address.port, backlog=1024).start()
    except OSError as exc:
        reason = (exc.strerror or str(exc)).rpartition(": ")[2]
        raise OSError(exc.errno, f"{address}: {reason}") from exc
    return f"http://{ListenAddress(address.host, runner.addresses[0][1])}"


def check_providers(settings: Settings, names: Sequence[str] | None = None) -> list[Checked]:
    """Ask providers (all, if no names are given) whether they answer and take these credentials, without serving.
    Raises ``KeyError`` for a name that is none."""
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


def create_emulator(api: str, *, token: str, personality: Mapping[str, str] | None = None) -> web.Application:
    """The emulator of a provider API; ``token`` is the one credential that it accepts."""
    module, _, function = discover()[api].emulator.partition(":")
    app: web.Application = getattr(import_module(module), function)(token=token, personality=personality)
    return app


async def until_told_to_stop(again: Callable[[], None] | None = None) -> None:
    """Wait for SIGTERM or SIGINT; the next one calls ``again``."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    if again is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, again)


def run(settings: Settings, source: SettingsSource | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Settings that change in ``source`` come into force on SIGHUP, and by themselves.
    Raises ``OSError`` when an address cannot be listened on."""
    logger = make_logger(settings.log.level, settings.log.format)

    async def serve() -> None:
        app = create_app(settings, logger=logger)
        reloader, in_flight = app[RELOADER], app[ENDPOINTS].in_flight
        async with serving(settings, app) as addresses:
            settle_memory()
            async with _reloading(reloader, source):
                logger.info(
                    Event.STARTED, url=addresses.api, admin_url=addresses.admin, providers=list(settings.providers)
                )
                await until_told_to_stop(in_flight.hurry)
                in_flight.draining = True
                shutdown = reloader.settings.shutdown
                logger.info(Event.STOPPING, delay_seconds=shutdown.delay, grace_seconds=shutdown.grace)
                await in_flight.wait(shutdown.delay)
        logger.info(Event.STOPPED)

    asyncio.run(serve())
    return 0


@asynccontextmanager
async def _reloading(reloader: Reloader, source: SettingsSource | None) -> AsyncIterator[None]:
    if source is None:
        yield
        return
    hangup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    async with _beside(reloader.watch(source, hangup)):
        yield


def settle_memory() -> None:
    """Keep what start-up made out of every later garbage collection, and collect less often: worth a quarter of the
    time of a list."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
