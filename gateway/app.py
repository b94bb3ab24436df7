"""Where everything meets: settings, adapters, transports, use cases and the HTTP layer, and nothing else does."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Any, Final, NamedTuple

from aiohttp import web

from adapters.registry import discover
from gateway.api import HttpLimits, create_admin, create_api
from gateway.api.openapi import openapi_document
from gateway.api.server import GatewayRunner
from gateway.ports.clock import Clock, SystemClock
from gateway.ports.dialect import Dialect, DialectGateway
from gateway.ports.plugin import AdapterPlugin
from gateway.ports.provider import ProviderAdapter
from gateway.ports.provider_settings import ProviderSettings
from gateway.services import Services
from gateway.services.dialects import DialectRule, DialectService
from gateway.services.fleet import Fleet
from gateway.services.read_cache import ReadCache
from gateway.settings import AuthSettings, CacheSettings, ListenAddress, Settings
from gateway.telemetry.logs import Event, Logger, make_logger
from gateway.telemetry.loop_lag import measure_loop_lag
from gateway.telemetry.metrics import Metrics
from gateway.upstream.observed import ObservedTransport
from gateway.upstream.passthrough import PassThrough
from gateway.upstream.policies import guarded
from gateway.upstream.transport import AiohttpTransport

__all__ = ["create_app", "create_emulator", "openapi_document", "plugins", "provider_models", "run", "serving"]

ADMIN: Final = web.AppKey("admin", web.Application)

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
    clock: Clock | None = None,
    logger: Logger | None = None,
) -> web.Application:
    """The whole service as an aiohttp application.

    ``adapters`` replaces those that the settings describe. Where ``admin.listen`` is set, the probes and metrics are
    in a second application, at ``app[ADMIN]``.
    """
    clock = clock or SystemClock()
    logger = logger or make_logger(settings.log.level, settings.log.format)
    metrics = Metrics()
    fleet_adapters = list(adapters) if adapters is not None else _adapters(settings, clock, metrics, logger)
    fleet = Fleet(fleet_adapters, clock, on_credentials=lambda name, ok: metrics.credentials_ok.labels(name).set(ok))
    services = Services.over(fleet, reads=_read_cache(settings.cache, fleet, metrics))
    native = {
        adapter.name: PassThrough(adapter.settings, metrics=metrics, logger=logger, clock=clock)
        for adapter in fleet_adapters
    }
    separate_admin = settings.admin.listen is not None
    app = create_api(
        services,
        metrics=metrics,
        logger=logger,
        clock=clock,
        keys=_keys(settings),
        limits=HttpLimits(
            max_body_bytes=settings.http.max_body_bytes,
            max_header_bytes=settings.http.max_header_bytes,
            max_line_bytes=settings.http.max_line_bytes,
            body_timeout=settings.http.body_timeout,
        ),
        native=native,
        dialects=_dialects(DialectService(fleet, services.create, _dialect_rules(settings))),
        with_admin=not separate_admin,
    )
    if separate_admin:
        app[ADMIN] = create_admin(app, metrics=metrics)

    async def transports(_app: web.Application) -> AsyncIterator[None]:
        yield
        for adapter in fleet_adapters:
            await adapter.transport.close()
            await native[adapter.name].close()

    async def loop_lag(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(measure_loop_lag(metrics, clock))
        yield
        task.cancel()

    app.cleanup_ctx.extend((transports, loop_lag))
    return app


def _adapters(settings: Settings, clock: Clock, metrics: Metrics, logger: Logger) -> list[ProviderAdapter[Any]]:
    known = discover()
    adapters: list[ProviderAdapter[Any]] = []
    for provider in settings.providers.values():
        observed = ObservedTransport(AiohttpTransport(provider, clock), provider.name, metrics, logger)
        transport = guarded(observed, provider, clock=clock, metrics=metrics, logger=logger)
        adapters.append(known[provider.api].adapter(provider, transport))
    return adapters


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


def _dialect_rules(settings: Settings) -> dict[str, list[DialectRule]]:
    return {
        prefix: [DialectRule(route.scope, route.provider, route.target_scope, route.era) for route in dialect.routes]
        for prefix, dialect in settings.dialects.items()
    }


def _keys(settings: Settings) -> Mapping[str, bytes] | None:
    """The digest of each key by its name; None where no key is asked for."""
    if not isinstance(settings.auth, AuthSettings):
        return None
    return {name: key.digest for name, key in settings.auth.keys.items()}


class Addresses(NamedTuple):
    """The base URLs of what is served. ``admin`` is None where the API's address has metrics and probes too."""

    api: str
    admin: str | None


@asynccontextmanager
async def serving(settings: Settings, app: web.Application | None = None) -> AsyncIterator[Addresses]:
    """Serve on the configured addresses. On leaving, stops accepting, and lets what is in flight finish within
    ``shutdown.grace``. Raises ``OSError`` whose ``strerror`` names the address that cannot be listened on."""
    app = app or create_app(settings)
    async with AsyncExitStack() as stack:
        admin = None
        if settings.admin.address is not None:  # first, so that it is closed last, when the API has drained
            admin = await _listen(stack, app[ADMIN], settings, settings.admin.address)
        yield Addresses(await _listen(stack, app, settings, settings.http.address), admin)


async def _listen(stack: AsyncExitStack, app: web.Application, settings: Settings, address: ListenAddress) -> str:
    runner = GatewayRunner(
        app,
        max_line_bytes=settings.http.max_line_bytes,
        max_header_bytes=settings.http.max_header_bytes,
        keepalive_timeout=settings.http.keepalive_timeout,
        shutdown_timeout=settings.shutdown.grace,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return await listen(runner, address)


async def listen(runner: web.AppRunner, address: ListenAddress) -> str:
    """Accept connections at the address, and give the base URL. Raises ``OSError`` whose ``strerror`` names it."""
    try:
        await web.TCPSite(runner, address.host, address.port, backlog=1024).start()
    except OSError as exc:
        reason = (exc.strerror or str(exc)).rpartition(": ")[2]
        raise OSError(exc.errno, f"{address}: {reason}") from exc
    return f"http://{ListenAddress(address.host, runner.addresses[0][1])}"


def create_emulator(api: str, *, token: str, personality: Mapping[str, str] | None = None) -> web.Application:
    """The emulator of a provider API; ``token`` is the one credential that it accepts."""
    module, _, function = discover()[api].emulator.partition(":")
    app: web.Application = getattr(import_module(module), function)(token=token, personality=personality)
    return app


async def until_told_to_stop() -> None:
    """Wait for SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises ``OSError`` when an address cannot be listened on."""
    logger = make_logger(settings.log.level, settings.log.format)

    async def serve() -> None:
        async with serving(settings, create_app(settings, logger=logger)) as addresses:
            settle_memory()
            logger.info(Event.STARTED, url=addresses.api, admin_url=addresses.admin, providers=list(settings.providers))
            await until_told_to_stop()
            logger.info(Event.STOPPING, grace_seconds=settings.shutdown.grace)
        logger.info(Event.STOPPED)

    asyncio.run(serve())
    return 0


def settle_memory() -> None:
    """Keep what start-up made out of every later garbage collection, and collect less often: worth a quarter of the
    time of a list."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
