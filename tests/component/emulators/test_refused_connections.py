"""An emulator that refuses connections, observed by a client over a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from gateway.testing.controls import add_to
from gateway.testing.listener import Listener
from gateway.testing.processes import running
from tests.component.emulators.test_faults import Client, Shelf, Sleeps

REFUSE = {"operation": "*", "fault": "refuse"}


class Refusing(Client):
    """A client of an emulator whose controls are at another address. ``sleeps`` are those of the listener."""

    def __init__(self, session: aiohttp.ClientSession, emulator: Shelf, controls: str, sleeps: Sleeps) -> None:
        super().__init__(session, emulator)
        self.sleeps = sleeps
        self._controls = controls

    async def control(self, method: str, path: str, body: object = None) -> int:
        url = f"{self._controls}/{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as response:
            return response.status


@pytest.fixture
async def client() -> AsyncIterator[Refusing]:
    now, sleeps = [1000.0], Sleeps()
    emulator = Shelf(now=lambda: now[0])

    async def sleep(seconds: float) -> None:
        await sleeps(seconds)
        now[0] += seconds

    async with AsyncExitStack() as stack:
        runner = web.AppRunner(emulator.application(), shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        emulator.listener = stack.enter_context(Listener(runner, emulator.faults, sleep=sleep))
        controls = web.Application()
        add_to(controls, emulator)
        address = await stack.enter_async_context(running(controls))
        session = aiohttp.ClientSession(url, headers={"Authorization": "Bearer secret"})
        session._retry_connection = False
        yield Refusing(await stack.enter_async_context(session), emulator, address, sleeps)


@pytest.mark.parametrize(("method", "path"), [("DELETE", "__faults"), ("POST", "__reset")])
async def test_connections_are_refused_until_the_fault_ends(client: Refusing, method: str, path: str) -> None:
    assert (await client.create())[0] == 201
    assert await client.control("POST", "__faults", REFUSE) == 201
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.create("on-the-idle-connection")
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.create("on-a-new-connection")
    assert await client.control(method, path) == 200
    assert (await client.create("two"))[0] == 201
    assert client.emulator.things[-1:] == ["two"]
    assert client.emulator.creates <= 2


async def test_connections_are_accepted_again_when_the_time_is_over(client: Refusing) -> None:
    assert await client.control("POST", "__faults", {**REFUSE, "lasts": 30}) == 201
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.create()
    client.sleeps.wake.set()
    async with asyncio.timeout(60):
        while True:
            try:
                status, _ = await client.create()
                break
            except aiohttp.ClientConnectorError:
                continue
    assert status == 201
    assert client.sleeps.requested == [30]


async def test_second_refusal_prolongs_the_first(client: Refusing) -> None:
    assert await client.control("POST", "__faults", {**REFUSE, "lasts": 30}) == 201
    assert await client.control("POST", "__faults", REFUSE) == 201
    client.sleeps.wake.set()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.create()


async def test_emulator_without_other_controls_refuses_the_fault(client: Refusing) -> None:
    client.emulator.listener = None
    assert await client.control("POST", "__faults", REFUSE) == 400
    assert (await client.create())[0] == 201
