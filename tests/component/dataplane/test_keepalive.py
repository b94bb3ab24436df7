"""Use of a runtime through the data plane extends its expiry."""

import aiohttp
import pytest

from gateway.app import data_wiring
from tests.component.dataplane.conftest import durable_server


async def test_use_extends_the_expiry_of_a_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_wiring, "_EVERY", 0.02)
    async with durable_server(monkeypatch, keepalive=True) as (gateway, *_), aiohttp.ClientSession() as client:
        path = f"/v1/runtimes/{(await gateway.create(gateway.upstreams['durable'], start=True))['id']}"
        issued = (await gateway.call("POST", f"{path}/connections", {})).json["items"][0]
        before = after = (await gateway.call("GET", path)).json["expires_at"]
        headers = {"Authorization": f"Bearer {issued['token']}"}
        async with client.ws_connect(f"{issued['url']}/api/ws", headers=headers) as socket:
            while after == before:
                await socket.send_str("used")
                assert await socket.receive_str() == "used"
                after = (await gateway.call("GET", path)).json["expires_at"]
        assert after > before
