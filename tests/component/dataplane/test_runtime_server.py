"""The server of a durable runtime through the data plane, at the root of its listener."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.component.dataplane.conftest import Plane, durable_server


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
