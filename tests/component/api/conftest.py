"""The API on a real port, with use cases that a test can replace, and raw connections to it."""

import asyncio
import json
import math
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import uvloop
from aiohttp import web

from gateway.api import create_api
from gateway.app.access_wiring import assemble_access
from gateway.domain.access import Principal
from gateway.http.server import GatewayRunner, Tls
from gateway.ports.clock import Clock, SystemClock
from gateway.ports.provider_settings import ProviderSettings
from gateway.services.access.administration import AccessAdministration
from gateway.services.access.rates import RateLimits
from gateway.services.audit.trail import AuditTrail
from gateway.services.fleet import Fleet
from gateway.settings import HttpSettings
from gateway.storage.audit_journal import AuditJournal
from gateway.telemetry.logs import Logger, make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.signals import AuditSignals, LimitSignals
from gateway.testing.waiting import Watch
from gateway.upstream.passthrough import PassThrough
from tests.memory_store import MemoryStore
from tests.unit.services.fakes import FakeClock, services_of

KEY = "a-key-of-a-shop-1234"
HTTP = HttpSettings(max_body_bytes=2048, max_header_bytes=4096, max_line_bytes=1024, body_timeout=30)


BOTH_LOOPS = {"test_half_closed", "test_limits", "test_tls"}
"""The modules whose tests run on both event loops that the gateway may use: what they test depends on transports."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Called by pytest-asyncio for each test."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return {**loops, "uvloop": uvloop.new_event_loop} if item.path.stem in BOTH_LOOPS else loops


class RecordingLogger(StringIO):
    """The stream of a logger, which keeps its events; a test can wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.watch = Watch()

    def write(self, line: str) -> int:
        fields = json.loads(line)
        del fields["timestamp"]
        level = fields.pop("level")
        self.events.append(("exception" if "exception" in fields else level, fields.pop("event"), fields))
        self.watch.changed()
        return len(line)

    async def one(self, event: str) -> dict[str, Any]:
        """The fields of the first such event; waits for it."""
        await self.watch.until(lambda: any(name == event for _, name, _ in self.events))
        return next(fields for _, name, fields in self.events if name == event)


@dataclass
class Response:
    """One HTTP response as received."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset, which shows at once that both directions have ended."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def stop_reading(writer: asyncio.StreamWriter) -> None:
    """Leave what arrives on a connection in the buffers of the system."""
    transport: Any = writer.transport
    transport.pause_reading()


FLOOD = 1 << 28
"""Far more than fits into the buffers of the gateway and of the system."""


async def flood(writer: asyncio.StreamWriter, piece: bytes = bytes(1 << 16)) -> int:
    """Write pieces up to :data:`FLOOD`, or until the other side disconnects. Returns how many bytes were accepted."""
    sent = 0
    try:
        while sent < FLOOD:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
    except ConnectionError:
        pass
    return sent


@dataclass
class Connection:
    """One TCP connection to the API."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, raw: bytes) -> None:
        self.writer.write(raw)

    def reset(self) -> None:
        """Close the connection so that the other side sees at once that it is gone."""
        reset(self.writer)

    async def answer(self, *, head: bool = False) -> Response:
        """The next response; ``head``: it has no body, whatever its Content-Length."""
        top = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = top.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = 0 if head else int(headers.get("content-length", "0"))
        return Response(int(status_line.split()[1]), headers, await self.reader.readexactly(length))

    async def closed(self) -> bool:
        """Wait until the other side closes; whether it sent nothing more."""
        return await self.reader.read() == b""


class HeldClock(FakeClock):
    """A clock on which a sleep ends when the test lets that time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = Watch()
        self.sleeping: dict[asyncio.Future[None], tuple[float, float]] = {}

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleeping[future] = (seconds, self.time + seconds)
        self.watch.changed()
        try:
            await future
        finally:
            del self.sleeping[future]

    async def slept(self, seconds: float) -> None:
        """Wait until something sleeps for this time."""
        await self.watch.until(lambda: any(wanted == seconds for wanted, _ in self.sleeping.values()))

    async def passes(self, seconds: float) -> None:
        """Wait until something sleeps for this time, and let it pass."""
        await self.slept(seconds)
        for _ in range(20):  # let those sleep that are about to
            await asyncio.sleep(0)
        await self.slept(seconds)
        self.time += seconds
        for future, (_, until) in list(self.sleeping.items()):
            if until <= self.time and not future.done():
                future.set_result(None)


@dataclass
class Served:
    """A running API."""

    port: int
    app: web.Application
    runner: GatewayRunner
    logger: RecordingLogger
    metrics: Metrics
    trust: ssl.SSLContext | None = None
    connections: list[Connection] = field(default_factory=list)

    async def connect(self) -> Connection:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trust))
        self.connections.append(connection)
        return connection

    async def exchange(self, raw: bytes, *, head: bool = False) -> Response:
        """Send bytes on a new connection and read one response."""
        connection = await self.connect()
        connection.send(raw)
        return await connection.answer(head=head)

    async def call(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Response:
        """Send a well-formed request with the key, and a JSON body if one is given."""
        lines = {"Host": "gateway", "Authorization": f"Bearer {KEY}"}
        if body is not None:
            lines |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        top = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        raw = f"{method} {target} HTTP/1.1\r\n{top}\r\n".encode("latin-1") + (body or b"")
        return await self.exchange(raw, head=method == "HEAD")

    def counted(self, **labels: str) -> float | None:
        """How many requests were counted under these labels."""
        shown = {"surface": "v1", "code": "", "source": "", **labels}
        return self.metrics.registry.get_sample_value("rtgw_requests_total", shown)


Serve = Callable[..., Any]


def digest(key: str) -> bytes:
    return sha256(key.encode()).digest()


def administration(clock: Clock, metrics: Metrics, logger: Logger) -> AccessAdministration:
    """That of an empty store."""
    access = assemble_access(
        MemoryStore(time.time), Fleet([], clock), clock=clock, metrics=metrics, logger=logger, on_changed=lambda: None
    )
    access.administration.directory.confirm(math.inf)
    return access.administration


def trail(clock: Clock, metrics: Metrics, logger: Logger, folder: Path) -> AuditTrail:
    """The audit trail over an empty store; its events are log lines too."""
    signals = AuditSignals(metrics, logger)
    return AuditTrail(MemoryStore(time.time), AuditJournal(folder, 1 << 20), clock, signals, retention=3600)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """``await serve(lifecycle=..., http=...)``: use cases over no provider, some of them replaced; ``native`` are the
    providers of the pass-through, ``others`` more principals by key, ``fleet`` other providers, ``tls`` what its
    listener needs for TLS, ``trust`` what its clients then need."""
    async with AsyncExitStack() as stack:

        @asynccontextmanager
        async def start(
            *,
            http: HttpSettings = HTTP,
            keys: bool = True,
            others: Mapping[str, Principal] | None = None,
            tls: Tls = lambda: None,
            trust: ssl.SSLContext | None = None,
            shutdown_timeout: float = 1,
            fleet: Fleet | None = None,
            native: Iterable[ProviderSettings] = (),
            **services: Any,
        ) -> AsyncIterator[Served]:
            log, metrics = RecordingLogger(), Metrics()
            fleet = fleet or Fleet([], SystemClock())
            clock = fleet.clock
            logger = make_logger("debug", stream=log)
            known = {KEY: Principal("shop"), **(others or {})}
            passed = {p.name: PassThrough(p, metrics=metrics, logger=logger, clock=clock) for p in native}
            app = create_api(
                replace(services_of(fleet), **services),
                metrics=metrics,
                logger=logger,
                clock=clock,
                administration=administration(clock, metrics, logger),
                trail=trail(clock, metrics, logger, Path(stack.enter_context(TemporaryDirectory()))),
                keys={digest(key): one for key, one in known.items()} if keys else None,
                http=http,
                rates=RateLimits(clock, LimitSignals(metrics, logger)),
                native=passed,
            )
            runner = GatewayRunner(app, http, shutdown_timeout=shutdown_timeout, tls=tls)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            served = Served(runner.addresses[0][1], app, runner, log, metrics, trust)
            try:
                yield served
            finally:
                for connection in served.connections:
                    connection.writer.close()
                await runner.cleanup()
                for connection in served.connections:  # with TLS, closing waits for the other side
                    connection.writer.transport.abort()
                await asyncio.sleep(0)
                for passthrough in passed.values():
                    await passthrough.close()

        yield lambda **options: stack.enter_async_context(start(**options))


@pytest.fixture
async def api(serve: Serve) -> Served:
    """The API over no provider."""
    served: Served = await serve()
    return served
