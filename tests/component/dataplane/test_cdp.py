"""CDP through the data plane."""

import aiohttp
import pytest

from gateway.http import forwarding
from tests.component.dataplane.conftest import Plane
from tests.component.dataplane.far_ends import BROWSER


async def test_connection_addresses_are_the_gateways(plane: Plane) -> None:
    found = await plane.connect()
    assert plane.address not in str(found["cdp"]) + str(found["webdriver"])
    assert found["cdp"]["url"].startswith("ws://127.0.0.1:")
    assert found["cdp"]["http_url"] == "http" + found["cdp"]["url"].removeprefix("ws")


@pytest.mark.parametrize("end", ["", "/"])
async def test_discovery_names_addresses_of_the_gateway(plane: Plane, end: str) -> None:
    cdp = (await plane.connect())["cdp"]
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{cdp['http_url']}/json/version{end}") as response:
            assert (await response.json())["webSocketDebuggerUrl"] == cdp["url"] + BROWSER
        async with client.get(f"{cdp['http_url']}/json/list{end}") as response:
            (target,) = await response.json()
    assert target["webSocketDebuggerUrl"] == cdp["url"] + "/devtools/page/p1"
    assert plane.address not in str(target)


@pytest.mark.parametrize("path", ["", "/", BROWSER])
async def test_messages_of_any_size_pass_both_ways(plane: Plane, path: str) -> None:
    cdp = (await plane.connect())["cdp"]
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(cdp["url"] + path, max_msg_size=0, headers={"Authorization": "Bearer own"}) as socket,
    ):
        await socket.send_str("x" * 5_000_000)
        assert await socket.receive_str() == "x" * 5_000_000
        await socket.send_bytes(bytes(range(256)))
        assert await socket.receive_bytes() == bytes(range(256))
        await socket.send_str("close 4477")
        end = await socket.receive()
    assert (end.type, socket.close_code, end.extra) == (aiohttp.WSMsgType.CLOSE, 4477, "as asked")
    _, target, headers = plane.browser.seen[-1]
    assert target == BROWSER
    assert "Authorization" not in headers


async def test_stopped_runtime_closes_its_connections_with_a_reason(plane: Plane) -> None:
    cdp = (await plane.connect())["cdp"]
    async with aiohttp.ClientSession() as client, client.ws_connect(cdp["url"]) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        listed = await plane.gateway.call("GET", f"/v1/runtimes/{plane.runtime_id}/connections")
        assert [item["protocol"] for item in listed.json["items"]] == ["cdp"]
        await plane.gateway.call("POST", f"/v1/runtimes/{plane.runtime_id}/stop", {})
        end = await socket.receive(timeout=10)
        assert (end.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 4410)


async def test_revoked_address_is_closed_and_refused(plane: Plane) -> None:
    cdp = (await plane.connect())["cdp"]
    async with aiohttp.ClientSession() as client:
        async with client.ws_connect(cdp["url"]) as socket:
            revoked = await plane.gateway.call("DELETE", f"/v1/runtimes/{plane.runtime_id}/connections")
            assert revoked.status == 204, revoked.text
            end = await socket.receive(timeout=10)
            assert (end.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 4403)
        async with client.get(f"{cdp['http_url']}/json/version") as response:
            assert response.status == 403
        again = (await plane.connect())["cdp"]
        async with client.get(f"{again['http_url']}/json/version") as response:
            assert response.status == 200


async def test_location_is_an_address_of_the_gateway_or_removed(plane: Plane) -> None:
    cdp = (await plane.connect())["cdp"]
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{cdp['http_url']}/redirect?here", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, f"{cdp['http_url']}/json/version")
        async with client.get(f"{cdp['http_url']}/redirect", allow_redirects=False) as response:
            assert response.status == 302
            assert "Location" not in response.headers


async def test_document_with_addresses_that_is_too_large_is_refused(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "MOST_REWRITTEN", 20)
    cdp = (await plane.connect())["cdp"]
    async with aiohttp.ClientSession() as client, client.get(f"{cdp['http_url']}/json/version") as response:
        assert (response.status, (await response.json())["code"]) == (502, "provider_bad_response")
