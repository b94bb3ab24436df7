"""Connections that are made while the server begins to stop."""

import asyncio

import pytest

from tests.component.api.conftest import Serve


@pytest.mark.parametrize("turns", range(6))
async def test_connection_that_is_made_when_the_drain_begins_is_served_or_closed_at_once(
    serve: Serve, turns: int
) -> None:
    """aiohttp alone would leave it open, and ignore what arrives on it."""
    api = await serve()
    server = api.runner.server
    assert server is not None
    began = asyncio.Event()
    make = type(server).__call__

    def noticed(self: object) -> object:
        began.set()
        return make(self)  # type: ignore[arg-type]

    type(server).__call__ = noticed  # type: ignore[method-assign]
    try:
        connecting = asyncio.create_task(api.connect())
        await began.wait()
    finally:
        type(server).__call__ = make  # type: ignore[method-assign]
    for _ in range(turns):
        await asyncio.sleep(0)
    server.pre_shutdown()
    connection = await connecting
    connection.send(b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
    try:
        async with asyncio.timeout(30):
            received = await connection.reader.read(65536)
    except ConnectionResetError:
        received = b""
    assert received == b"" or b" 200 " in received


async def test_idle_connection_is_closed_when_the_drain_begins(serve: Serve) -> None:
    api = await serve()
    connection = await api.connect()
    connection.send(b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
    assert (await connection.answer()).status == 200
    assert api.runner.server is not None
    api.runner.server.pre_shutdown()
    async with asyncio.timeout(30):
        assert await connection.closed()
