"""Connections whose client ends its sending side or leaves, and data behind an upgrade that the gateway ignores."""

import asyncio
from typing import Any

import pytest

from gateway.domain.requests import StartRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.clock import SystemClock
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet
from gateway.services.lifecycle import LifecycleService
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


class SlowStart(LifecycleService):
    """A start takes until the test ends it."""

    def __init__(self) -> None:
        super().__init__(Fleet([], SystemClock()))
        self.began, self.end = asyncio.Event(), asyncio.Event()

    async def start(self, runtime_id: str, _options: StartRequest, _ctx: RequestContext) -> Runtime:
        self.began.set()
        await self.end.wait()
        return Runtime(id=runtime_id, kind="durable", provider="p", scope="s", provider_id="1", state=State.RUNNING)


def started_lines(api: Any) -> list[Any]:
    return [fields for _, _, fields in api.logger.events if fields.get("operation") == "startRuntime"]


async def test_a_change_continues_when_its_client_leaves(serve: Any) -> None:
    lifecycle = SlowStart()
    api = await serve(lifecycle=lifecycle)
    connection = await api.connect()
    connection.send(GET.replace(b"GET /v1/providers", b"POST /v1/runtimes/p.1/start") + b"Content-Length: 0\r\n\r\n")
    await lifecycle.began.wait()
    connection.reset()
    asking = await api.connect()
    gone = False
    while not gone:
        asking.send(GET.replace(b"/v1/providers", b"/metrics") + b"\r\n")
        gone = b"\nrtgw_connections 1.0\n" in (await asking.answer()).body
    lifecycle.end.set()
    await api.logger.watch.until(lambda: started_lines(api) != [])
    (line,) = started_lines(api)
    assert (line["status"], line["client_aborted"], "code" in line) == (200, True, False)


class Wire(asyncio.Transport):
    """A transport that records what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, pieces: Any) -> None:
        self.written += b"".join(pieces)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.mark.parametrize("step", range(12))
async def test_a_client_that_ends_its_side_at_any_moment_is_answered_and_disconnected_at_once(
    api: Any, step: int
) -> None:
    """While the request waits, is handled, is answered, and after it. ``step`` counts turns of the event loop."""
    connection, wire = api.runner.server(), Wire()
    connection.connection_made(wire)
    await asyncio.sleep(0)
    connection.data_received(GET + b"\r\n")
    for _ in range(step):
        await asyncio.sleep(0)
    if not connection.eof_received():
        wire.close()
    for _ in range(12):
        await asyncio.sleep(0)
    assert wire.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert wire.closing
    connection.connection_lost(None)
