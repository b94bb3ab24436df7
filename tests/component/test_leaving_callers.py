"""Callers that disconnect while their read is at a provider: it ends there at once."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.app import create_app, serving
from gateway.demo import demo_settings
from gateway.http import connection as gateway_connection
from gateway.settings import CacheSettings
from gateway.telemetry.logs import make_logger
from tests.component.api.conftest import reset
from tests.scripted_server import HANG, ScriptedServer

KEY = "a-key-of-a-shop-1234"
RUNTIME = "/v1/runtimes/p0.00000000-0000-0000-0000-000000000001"
POLICIES = {"breaker": {"minimum": 1}, "read": {"in_flight": 1, "waiting": 1}}
DIALECT = "/durable/api/v1/org/acme/ws/research/runtimes/00000000-0000-0000-0000-000000000001"
READS = (RUNTIME, "/v1/runtimes?provider=p0", f"{RUNTIME}/config", DIALECT)


@dataclass
class World:
    """A gateway in front of scripted providers ``p0``, ``p1``, …"""

    url: str
    providers: Sequence[ScriptedServer]
    log: StringIO
    stack: AsyncExitStack

    async def caller(self, path: str, method: str = "GET", headers: str = "") -> asyncio.StreamWriter:
        """A connection on which a request was sent."""
        address = urlsplit(self.url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        self.stack.callback(writer.transport.abort)
        head = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n{headers}\r\n"
        writer.write(head.encode())
        return writer

    async def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession(headers=headers) as client, client.get(self.url + path) as response:
            return await response.json()

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.log.getvalue().splitlines()) if line["event"] == event]


@asynccontextmanager
async def world(providers: int = 1, *, cached: bool = False) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(ScriptedServer()) for _ in range(providers)]
        options = {
            f"p{number}": {
                "api": "durable",
                "base_url": one.url,
                "token": "a-token-of-the-provider",
                "scope": "acme/research",
                "policies": POLICIES,
            }
            for number, one in enumerate(servers)
        }
        folder = Path(stack.enter_context(TemporaryDirectory()))
        settings = demo_settings(options, port=0, api_key=KEY, folder=folder)
        settings = settings.model_copy(update={"cache": CacheSettings(enabled=cached)})
        log = StringIO()
        app = create_app(settings, logger=make_logger("debug", "json", log))
        addresses = await stack.enter_async_context(serving(settings, app))
        yield World(addresses.api, servers, log, stack)


@pytest.mark.parametrize("cached", [False, True], ids=["not cached", "cached"])
async def test_a_read_whose_caller_leaves_ends_at_the_provider_without_a_retry(*, cached: bool) -> None:
    async with world(cached=cached) as at:
        (provider,) = at.providers
        provider.script.append(HANG)
        caller = await at.caller(RUNTIME)
        await provider.until_received(1)
        reset(caller)
        await provider.until_ended(0)
        (line,) = at.lines("request")
        assert (line["status"], line["code"], line["source"]) == (499, "client_aborted", "client")
        assert (line["client_aborted"], line["level"]) == (True, "info")
        (shown,) = (await at.get("/v1/providers"))["items"]
        assert (shown["policies"]["read"]["in_flight"], shown["policies"]["read"]["breaker"]) == (0, "closed")
        assert shown["health"]["status"] == "unknown"
        assert len(provider.received) == 1
        assert {line["outcome"] for line in at.lines("upstream")} == {"cancelled"}
        assert '"level":"error"' not in at.log.getvalue()


async def test_a_read_whose_caller_closes_its_side_late_ends_at_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_connection, "_HALF_CLOSE_SECONDS", -1.0)
    async with world() as at:
        (provider,) = at.providers
        provider.script.append(HANG)
        caller = await at.caller(RUNTIME)
        await provider.until_received(1)
        caller.close()
        await provider.until_ended(0)
        assert [line["status"] for line in at.lines("request")] == [499]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", READS)
async def test_every_kind_of_read_ends_with_its_caller(path: str, method: str) -> None:
    async with world() as at:
        (provider,) = at.providers
        provider.script.append(HANG)
        caller = await at.caller(path, method)
        await provider.until_received(1)
        reset(caller)
        await provider.until_ended(0)
        assert [line["status"] for line in at.lines("request")] == [499]


async def test_a_list_whose_caller_leaves_ends_at_all_providers() -> None:
    async with world(3) as at:
        for provider in at.providers:
            provider.script.append(HANG)
        caller = await at.caller("/v1/runtimes")
        for provider in at.providers:
            await provider.until_received(1)
        reset(caller)
        for provider in at.providers:
            await provider.until_ended(0)
        assert [line["status"] for line in at.lines("request")] == [499]
        assert [len(provider.received) for provider in at.providers] == [1, 1, 1]


async def test_a_read_that_waits_for_a_slot_leaves_the_queue_with_its_caller() -> None:
    async with world() as at:
        (provider,) = at.providers
        provider.script.append(HANG)
        first = await at.caller(RUNTIME)
        await provider.until_received(1)
        waiting = await at.caller(RUNTIME)
        while (await at.get("/v1/providers/p0"))["policies"]["read"]["waiting"] == 0:
            pass
        reset(waiting)
        while (await at.get("/v1/providers/p0"))["policies"]["read"]["waiting"] == 1:
            pass
        reset(first)
        await provider.until_ended(0)
        assert len(provider.received) == 1
