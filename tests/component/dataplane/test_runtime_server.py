"""The server of a durable runtime through the data plane, at the root of its listener."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from adapters.durable.emulator.world import Instance
from gateway.settings import DataSettings
from gateway.testing.servers import running
from tests.component.dataplane.conftest import Plane
from tests.component.dataplane.far_ends import BrowserServer
from tests.component.whole_gateway import whole_gateway


@pytest.fixture
async def plane(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    """A gateway whose data plane leads to the server of a durable runtime."""
    server, shown = BrowserServer(), Instance.as_json
    data = DataSettings(enabled=True, listen="127.0.0.1:0")
    async with running(server.application()) as url, whole_gateway("durable", data=data) as gateway:

        def as_json(instance: Instance, now: float) -> dict[str, Any]:
            return {**shown(instance, now), "sandbox_url": url}

        monkeypatch.setattr(Instance, "as_json", as_json)
        created = await gateway.create(gateway.upstreams["durable"], start=True)
        yield Plane(gateway, server, url.partition("://")[2], created["id"])


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
