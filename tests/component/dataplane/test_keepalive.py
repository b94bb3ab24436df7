"""Use of a runtime through the data plane extends its expiry."""

from typing import Any

import aiohttp
import pytest

from adapters.durable.emulator.world import Instance
from gateway.app import data_wiring
from gateway.settings import DataSettings
from gateway.testing.servers import running
from tests.component.dataplane.far_ends import BrowserServer
from tests.component.whole_gateway import whole_gateway


async def test_use_extends_the_expiry_of_a_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_wiring, "_EVERY", 0.02)
    server, shown = BrowserServer(), Instance.as_json
    data = DataSettings(enabled=True, listen="127.0.0.1:0", keepalive=True)
    async with (
        running(server.application()) as url,
        whole_gateway("durable", data=data) as gateway,
        aiohttp.ClientSession() as client,
    ):

        def as_json(instance: Instance, now: float) -> dict[str, Any]:
            return {**shown(instance, now), "sandbox_url": url}

        monkeypatch.setattr(Instance, "as_json", as_json)
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
