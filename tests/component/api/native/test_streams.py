"""Bodies are streamed in both directions, without a total timeout."""

import asyncio
from typing import Any

import pytest

from gateway.http import connection as gateway_connection
from tests.component.api.conftest import FLOOD, flood, stop_reading

KEY = "a-key-of-a-shop-1234"
HEAD = f"Host: gateway\r\nAuthorization: Bearer {KEY}\r\n"


def request(method: str, headers: str = "", target: str = "/native/raw/a") -> bytes:
    return f"{method} {target} HTTP/1.1\r\n{HEAD}{headers}\r\n".encode()


async def test_a_chunked_upload_is_streamed(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("POST", "Transfer-Encoding: chunked\r\n") + b"3\r\none\r\n")
    inbound = await provider.accept()
    line, sent = await inbound.head()
    assert (line, sent["transfer-encoding"]) == ("POST /base/v1/a HTTP/1.1", "chunked")
    assert await inbound.reader.readexactly(8) == b"3\r\none\r\n"
    connection.send(b"3\r\ntwo\r\n")
    assert await inbound.reader.readexactly(8) == b"3\r\ntwo\r\n"
    connection.send(b"0\r\n\r\n")
    assert await inbound.reader.readexactly(5) == b"0\r\n\r\n"
    inbound.answer(b"done")
    assert (await connection.answer()).body == b"done"


async def test_a_long_upload_keeps_its_declared_length(gateway: Any, provider: Any) -> None:
    body = b"x" * 300_000
    call = asyncio.create_task(gateway.call("PUT", "/native/raw/a", body))
    inbound = await provider.accept()
    _, sent = await inbound.head()
    assert (sent["content-length"], sent.get("transfer-encoding")) == ("300000", None)
    assert await inbound.reader.readexactly(300_000) == body
    inbound.answer()
    assert (await call).status == 200


async def test_100_continue_is_sent_only_after_the_provider_is_connected(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("POST", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"))
    inbound = await provider.accept()
    assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(b"2\r\nok\r\n0\r\n\r\n")
    _, sent = await inbound.head()
    assert "expect" not in sent
    assert await inbound.reader.readexactly(12) == b"2\r\nok\r\n0\r\n\r\n"
    inbound.answer()
    assert (await connection.answer()).status == 200


async def test_100_continue_is_not_sent_for_a_refused_body(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(native={"allow": []})])
    answer = await gateway.exchange(request("POST", "Content-Length: 5\r\nExpect: 100-continue\r\n"))
    assert answer.status == 403


async def test_events_are_delivered_while_the_stream_is_open(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("GET", "Accept: text/event-stream\r\n"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    head = await connection.reader.readuntil(b"\r\n\r\n")
    assert b"content-type: text/event-stream" in head.lower()
    assert b"x-request-id: " in head.lower()
    assert b"server: runtime-gateway/" in head.lower()
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        inbound.send(b"9\r\n" + event + b"\r\n")
        assert await connection.reader.readexactly(14) == b"9\r\n" + event + b"\r\n"
    inbound.send(b"0\r\n\r\n")
    assert await connection.reader.readexactly(5) == b"0\r\n\r\n"
    assert (await gateway.logger.one("request"))["status"] == 200


async def test_a_response_that_ends_with_its_connection_is_sent_in_chunks(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("GET"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.0 200 OK\r\n\r\nall of it")
    inbound.writer.close()
    head = await connection.reader.readuntil(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    assert await connection.reader.readuntil(b"0\r\n\r\n") == b"9\r\nall of it\r\n0\r\n\r\n"


async def test_a_response_before_the_end_of_the_upload_is_returned(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("POST", "Transfer-Encoding: chunked\r\n") + b"3\r\none\r\n")
    inbound = await provider.accept()
    await inbound.head()
    inbound.answer(b"enough", status="413 Payload Too Large")
    answer = await connection.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"enough", "close")


async def test_when_the_caller_disconnects_the_provider_connection_is_closed(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("GET"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await connection.reader.readuntil(b"1\r\na\r\n")
    connection.writer.close()
    assert await inbound.gone()
    request_line = await gateway.logger.one("request")
    assert (request_line["status"], request_line["code"]) == (499, "client_aborted")
    assert (await gateway.logger.one("upstream"))["outcome"] == "cancelled"


async def test_when_the_caller_disconnects_before_a_response_the_provider_connection_is_closed(
    gateway: Any, provider: Any
) -> None:
    connection = await gateway.connect()
    connection.send(request("GET"))
    inbound = await provider.accept()
    await inbound.head()
    connection.reset()
    assert await inbound.gone()
    assert (await gateway.logger.one("request"))["code"] == "client_aborted"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_when_the_caller_closes_its_side_late_the_provider_connection_is_closed(
    gateway: Any, provider: Any, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_connection, "_HALF_CLOSE_SECONDS", -1.0)
    connection = await gateway.connect()
    connection.send(request(method))
    inbound = await provider.accept()
    await inbound.head()
    connection.writer.close()
    assert await inbound.gone()
    assert (await gateway.logger.one("request"))["code"] == "client_aborted"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_half_closed_caller_receives_the_response(
    gateway: Any, provider: Any, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_connection, "_HALF_CLOSE_SECONDS", 60.0)
    connection = await gateway.connect()
    connection.send(request(method))
    inbound = await provider.accept()
    await inbound.head()
    connection.writer.write_eof()
    for _ in range(20):  # until the gateway has read the end of the caller's side
        await asyncio.sleep(0)
    inbound.answer(b"x" * 200_000)
    answer = await connection.answer()
    assert (answer.status, answer.body) == (200, b"x" * 200_000)
    assert await connection.closed()


async def test_an_aborted_upload_is_not_completed_at_the_provider(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("POST", "Transfer-Encoding: chunked\r\n") + b"3\r\none\r\n")
    inbound = await provider.accept()
    await inbound.head()
    assert await inbound.reader.readexactly(8) == b"3\r\none\r\n"
    connection.writer.close()
    assert await inbound.gone()
    assert (await gateway.logger.one("request"))["code"] == "client_aborted"


async def test_an_aborted_response_aborts_the_callers_connection(gateway: Any, provider: Any) -> None:
    """The last chunk is missing, so the partial response cannot be taken for a complete one."""
    connection = await gateway.connect()
    connection.send(request("GET"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    await connection.reader.readuntil(b"half\r\n")
    inbound.writer.close()
    assert await connection.closed()
    line = await gateway.logger.one("request")
    assert (line["code"], line["source"], line["provider"]) == ("provider_bad_response", "provider", "raw")
    upstream = await gateway.logger.one("upstream")
    assert (upstream["outcome"], upstream["phase"]) == ("cut_short", "answered")


async def test_an_aborted_response_resets_an_http_1_0_connection(gateway: Any, provider: Any) -> None:
    """For HTTP/1.0 a closed connection is the end of the response, so it must be a reset."""
    connection = await gateway.connect()
    connection.send(f"GET /native/raw/a HTTP/1.0\r\n{HEAD}\r\n".encode())
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    await connection.reader.readuntil(b"half")
    inbound.writer.close()
    with pytest.raises(ConnectionResetError):
        await connection.reader.read()


async def test_an_incomplete_buffered_response_is_a_problem(gateway: Any, provider: Any) -> None:
    """Nothing of a buffered response was sent yet, so the failure can be reported."""
    call = asyncio.create_task(gateway.call("GET", "/native/raw/a"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    inbound.writer.close()
    answer = await call
    assert (answer.status, answer.json["code"]) == (502, "provider_bad_response")


async def test_a_lost_response_to_a_mutation_is_an_unknown_outcome_without_retry(gateway: Any, provider: Any) -> None:
    call = asyncio.create_task(gateway.call("POST", "/native/raw/a", b"{}"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.writer.close()
    answer = await call
    assert (answer.status, answer.json["code"], answer.json["retryable"]) == (504, "outcome_unknown", "no")
    assert provider.connections.empty()


async def test_an_unreachable_provider_is_503(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(base_url="http://127.0.0.1:1")])
    answer = await gateway.call("POST", "/native/raw/a", b"{}")
    assert (answer.status, answer.json["code"], answer.json["retryable"]) == (503, "provider_unavailable", "yes")
    assert (await gateway.logger.one("upstream"))["phase"] == "connecting"


async def test_a_provider_that_never_responds_times_out(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(native={"answer_timeout": 0.05})])
    answer = await gateway.call("GET", "/native/raw/a")
    assert (answer.status, answer.json["code"]) == (504, "provider_timeout")
    inbound = await provider.accept()
    await inbound.head()
    assert await inbound.gone()


async def test_an_idle_stream_is_aborted(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(read_timeout=0.05)])
    connection = await gateway.connect()
    connection.send(request("GET"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await connection.reader.readuntil(b"1\r\na\r\n")
    assert await connection.closed()
    assert await inbound.gone()
    assert (await gateway.logger.one("request"))["code"] == "provider_timeout"


async def test_a_caller_that_stops_sending_gets_request_timeout(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(native={"answer_timeout": 0.05})])
    connection = await gateway.connect()
    connection.send(request("POST", "Transfer-Encoding: chunked\r\n") + b"3\r\none\r\n")
    answer = await connection.answer()
    assert (answer.status, answer.json["code"], answer.json["source"]) == (408, "request_timeout", "client")


async def test_a_caller_that_does_not_read_slows_the_provider_and_is_disconnected(serve: Any, provider: Any) -> None:
    """The bytes buffered for it are bounded, however much the provider sends."""
    gateway = await serve(native=[provider.settings(read_timeout=0.2)])
    connection = await gateway.connect()
    stop_reading(connection.writer)
    connection.send(request("GET"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(f"HTTP/1.1 200 OK\r\nContent-Length: {FLOOD}\r\n\r\n".encode())
    assert await flood(inbound.writer) < FLOOD / 4
    line = await gateway.logger.one("request")
    assert (line["code"], line["source"]) == ("request_timeout", "client")


async def test_an_oversized_body_is_refused_as_soon_as_its_size_is_known(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(native={"max_body_bytes": 1024})])
    answer = await gateway.call("POST", "/native/raw/a", b"x" * 2000)
    assert (answer.status, answer.json["code"]) == (413, "payload_too_large")
    assert provider.connections.empty()
    connection = await gateway.connect()
    connection.send(request("POST", "Transfer-Encoding: chunked\r\n") + b"7d0\r\n" + b"x" * 2000 + b"\r\n")
    answer = await connection.answer()
    assert (answer.status, answer.json["code"]) == (413, "payload_too_large")
    inbound = await provider.accept()
    assert b"0\r\n\r\n" not in await inbound.rest()


async def test_a_malformed_body_is_the_callers_fault(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("POST", "Transfer-Encoding: chunked\r\n") + b"3\r\none\r\n")
    inbound = await provider.accept()
    await inbound.head()
    connection.send(b"nonsense\r\n")
    answer = await connection.answer()
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_requests_beyond_max_in_flight_are_refused_and_counted(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(native={"max_in_flight": 1})])
    first = asyncio.create_task(gateway.call("GET", "/native/raw/a"))
    inbound = await provider.accept()
    await inbound.head()
    answer = await gateway.call("GET", "/native/raw/a")
    assert (answer.status, answer.json["code"], answer.json["source"]) == (503, "overloaded", "gateway")
    assert "native.max_in_flight" in answer.json["detail"]
    assert gateway.metrics.registry.get_sample_value("rtgw_dropped_total", {"what": "native"}) == 1
    inbound.answer()
    assert (await first).status == 200


async def test_an_unrequested_protocol_switch_is_a_bad_response(gateway: Any, provider: Any) -> None:
    call = asyncio.create_task(gateway.call("GET", "/native/raw/a"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    answer = await call
    assert (answer.status, answer.json["code"]) == (502, "provider_bad_response")
    assert await inbound.gone()
