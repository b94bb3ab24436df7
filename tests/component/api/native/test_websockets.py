"""A WebSocket through the gateway is forwarded byte for byte."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, web

from gateway.http import in_flight, tunnel
from gateway.http.server import SERVED
from gateway.ports.provider_settings import ProviderSettings
from gateway.testing.processes import running
from tests.component.api.conftest import FLOOD, flood, reset, stop_reading

KEY = "a-key-of-a-shop-1234"
UPGRADE = (
    "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\nSet-Cookie: a=b\r\n\r\n"
)
FRAME = b"\x82\x09a message"
CLOSE = b"\x88\x02\x03\xe8"
REQUEST = f"GET /native/raw/ws?x=1 HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n{UPGRADE}\r\n".encode()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tunnel that ends waits as long as necessary for its two sides."""
    monkeypatch.setattr(tunnel, "_CLOSING_SECONDS", 60.0)


async def opened(gateway: Any, provider: Any) -> tuple[Any, Any, bytes]:
    connection = await gateway.connect()
    connection.send(REQUEST)
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(SWITCH)
    return connection, inbound, await connection.reader.readuntil(b"\r\n\r\n")


async def test_messages_pings_and_close_codes_pass_end_to_end(serve: Any) -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False, protocols=("chat",), max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.data == "bye":
                await socket.close(code=4321, message=b"as asked")
            else:
                await socket.send_str(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/base/ws", echo)
    async with running(app) as url:
        settings = {
            "name": "raw",
            "api": "durable",
            "base_url": f"{url}/base",
            "token": "a-token",
            "native": {"allow": ["* /**"]},
        }
        gateway = await serve(native=[ProviderSettings.model_validate(settings)])
        async with (
            ClientSession(headers={"X-API-Key": KEY}) as session,
            session.ws_connect(
                f"http://127.0.0.1:{gateway.port}/native/raw/ws",
                autoping=False,
                protocols=("chat",),
                compress=15,
                max_msg_size=0,
            ) as socket,
        ):
            assert (socket.protocol, socket.compress) == ("chat", 15)
            for text in ("a", "b" * 3_000_000):
                await socket.send_str(text)
                assert (await socket.receive()).data == text
            await socket.ping(b"there?")
            message = await socket.receive()
            assert (message.type, message.data) == (WSMsgType.PONG, b"there?")
            await socket.send_str("bye")
            message = await socket.receive()
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4321, "as asked")
        line = await gateway.logger.one("request")
        assert (line["status"], line["surface"], "client_aborted" in line) == (101, "native", False)
        assert (await gateway.logger.one("upstream"))["outcome"] == "101"


async def test_the_handshake_carries_the_credentials_and_end_to_end_headers(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(REQUEST)
    inbound = await provider.accept()
    line, sent = await inbound.head()
    assert line == "GET /base/v1/ws?x=1 HTTP/1.1"
    assert (sent["connection"], sent["upgrade"]) == ("Upgrade", "websocket")
    assert (sent["sec-websocket-key"], sent["sec-websocket-protocol"]) == ("dGhlIHNhbXBsZSBub25jZQ==", "chat")
    assert (sent["authorization"], KEY in str(sent)) == ("Bearer canary-of-the-provider", False)
    inbound.send(SWITCH + b"first")
    head = (await connection.reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 101 ")
    for header in ("upgrade: websocket", "connection: upgrade", "sec-websocket-accept: s3pp", "sec-websocket-protocol"):
        assert header in head
    assert "set-cookie" not in head
    assert await connection.reader.readexactly(5) == b"first"


async def test_a_handshake_drops_header_names_with_an_underscore(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(REQUEST.replace(b"\r\n\r\n", b"\r\nX_API_KEY: canary\r\nX_Forwarded_For: canary\r\n\r\n"))
    inbound = await provider.accept()
    _, sent = await inbound.head()
    assert {"x_api_key", "x_forwarded_for"} & sent.keys() == set()
    inbound.send(SWITCH.replace(b"\r\n\r\n", b"\r\nSet_Cookie: session=1\r\n\r\n"))
    head = (await connection.reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 101 ")
    assert "set_cookie" not in head


async def test_bytes_sent_together_with_the_handshake_are_not_lost(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(REQUEST + b"early")
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(SWITCH)
    assert await inbound.reader.readexactly(5) == b"early"
    connection.send(b"later")
    assert await inbound.reader.readexactly(5) == b"later"


async def test_the_callers_last_bytes_arrive_before_its_disconnect(gateway: Any, provider: Any) -> None:
    connection, inbound, _ = await opened(gateway, provider)
    connection.send(b"the close frame")
    connection.writer.close()
    assert await inbound.reader.read() == b"the close frame"


async def test_the_providers_last_bytes_arrive_before_its_disconnect(gateway: Any, provider: Any) -> None:
    connection, inbound, _ = await opened(gateway, provider)
    inbound.send(b"the close frame")
    inbound.writer.close()
    assert await connection.reader.read() == b"the close frame"


async def test_a_refused_handshake_returns_the_providers_response(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(REQUEST)
    inbound = await provider.accept()
    await inbound.head()
    inbound.answer(b"no such socket", status="404 Not Found")
    answer = await connection.answer()
    assert (answer.status, answer.body) == (404, b"no such socket")


async def test_a_rule_for_get_does_not_open_a_websocket(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(native={"allow": ["GET /**"]})])
    answer = await gateway.exchange(REQUEST)
    assert (answer.status, answer.json["code"]) == (403, "permission_denied")
    assert "A WebSocket" in answer.json["detail"]
    assert provider.connections.empty()


async def test_a_rule_for_websockets_opens_one(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(native={"allow": ["WEBSOCKET /ws"]})])
    _, _, head = await opened(gateway, provider)
    assert head.startswith(b"HTTP/1.1 101 ")


async def test_a_switch_to_another_protocol_is_a_bad_response(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(REQUEST)
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
    answer = await connection.answer()
    assert (answer.status, answer.json["code"]) == (502, "provider_bad_response")


def shown(frame: bytes) -> tuple[bool, int, bytes]:
    """Whether a close frame is masked, its code, and its reason."""
    assert frame[0] == 0x88, frame
    masked, size = bool(frame[1] & 0x80), frame[1] & 0x7F
    key, payload = (frame[2:6], frame[6:]) if masked else (bytes(4), frame[2:])
    assert len(payload) == size
    payload = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return masked, int.from_bytes(payload[:2], "big"), payload[2:]


@pytest.mark.usefixtures("patient")
async def test_an_idle_websocket_ends_with_close_frames_after_the_read_timeout(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(read_timeout=0.05)])
    connection, inbound, _ = await opened(gateway, provider)
    inbound.send(FRAME)
    connection.send(FRAME)
    assert await connection.reader.readexactly(len(FRAME)) == FRAME
    assert await inbound.reader.readexactly(len(FRAME)) == FRAME
    idle = b"nothing was sent for too long"
    assert shown(await connection.reader.readexactly(4 + len(idle))) == (False, 1001, idle)
    assert shown(await inbound.reader.readexactly(8 + len(idle))) == (True, 1001, idle)
    for side in (connection, inbound):
        side.send(CLOSE)
    assert await connection.closed()
    assert await inbound.gone()
    assert (await gateway.logger.one("upstream"))["outcome"] == "timeout"


async def test_an_idle_websocket_is_closed_when_a_side_does_not_return_the_close_frame(
    serve: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "_CLOSING_SECONDS", 0.05)
    gateway = await serve(native=[provider.settings(read_timeout=0.05)])
    connection, inbound, _ = await opened(gateway, provider)
    assert shown(await connection.reader.read())[1] == 1001
    assert shown(await inbound.rest())[1] == 1001


async def test_an_idle_websocket_in_the_middle_of_a_frame_is_aborted(
    serve: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "_CLOSING_SECONDS", 0.05)
    gateway = await serve(native=[provider.settings(read_timeout=0.05)])
    connection, inbound, _ = await opened(gateway, provider)
    inbound.send(FRAME[:-1])
    connection.send(FRAME[:-1])
    assert await connection.reader.readexactly(len(FRAME) - 1) == FRAME[:-1]
    assert await inbound.rest() == FRAME[:-1]
    with pytest.raises(ConnectionResetError):
        await connection.reader.read()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("way", ["reset", "close"])
async def test_a_caller_whose_provider_is_gone_receives_a_close_frame(gateway: Any, provider: Any, way: str) -> None:
    connection, inbound, _ = await opened(gateway, provider)
    inbound.send(FRAME)
    assert await connection.reader.readexactly(len(FRAME)) == FRAME
    reset(inbound.writer) if way == "reset" else inbound.writer.close()
    gone = b"the provider ended the connection"
    assert shown(await connection.reader.readexactly(4 + len(gone))) == (False, 1011, gone)
    connection.send(CLOSE)
    assert await connection.closed()


@pytest.mark.usefixtures("patient")
async def test_nothing_is_added_to_the_frame_in_which_the_provider_ended(gateway: Any, provider: Any) -> None:
    connection, inbound, _ = await opened(gateway, provider)
    inbound.send(FRAME[:-1])
    inbound.writer.close()
    connection.send(CLOSE)
    assert await connection.reader.read() == FRAME[:-1]


@pytest.mark.parametrize("first", ["caller", "provider"])
async def test_nothing_is_added_to_a_close_frame_of_either_side(gateway: Any, provider: Any, first: str) -> None:
    connection, inbound, _ = await opened(gateway, provider)
    if first == "caller":
        connection.send(CLOSE)
        assert await inbound.reader.readexactly(len(CLOSE)) == CLOSE
    else:
        inbound.send(CLOSE)
    inbound.writer.close()
    assert await connection.reader.read() == (b"" if first == "caller" else CLOSE)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("way", ["reset", "close"])
async def test_when_the_caller_is_gone_the_provider_connection_is_closed(gateway: Any, provider: Any, way: str) -> None:
    connection, inbound, _ = await opened(gateway, provider)
    connection.reset() if way == "reset" else connection.writer.close()
    assert await inbound.gone()
    assert (await gateway.logger.one("request"))["status"] == 101


async def test_a_caller_that_does_not_read_slows_the_provider(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(read_timeout=0.2)])
    connection, inbound, _ = await opened(gateway, provider)
    stop_reading(connection.writer)
    assert await flood(inbound.writer) < FLOOD / 4


@pytest.mark.usefixtures("patient")
async def test_the_shutdown_ends_websockets_with_close_frames(
    gateway: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time that requests in flight have to finish, and between two frames."""
    monkeypatch.setattr(in_flight, "_INTERRUPTED_SECONDS", 2.0)
    gateway.runner._shutdown_timeout = 0.1
    connection, inbound, _ = await opened(gateway, provider)
    inbound.send(FRAME[:5])
    assert await connection.reader.readexactly(5) == FRAME[:5]
    ending = asyncio.create_task(gateway.runner.cleanup())
    why = b"the gateway is shutting down"
    assert shown(await inbound.reader.readexactly(8 + len(why))) == (True, 1001, why)
    inbound.send(FRAME[5:] + FRAME + CLOSE)
    assert await connection.reader.readexactly(len(FRAME) - 5) == FRAME[5:]
    assert shown(await connection.reader.readexactly(4 + len(why))) == (False, 1001, why)
    connection.send(CLOSE)
    assert await connection.closed()
    assert await inbound.gone()
    await ending


async def until_draining(gateway: Any) -> None:
    while not gateway.app[SERVED].in_flight.draining:  # noqa: ASYNC110 (no event shows it)
        await asyncio.sleep(0)


async def test_frames_that_arrive_during_the_shutdown_are_forwarded(serve: Any, provider: Any) -> None:
    """Before the time that requests in flight have to finish is over."""
    gateway = await serve(native=[provider.settings()])
    gateway.runner.grace = 60.0
    connection, inbound, _ = await opened(gateway, provider)
    ending = asyncio.create_task(gateway.runner.cleanup())
    await until_draining(gateway)
    connection.send(FRAME)
    assert await inbound.reader.readexactly(len(FRAME)) == FRAME
    connection.send(CLOSE)
    inbound.send(CLOSE)
    inbound.writer.close()
    await ending


async def test_rest_of_a_body_that_arrives_during_the_shutdown_is_read(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings()])
    gateway.runner.grace = 60.0
    connection = await gateway.connect()
    head = f"POST /native/raw/a HTTP/1.1\r\nHost: g\r\nX-API-Key: {KEY}\r\nContent-Length: 10\r\n\r\n"
    connection.send(head.encode() + b"first")
    while not gateway.app[SERVED].in_flight.native:  # noqa: ASYNC110 (no event shows it)
        await asyncio.sleep(0)
    ending = asyncio.create_task(gateway.runner.cleanup())
    await until_draining(gateway)
    connection.send(b" last")
    inbound = await provider.accept()
    await inbound.head()
    assert await inbound.reader.readexactly(10) == b"first last"
    inbound.answer(b"received")
    assert (await connection.answer()).body == b"received"
    await ending
