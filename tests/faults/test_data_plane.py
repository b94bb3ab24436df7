"""Two gateways over one store with a data plane each: revocation reaches both, and one can be killed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.bctrl_browsers.emulator.world import Run
from gateway.testing.processes import running
from tests.component.dataplane.far_ends import BROWSER, BrowserServer
from tests.component.processes import HANGS
from tests.faults.callers import session
from tests.faults.conftest import StoreLocation
from tests.faults.providers import Setup, settings_of, upstreams
from tests.faults.replicas import Replica, encryption_key, replicas, write_settings

ADMIN = "a-key-of-an-admin-123456"
SHOP = "a-key-of-the-shop-123456"
AUTH = {"principals": {"admin": {"keys": [ADMIN], "scopes": ["admin"]}, "shop": {"keys": [SHOP]}}}


@dataclass(frozen=True, slots=True)
class World:
    """Two gateways, a running browser of the shop, its server, and an administrator's client."""

    both: list[Replica]
    browser: BrowserServer
    client: aiohttp.ClientSession
    runtime_id: str

    async def call(self, method: str, path: str, body: Any = None, *, key: str = ADMIN, at: int = 0) -> Any:
        """A successful call at one of the gateways."""
        return await called(self.client, self.both[at], method, path, body, key)

    async def address(self, *, key: str = SHOP, at: int = 0) -> str:
        """The WebSocket's address that a gateway gives."""
        given = await self.call(
            "POST", f"/v1/runtimes/{self.runtime_id}/connections", {"protocol": "cdp"}, key=key, at=at
        )
        url: str = given["items"][0]["url"]
        return url

    async def addresses(self, *, key: str = SHOP) -> tuple[str, str]:
        """One token, in an address of each gateway."""
        first, second = await self.address(key=key), await self.address(at=1)
        return first, f"{second.rpartition('/')[0]}/{first.rpartition('/')[2]}"


async def called(
    client: aiohttp.ClientSession, gateway: Replica, method: str, path: str, body: Any = None, key: str = ADMIN
) -> Any:
    headers = {"X-API-Key": key, "Authorization": ""}
    async with client.request(method, f"{gateway.url}{path}", json=body, headers=headers) as response:
        text = await response.text()
        assert response.status < 300, text
        return await response.json() if text else None


@pytest.fixture
async def world(store_location: StoreLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    browser = BrowserServer()
    async with running(browser.application()) as url, upstreams([Setup("bctrl_browsers", "browsers", {})]) as known:

        def connections(run: Run, now: float) -> dict[str, str]:
            shown = {"cdpUrl": f"{url.replace('http', 'ws', 1)}{BROWSER}", "webdriverUrl": url}
            return {**shown, "liveViewUrl": url, "liveViewReadOnlyUrl": url, "expiresAt": "2030-01-01T00:00:00Z"}

        monkeypatch.setattr(Run, "connections", connections)
        stored = {"encryption_keys": [encryption_key()], **store_location.settings}
        data = {"enabled": True, "listen": "127.0.0.1:0"}
        settings = write_settings(tmp_path, settings_of(known), stored, auth=AUTH, data=data)
        async with replicas(settings, 2) as both, session(ADMIN) as client:
            body = {"kind": "browser", "name": "one", "start": True}
            made = await called(client, both[0], "POST", "/v1/runtimes", body, SHOP)
            yield World(both, browser, client, made["id"])


async def test_what_is_revoked_at_one_gateway_is_closed_and_refused_by_the_other(world: World) -> None:
    """By the caller, by the assignment to an owner, by the end of the key, and by that of the principal."""
    made = await world.call("POST", "/v1/keys", {"principal": "shop"})
    runtime = f"/v1/runtimes/{world.runtime_id}"
    ways: list[tuple[str, tuple[Any, ...]]] = [
        (SHOP, ("DELETE", f"{runtime}/connections?principal=shop")),
        (SHOP, ("PUT", f"{runtime}/owner", {"owner": "shop"})),
        (made["key"], ("DELETE", f"/v1/keys/{made['id']}")),
        (SHOP, ("POST", "/v1/principals/shop/disable")),
    ]
    for key, act in ways:
        _, address = await world.addresses(key=key)
        async with world.client.ws_connect(address) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            await world.call(*act)
            end = await socket.receive(timeout=HANGS)
            assert (end.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 4403), act
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await world.client.ws_connect(address)
        assert refused.value.status == 403, act


async def test_runtime_that_is_stopped_through_one_gateway_ends_its_connections_at_the_other(world: World) -> None:
    """Its server continues, so that only the gateways can end them."""
    for verbs, status in ((("stop", "start"), 410), (("stop",), 409)):
        address = await world.address()
        async with world.client.ws_connect(address) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            for verb in verbs:
                await world.call("POST", f"/v1/runtimes/{world.runtime_id}/{verb}", {}, at=1)
            end = await socket.receive(timeout=HANGS)
            assert (end.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 4410), verbs
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await world.client.ws_connect(address)
        assert refused.value.status == status, verbs


async def test_client_of_a_killed_gateway_reconnects_through_the_other_with_the_same_token(world: World) -> None:
    address, other = await world.addresses()
    async with world.client.ws_connect(address) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        await world.both[0].kill()
        end = await socket.receive(timeout=HANGS)
        assert end.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
    async with world.client.ws_connect(other) as socket:
        await socket.send_str("again")
        assert await socket.receive_str() == "again"
    await world.both[0].start()
