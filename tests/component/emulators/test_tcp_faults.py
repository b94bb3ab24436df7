"""The TCP proxy for faults, between a real client and a real server."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from gateway.testing.processes import running
from tests.tcp_faults import Mode, TcpFaultProxy


@pytest.fixture
async def proxy() -> AsyncIterator[TcpFaultProxy]:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/", echo)
    async with running(app) as url, TcpFaultProxy(url) as proxy:
        yield proxy


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        yield session


async def echoed(session: aiohttp.ClientSession, proxy: TcpFaultProxy, body: bytes = b"hello") -> bytes:
    async with session.post(proxy.url, data=body) as response:
        return await response.read()


async def test_new_proxy_forwards_everything(proxy: TcpFaultProxy, session: aiohttp.ClientSession) -> None:
    large = b"x" * 1_000_000
    assert await echoed(session, proxy, large) == large
    assert (proxy.accepted, proxy.forwarded) == (1, 1)


async def test_refused_connections_are_accepted_again_on_the_same_port(
    proxy: TcpFaultProxy, session: aiohttp.ClientSession
) -> None:
    url = proxy.url
    for _ in range(2):
        await proxy.set_mode(Mode.REFUSE)
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await echoed(session, proxy)
        assert isinstance(refused.value.os_error, ConnectionRefusedError)
        await proxy.set_mode(Mode.FORWARD)
        assert await echoed(session, proxy) == b"hello"
    assert (proxy.url, proxy.accepted) == (url, 2)


async def test_connections_are_accepted_and_reset(proxy: TcpFaultProxy, session: aiohttp.ClientSession) -> None:
    await proxy.set_mode(Mode.RESET)
    with pytest.raises(aiohttp.ClientOSError):
        await echoed(session, proxy)
    assert (proxy.was_reset, proxy.forwarded) == (1, 0)


async def test_stalled_connection_continues_when_forwarding_does(
    proxy: TcpFaultProxy, session: aiohttp.ClientSession
) -> None:
    await proxy.set_mode(Mode.STALL)
    pending = asyncio.create_task(echoed(session, proxy))
    await proxy.until(lambda: proxy.open_connections == 1)
    assert (proxy.accepted, proxy.forwarded, pending.done()) == (1, 0, False)
    await proxy.set_mode(Mode.FORWARD)
    assert await pending == b"hello"


async def test_open_connections_can_be_cut(proxy: TcpFaultProxy, session: aiohttp.ClientSession) -> None:
    await proxy.set_mode(Mode.STALL)
    pending = asyncio.create_task(echoed(session, proxy))
    await proxy.until(lambda: proxy.open_connections == 1)
    await proxy.cut()
    with pytest.raises(aiohttp.ClientConnectionError):
        await pending
    assert proxy.open_connections == 0


async def test_unreachable_target_looks_like_a_reset(session: aiohttp.ClientSession) -> None:
    async with running(web.Application()) as url:
        pass
    async with TcpFaultProxy(url) as proxy:
        with pytest.raises(aiohttp.ClientConnectionError):
            await echoed(session, proxy)
        assert (proxy.accepted, proxy.forwarded) == (1, 0)


def test_target_needs_host_and_port() -> None:
    with pytest.raises(ValueError, match="host and a port"):
        TcpFaultProxy("http://localhost")
