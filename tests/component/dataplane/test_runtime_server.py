"""The server of a durable runtime through the data plane, at the root of its listener."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from gateway.services.data_plane.endpoints import Endpoints
from tests.component.dataplane.conftest import Plane, durable_server


async def get(connection: Mapping[str, str], path: str = "/api/health") -> int:
    headers = {"Authorization": f"Bearer {connection['token']}"}
    async with aiohttp.ClientSession() as client, client.get(connection["url"] + path, headers=headers) as response:
        await response.read()
        return response.status


@pytest.fixture
async def plane(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    """A gateway whose data plane leads to the server of a durable runtime."""
    async with durable_server(monkeypatch) as (gateway, server, address):
        created = await gateway.create(gateway.upstreams["durable"], start=True)
        yield Plane(gateway, server, address, created["id"])


async def test_bearer_at_the_root_leads_to_the_runtime_with_its_own_token(plane: Plane) -> None:
    connection = (await plane.connect())["runtime_server"]
    assert plane.address not in connection["url"]
    headers = {"Authorization": f"Bearer {connection['token']}"}
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{connection['url']}/api/health", headers=headers) as response:
            assert await response.text() == "nothing at /api/health"
        _, path, received = plane.browser.seen[-1]
        assert path == "/api/health"
        assert received["Authorization"].startswith("Bearer sbx_")
        async with client.get(f"{connection['url']}/redirect?here", headers=headers, allow_redirects=False) as response:
            assert response.headers["Location"] == f"{connection['url']}/json/version"


async def test_token_leads_to_its_instance_where_nothing_of_it_is_kept_and_starts_nothing(
    endpoints: list[Endpoints], plane: Plane
) -> None:
    """As after a restart, or through another replica."""
    connection, emulator = (await plane.connect())["runtime_server"], plane.gateway.upstreams["durable"].emulator
    starts, path = emulator.requests.per_operation["start"], f"/v1/runtimes/{plane.runtime_id}"
    for verb, status in (("pause", 409), ("resume", 404), ("reset", 409)):
        assert (await plane.gateway.call("POST", f"{path}/{verb}", {})).status == 200
        endpoints[0]._known.clear()
        assert await get(connection) == status, verb
    assert plane.browser.seen[-1][2]["Authorization"].startswith("Bearer sbx_")
    assert emulator.requests.per_operation["start"] == starts
    endpoints[0]._known.clear()
    assert (await plane.gateway.call("POST", f"{path}/start", {})).status == 200
    assert await get(connection) == 410
    assert emulator.requests.per_operation["start"] == starts + 1


async def test_use_of_a_token_makes_its_credential_known_again(endpoints: list[Endpoints], plane: Plane) -> None:
    connection, emulator = (await plane.connect())["runtime_server"], plane.gateway.upstreams["durable"].emulator
    endpoints[0]._known.clear()
    assert await get(connection) == 404
    starts = emulator.requests.per_operation["start"]
    assert await get((await plane.connect())["runtime_server"]) == 404
    assert emulator.requests.per_operation["start"] == starts


@pytest.mark.parametrize(("others", "selected"), [((), None), (("bctrl.terminal.v1",), "bctrl.terminal.v1")])
async def test_token_in_a_subprotocol_is_selected_unless_the_runtime_selects_another(
    plane: Plane, others: tuple[str, ...], selected: str | None
) -> None:
    connection = (await plane.connect())["runtime_server"]
    ticket = f"rtgw.ticket.{connection['token']}"
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{connection['url']}/api/ws", protocols=(ticket, *others)) as socket,
    ):
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        assert socket.protocol == (selected or ticket)
    assert plane.browser.seen[-1][2].get("Sec-WebSocket-Protocol") == selected
