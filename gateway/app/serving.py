"""Serving an application: addresses, process signals and shutdown."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final, NamedTuple

from aiohttp import web

from gateway.api.pipeline import ENDPOINTS
from gateway.app.descriptors import MOST_CONNECTIONS
from gateway.app.reload import Reloader
from gateway.app.worker import Link
from gateway.http.server import SERVED, GatewayRunner, Tls
from gateway.ports.process_signals import RELOAD, STOP, ignore_reload, react
from gateway.services.data_plane.service import DataPlane
from gateway.settings import ListenAddress, SettingsSource
from gateway.telemetry.logs import Event, Logger

ADMIN: Final = web.AppKey("admin", web.Application)
DATA: Final = web.AppKey("data", web.Application)
PLANE: Final = web.AppKey("plane", DataPlane)
RELOADER: Final = web.AppKey("reloader", Reloader)

_GC_THRESHOLD: Final = 50_000


class Addresses(NamedTuple):
    """The base URLs that are served. ``admin`` None: metrics and probes are at the API's address. ``data`` None: the
    data plane is off."""

    api: str
    admin: str | None
    data: str | None = None


@asynccontextmanager
async def listening(app: web.Application, *, shared: bool = False) -> AsyncIterator[Addresses]:
    """Serve on the configured addresses, with other processes if they are ``shared``. On exit, stops accepting and
    waits up to ``shutdown.grace`` seconds (the value at that time) for the requests in flight, of the API and the data
    plane at the same time. Raises ``OSError`` whose ``strerror`` names the address that failed."""
    reloader = app[RELOADER]
    runners: list[GatewayRunner] = []
    settings = reloader.settings
    async with AsyncExitStack() as stack:
        admin = None
        if settings.admin.address is not None:  # first, so that it is closed last, when the API has drained
            admin, _ = await _listen(stack, app[ADMIN], settings.admin.address, reloader, shared=shared)
        data = None
        if DATA in app:
            data, runner = await _listen(
                stack, app[DATA], settings.data.address, reloader, lambda: reloader.data_tls, shared=shared
            )
            app[PLANE].public_url = settings.data.public_url or data
            runners.append(runner)
        api, runner = await _listen(stack, app, settings.http.address, reloader, lambda: reloader.tls, shared=shared)
        runners.append(runner)
        addresses = Addresses(api, admin, data)
        try:
            async with background_task(reloader.check_providers_periodically()):
                yield addresses
        finally:
            for runner in runners:
                runner.grace = reloader.settings.shutdown.grace
            await asyncio.gather(*(runner.drain() for runner in runners))


async def _listen(
    stack: AsyncExitStack,
    app: web.Application,
    address: ListenAddress,
    reloader: Reloader,
    tls: Tls = lambda: None,
    *,
    shared: bool,
) -> tuple[str, GatewayRunner]:
    http = reloader.settings.http
    limit = app.get(MOST_CONNECTIONS, http.max_connections)
    runner = GatewayRunner(app, http.model_copy(update={"max_connections": limit}), tls=tls)

    async def end() -> None:
        runner.grace = reloader.settings.shutdown.grace
        await runner.cleanup()

    await runner.setup()
    stack.push_async_callback(end)
    url = await listen(runner, address, shared=shared)
    return url if tls() is None else url.replace("http", "https", 1), runner


async def listen(runner: web.AppRunner, address: ListenAddress, *, shared: bool = False) -> str:
    """Accept connections at the address and return its base URL. Raises ``OSError`` whose ``strerror`` names it."""
    with named(address):
        await web.TCPSite(runner, address.host, address.port, backlog=1024, reuse_port=shared or None).start()
    return f"http://{ListenAddress(address.host, runner.addresses[0][1])}"


@contextmanager
def named(address: ListenAddress) -> Iterator[None]:
    """Name the address in the ``strerror`` of an ``OSError``."""
    try:
        yield
    except OSError as exc:
        reason = (exc.strerror or str(exc)).rpartition(": ")[2]
        raise OSError(exc.errno, f"{address}: {reason}") from exc


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set from now on."""
    stop = asyncio.Event()
    for number in STOP:
        react(number, stop.set)
    return stop


async def serve_until_signal(
    app: web.Application, source: SettingsSource | None, logger: Logger, link: Link | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, and for ``shutdown.delay`` seconds after it; a second signal ends all waiting.
    Changed settings in ``source`` are applied on SIGHUP and automatically. A worker does the same for its
    supervisor, at the end of ``link``."""
    reloader, in_flight = app[RELOADER], app[ENDPOINTS].in_flight
    served = [app[SERVED], *([app[DATA][SERVED]] if DATA in app else [])]
    stop, sighup = stop_signal(), asyncio.Event()

    def hurry() -> None:
        for each in served:
            each.in_flight.stop_waiting()

    async with AsyncExitStack() as stack:
        if link is not None:
            supervised = link.run(stop=stop.set, hurry=hurry, reload=sighup.set)
            await stack.enter_async_context(background_task(supervised))
        addresses = await stack.enter_async_context(listening(app, shared=link is not None))
        tune_gc()
        async with _reloading(reloader, source, sighup):
            logger.info(
                Event.STARTED, url=addresses.api, admin_url=addresses.admin, providers=list(reloader.settings.providers)
            )
            if link is not None:
                link.ready()
            await stop.wait()
            for number in STOP:
                react(number, hurry)
            in_flight.draining = True
            shutdown = reloader.settings.shutdown
            logger.info(Event.STOPPING, delay_seconds=shutdown.delay, grace_seconds=shutdown.grace)
            await in_flight.wait(shutdown.delay)
    logger.info(Event.STOPPED)


@asynccontextmanager
async def _reloading(reloader: Reloader, source: SettingsSource | None, sighup: asyncio.Event) -> AsyncIterator[None]:
    if source is None:
        yield
        return
    react(RELOAD, sighup.set)
    try:
        async with background_task(reloader.watch(source, sighup)):
            yield
    finally:
        ignore_reload()


@asynccontextmanager
async def background_task(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run ``work`` while the block runs, then cancel it."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def in_background(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[web.Application], AsyncIterator[None]]:
    """A cleanup context that runs ``work`` while the application serves."""

    async def running(_app: web.Application) -> AsyncIterator[None]:
        async with background_task(work()):
            yield

    return running


def tune_gc() -> None:
    """Exclude the objects made at start-up from garbage collection, and collect less often. This saves a quarter of the
    time of a list. No collection precedes: it would find half a megabyte in 50 ms."""
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    gc.enable()
