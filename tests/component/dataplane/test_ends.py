"""How connections end that were refused before they were open, or that lose their runtime."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web

from gateway.dataplane import app as data_plane
from gateway.services.data_plane.endpoints import STARTS_WITHIN
from tests.component.cached_gateway import ShiftedClock
from tests.component.dataplane.conftest import Plane, leading_to
from tests.component.dataplane.far_ends import BROWSER, BrowserServer
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


_RETRY: Final = 0.4711  # no other wait of the gateway takes as long


class WaitingClock(ShiftedClock):
    """Instead of the gateway's wait before it connects again to a runtime's server, ``waited`` is called."""

    def __init__(self, waited: Callable[["WaitingClock"], Awaitable[object]]) -> None:
        self._waited = waited

    async def sleep(self, seconds: float) -> None:
        await (self._waited(self) if seconds == _RETRY else super().sleep(seconds))


@asynccontextmanager
async def not_listening(
    monkeypatch: pytest.MonkeyPatch, waited: Callable[[WaitingClock], Awaitable[object]]
) -> AsyncIterator[tuple[socket.socket, Plane]]:
    """A running browser with an address at which nothing listens yet, and the socket of that address."""
    monkeypatch.setattr(data_plane, "RETRY_SECONDS", _RETRY)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        clock = WaitingClock(waited)
        async with leading_to(monkeypatch, f"http://{address}", clock=clock) as (gateway, runtime_id):
            yield bound, Plane(gateway, BrowserServer(), address, runtime_id)


async def test_connections_wait_until_the_server_of_a_started_runtime_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    async def listen(_clock: WaitingClock) -> None:
        if runner.server is None:
            await runner.setup()
            await web.SockSite(runner, bound).start()

    async with not_listening(monkeypatch, listen) as (bound, plane), aiohttp.ClientSession() as client:
        runner = web.AppRunner(plane.browser.application())
        cdp = (await plane.connect())["cdp"]
        async with client.ws_connect(cdp["url"] + BROWSER) as opened:
            await opened.send_str("hello")
            assert await opened.receive_str() == "hello"
        await runner.cleanup()


async def test_runtime_that_runs_for_long_and_does_not_listen_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = 0

    async def pass_time(clock: WaitingClock) -> None:
        nonlocal waits
        waits += 1
        clock.ahead += STARTS_WITHIN / 2

    async with not_listening(monkeypatch, pass_time) as (_, plane):
        url = (await plane.connect())["cdp"]["http_url"] + "/json/version"
        for _ in range(2):
            status, problem = await status_of(url)
            assert (status, problem["code"], problem["source"]) == (502, "runtime_unreachable", "provider")
    assert waits == 2


async def test_connection_that_waits_for_a_server_ends_when_the_runtime_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stop(_clock: WaitingClock) -> None:
        await plane.gateway.call("POST", f"/v1/runtimes/{plane.runtime_id}/stop", {})

    async with not_listening(monkeypatch, stop) as (_, plane):
        status, problem = await status_of((await plane.connect())["cdp"]["http_url"] + "/json/version")
    assert (status, problem["code"]) in {(409, "state_conflict"), (410, "runtime_gone")}


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
