"""Connections whose client ends its sending side, and data that follows an upgrade that the gateway ignores."""

import asyncio
from typing import Any

import pytest

from tests.component.api.conftest import KEY

GET = f"GET /v1/providers HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {KEY}\r\n".encode()
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEA\r\n"


async def test_a_half_closed_client_is_answered_and_then_disconnected(api: Any) -> None:
    connection = await api.connect()
    connection.send(GET + b"\r\n")
    connection.writer.write_eof()
    assert (await connection.answer()).status == 200
    assert await connection.closed()


async def test_all_pipelined_requests_of_a_half_closed_client_are_answered(api: Any) -> None:
    connection = await api.connect()
    connection.send((GET + b"\r\n") * 3)
    connection.writer.write_eof()
    assert [(await connection.answer()).status for _ in range(3)] == [200] * 3
    assert await connection.closed()


@pytest.mark.parametrize("raw", [b"", b"GET /v1/prov", GET + b"Content-Length: 5\r\n\r\nab"])
async def test_a_half_closed_client_without_a_complete_request_is_disconnected(api: Any, raw: bytes) -> None:
    connection = await api.connect()
    connection.send(raw)
    connection.writer.write_eof()
    await asyncio.wait_for(connection.reader.read(), 5)
    assert connection.reader.at_eof()


@pytest.mark.parametrize("rest", [GET + b"\r\n", GET, b"x"])
async def test_data_behind_an_ignored_upgrade_closes_the_connection_after_the_answer(api: Any, rest: bytes) -> None:
    connection = await api.connect()
    connection.send(GET + UPGRADE + b"\r\n" + rest)
    answer = await connection.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await connection.closed()


async def test_a_connection_stays_open_after_an_ignored_upgrade(api: Any) -> None:
    connection = await api.connect()
    for head in (UPGRADE, b"", UPGRADE):
        connection.send(GET + head + b"\r\n")
        answer = await connection.answer()
        assert (answer.status, answer.headers.get("connection")) == (200, None)
