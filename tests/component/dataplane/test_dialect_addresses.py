"""The providers' own clients receive addresses of the gateway, in every response of the dialects."""

from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import pytest

from tests.component.access.dialect_owners import APIS
from tests.component.dataplane.conftest import Plane, durable_server
from tests.component.dataplane.far_ends import BROWSER

DURABLE: Final = APIS["durable"].runtimes
BROWSERS: Final = APIS["browsers"].runtimes
FLAT: Final = APIS["flat"].runtimes
URLS: Final = {"cdpUrl", "webdriverUrl", "liveViewUrl", "liveViewReadOnlyUrl", "expiresAt"}


@pytest.fixture
async def durable(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    """A gateway whose data plane leads to the server of a running durable runtime."""
    async with durable_server(monkeypatch) as (gateway, server, address):
        created = await gateway.call("POST", DURABLE, {"key": "agent"})
        yield Plane(gateway, server, address, created.json["id"])


async def test_durable_client_gets_the_gateways_address_and_token(durable: Plane) -> None:
    gateway, runtime = durable.gateway, f"{DURABLE}/agent"
    started = await gateway.call("POST", f"{runtime}/start", {})
    answers = [started]
    for method, path, body in (
        ("GET", runtime, None),
        ("GET", DURABLE, None),
        ("POST", DURABLE, {"key": "agent"}),
        ("POST", f"{runtime}/pause", None),
        ("POST", f"{runtime}/resume", None),
    ):
        answers.append(await gateway.call(method, path, body))
    assert [answer.status for answer in answers] == [200] * 6
    for answer in answers:
        assert durable.address not in answer.text
        assert "sbx_" not in answer.text
    url, token = started.json["instance"]["sandbox_url"], started.json["sandbox_token"]
    assert answers[1].json["instance"]["sandbox_url"] == url
    assert answers[2].json["items"][0]["instance"]["sandbox_url"] == url
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{url}/api/health", headers={"Authorization": f"Bearer {token}"}) as response,
    ):
        assert await response.text() == "nothing at /api/health"
    assert durable.browser.seen[-1][2]["Authorization"].startswith("Bearer sbx_")
    # The provider's token is that of the caller's start: no other start was sent.
    assert gateway.upstreams["durable"].emulator.committed["start"] == 1


async def test_client_that_reconnects_for_ever_starts_nothing(durable: Plane) -> None:
    gateway, runtime = durable.gateway, f"{DURABLE}/agent"
    emulator = gateway.upstreams["durable"].emulator
    first = (await gateway.call("POST", f"{runtime}/start", {})).json
    old = {"Authorization": f"Bearer {first['sandbox_token']}"}
    health = f"{first['instance']['sandbox_url']}/api/health"
    statuses = []
    async with aiohttp.ClientSession() as client:

        async def connect() -> None:
            for _ in range(5):
                async with client.get(health, headers=old) as response:
                    statuses.append(response.status)
                    await response.read()

        await connect()
        for verb in ("pause", "resume", "reset"):
            await gateway.call("POST", f"{runtime}/{verb}")
            await connect()
        reached = len(durable.browser.seen)
        assert emulator.counts()["live_runtimes"] == 0
        second = (await gateway.call("POST", f"{runtime}/start", {})).json
        await connect()
        assert len(durable.browser.seen) == reached
        new = {"Authorization": f"Bearer {second['sandbox_token']}"}
        async with client.get(health, headers=new) as response:
            assert response.status == 404
    assert statuses == [404] * 5 + [409] * 5 + [404] * 5 + [409] * 5 + [410] * 5
    assert emulator.committed["start"] == 2  # those of the owner


async def test_bctrl_client_gets_the_gateways_addresses(plane: Plane) -> None:
    gateway = plane.gateway
    created = await gateway.call("POST", f"{BROWSERS}?wait=5", {"name": "own"})
    path = f"{BROWSERS}/{created.json['id']}"
    answers = [created, await gateway.call("GET", path), await gateway.call("POST", f"{path}/start?wait=5", {})]
    rows = (await gateway.call("GET", BROWSERS)).json["data"]
    for browser in (*(answer.json for answer in answers), *rows):
        connections = browser["currentRun"]["connections"]
        assert connections.keys() == URLS
        assert plane.address not in str(browser)
        assert "invalid" not in str(connections)
        assert {connections[name] for name in ("liveViewUrl", "liveViewReadOnlyUrl")} == {""}
        async with aiohttp.ClientSession() as client:
            async with client.ws_connect(connections["cdpUrl"]) as socket:
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"
            async with client.post(f"{connections['webdriverUrl']}/session", json={}) as response:
                assert (await response.json())["value"]["sessionId"] == "s1"
    assert plane.browser.seen[-2][1] == BROWSER


async def test_flat_client_gets_the_gateways_addresses(plane: Plane) -> None:
    gateway = plane.gateway
    created = await gateway.call("POST", FLAT, {"type": "browser", "name": "own", "start": True})
    path = f"{FLAT}/{created.json['id']}"
    read = await gateway.call("GET", f"{path}?include=connection")
    started = await gateway.call("POST", f"{path}/start", {})
    async with aiohttp.ClientSession() as client:
        for shown in (created.json["connection"], read.json["connection"], started.json):
            assert shown["connectUrl"] == shown["cdpUrl"]
            assert shown["webDriverUrl"] == shown["webdriverUrl"]
            async with client.ws_connect(shown["cdpUrl"]) as socket:
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"
    for answer in (created, read, started, await gateway.call("GET", path), await gateway.call("GET", FLAT)):
        assert answer.status in {200, 201}
        assert plane.address not in answer.text


async def test_revocation_at_the_provider_also_revokes_the_gateways_addresses(plane: Plane) -> None:
    gateway = plane.gateway
    path = f"{BROWSERS}/{plane.runtime_id.partition('.')[2]}"
    before = (await gateway.call("GET", path)).json["currentRun"]["connections"]
    async with aiohttp.ClientSession() as client, client.ws_connect(before["cdpUrl"]) as socket:
        revoked = await gateway.call("POST", f"{path}/connections/revoke")
        assert revoked.status == 200, revoked.text
        await socket.receive(timeout=10)
        assert socket.close_code == 4403
        async with client.ws_connect(revoked.json["currentRun"]["connections"]["cdpUrl"]) as again:
            await again.send_str("hello")
            assert await again.receive_str() == "hello"
