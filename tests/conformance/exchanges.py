"""Records what adapters send and what emulators and dialects answer."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import aiohttp
import msgspec
from yarl import URL

from gateway.app import create_app, plugins, serving
from gateway.demo import demo_settings
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Call, Transport, UpstreamRequest, UpstreamResponse
from gateway.telemetry.logs import make_logger
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.faults import parse_rules
from gateway.testing.processes import running
from gateway.upstream.transport import HttpTransport
from tests.component.stores import in_memory
from tests.conformance.facts import Exchange

TOKEN: Final = "token-of-the-account-4711"
KEY: Final = "a-key-of-a-shop-1234"


@dataclass
class Clock:
    """The clock of an emulator; a test advances it."""

    now: float = 1_780_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Caller:
    """Sends the calls of a client to a server, and records every exchange."""

    session: aiohttp.ClientSession
    url: str
    key: str
    emulator: Emulator
    emulator_url: str
    headers: dict[str, str] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)

    async def call(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Any:
        """Send a call, with ``body`` as JSON or ``raw`` unchanged; return the decoded answer."""
        data = json.dumps(body).encode() if raw is None and body is not None else raw
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        sent = {"Authorization": f"Bearer {self.key}", **self.headers, **given}
        if data is not None:
            sent["Content-Type"] = "application/json"
        async with self.session.request(
            method, URL(self.url + path, encoded=True), data=data, headers=sent
        ) as response:
            text = await response.text()
            answer = json.loads(text) if text else None
            where, _, query = path.partition("?")
            kept = {name.lower(): value for name, value in sent.items()}
            self.exchanges.append(Exchange(method, where, parse_qsl(query), body, response.status, answer, kept))
            return answer

    async def control(self, path: str, body: Any) -> Any:
        """Call a control route of the emulator, which is not recorded."""
        async with self.session.post(self.emulator_url + path, json=body) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    def fault(self, operation: str, fault: str, **more: Any) -> None:
        """Make the next call of an operation fail."""
        rule = {"operation": operation, "fault": fault, "times": 1, **more}
        self.emulator.faults.add(parse_rules(rule, set(self.emulator.operations.values())))


@asynccontextmanager
async def emulated(api: str, clock: Clock, **personality: str) -> AsyncIterator[Caller]:
    """A caller of an emulator."""
    module, _, function = plugins()[api].emulator.partition(":")
    app = getattr(import_module(module), function)(token=TOKEN, personality=personality, now=clock)
    async with running(app) as url, aiohttp.ClientSession() as session:
        yield Caller(session, url, TOKEN, app[EMULATOR], url)


@asynccontextmanager
async def adapted(api: str, caller: Caller, *, pinned: bool = True) -> AsyncIterator[ProviderAdapter[Any]]:
    """The adapter of an API in front of the caller's emulator. Its exchanges are recorded by the caller."""
    plugin = plugins()[api]
    settings = plugin.settings.model_validate(
        {
            "name": plugin.demo.provider,
            "api": api,
            "base_url": caller.emulator_url + plugin.demo.base_path,
            "token": TOKEN,
            "scope": plugin.demo.scope if pinned else None,
            **(plugin.demo.options or {}),
        }
    )
    async with AsyncExitStack() as stack:
        transport = HttpTransport(settings)
        stack.push_async_callback(transport.close)
        yield plugin.adapter(settings, Recording(transport, caller.exchanges))


class Recording(Transport):
    """A transport that records every exchange."""

    def __init__(self, transport: Transport, exchanges: list[Exchange]) -> None:
        self._transport = transport
        self._exchanges = exchanges

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        response = await self._transport.send(request, call)
        headers: Mapping[str, str] = {name.lower(): value for name, value in request.headers.items()}
        body, answer = (msgspec.json.decode(raw) if raw else None for raw in (request.body, response.body))
        self._exchanges.append(
            Exchange(request.method, request.path, list(request.query), body, response.status, answer, headers)
        )
        return response

    async def close(self) -> None:
        await self._transport.close()


def call() -> Call:
    """A call whose deadline no test reaches."""
    return Call(deadline=time.monotonic() + 600)


@asynccontextmanager
async def behind_the_gateway(clock: Clock) -> AsyncIterator[Mapping[str, Caller]]:
    """A gateway in front of an emulator of every API, and for each API a caller of its dialect."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        emulators = {api: await stack.enter_async_context(emulated(api, clock)) for api in plugins()}
        providers = {
            plugin.demo.provider: {
                "api": api,
                "base_url": emulators[api].url + plugin.demo.base_path,
                "token": TOKEN,
                "scope": plugin.demo.scope,
                **(plugin.demo.options or {}),
            }
            for api, plugin in plugins().items()
        }
        settings = demo_settings(providers, port=0, api_key=KEY, folder=Path("unused"))
        app = create_app(settings, store=in_memory(), logger=make_logger("error", "json", StringIO()))
        address = (await stack.enter_async_context(serving(settings, app))).api
        yield {
            api: Caller(session, f"{address}/{plugin.dialect.prefix}", KEY, emulators[api].emulator, emulators[api].url)
            for api, plugin in plugins().items()
            if plugin.dialect is not None
        }


def received(emulator: Emulator) -> list[Exchange]:
    """The requests that an emulator received, which the gateway sent. Their answers are not known."""
    return [
        Exchange(one.method, one.path, one.query, one.body, one.status or 0, None, one.headers)
        for one in emulator.requests.received()
    ]
