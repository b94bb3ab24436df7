"""How connections end that were refused before they were open, or that lose their runtime."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from tests.component.dataplane.conftest import Plane, leading_to
from tests.component.dataplane.far_ends import BROWSER
from tests.tcp_faults import Mode


async def status_of(url: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        problem: dict[str, Any] = await response.json()
        return response.status, problem


@pytest.mark.parametrize(("verb", "status", "code"), [("stop", 409, "state_conflict"), ("delete", 410, "runtime_gone")])
async def test_runtime_that_does_not_run_refuses_connections(plane: Plane, verb: str, status: int, code: str) -> None:
    url = (await plane.connect())["cdp"]["http_url"] + "/json/version"
    path = f"/v1/runtimes/{plane.runtime_id}"
    ended = await plane.gateway.call(*(("DELETE", path) if verb == "delete" else ("POST", f"{path}/stop", {})))
    assert ended.status < 300, ended.text
    found, problem = await status_of(url)
    assert (found, problem["code"]) == (status, code)
    if status == 409:
        assert problem["state"] == "idle"
        assert problem["detail"] == "The runtime is idle; call start first."


async def test_runtime_that_runs_and_does_not_listen_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:  # and never listens
        bound.bind(("127.0.0.1", 0))
        async with leading_to(monkeypatch, f"http://127.0.0.1:{bound.getsockname()[1]}") as (gateway, runtime_id):
            issued = await gateway.call("POST", f"/v1/runtimes/{runtime_id}/connections", {"protocol": "cdp"})
            status, problem = await status_of(issued.json["items"][0]["http_url"] + "/json/version")
    assert (status, problem["code"], problem["source"]) == (502, "runtime_unreachable", "provider")


async def test_provider_that_cannot_be_asked_is_unavailable(plane: Plane) -> None:
    url = (await plane.connect())["cdp"]["http_url"] + "/json/version"
    started = await plane.gateway.call("POST", f"/v1/runtimes/{plane.runtime_id}/start", {})
    assert started.status == 200, started.text  # after a write the provider is asked again
    proxy = plane.gateway.upstreams["bctrl_browsers"].proxy
    await proxy.set_mode(Mode.REFUSE)
    await proxy.cut()
    status, problem = await status_of(url)
    assert (status, problem["code"]) == (503, "provider_unavailable")


async def test_connections_that_lose_their_runtime_together_ask_its_provider_together(plane: Plane) -> None:
    cdp = (await plane.connect())["cdp"]
    upstream = plane.gateway.upstreams["bctrl_browsers"]
    async with aiohttp.ClientSession() as client:
        sockets = [await client.ws_connect(cdp["url"] + BROWSER) for _ in range(40)]
        received = upstream.received()
        upstream.fault("get", fault="hold", times=1)
        for far in plane.browser.sockets:
            transport: Any = far._req and far._req.transport
            transport.abort()
        await upstream.emulator.until_waiting()
        upstream.emulator.release()
        await asyncio.gather(*(one.receive(timeout=30) for one in sockets))
        assert {one.close_code for one in sockets} == {4502}
        assert upstream.received() - received <= 8
