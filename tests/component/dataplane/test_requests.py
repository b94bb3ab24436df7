"""Requests through the data plane: headers and bodies."""

import re
from collections.abc import AsyncIterator

import pytest

from tests.component.dataplane.raw import UPGRADE, RawPlane, raw_plane

OWN = {
    "Authorization": "Bearer canary",
    "X-API-Key": "canary",
    "Cookie": "session=canary",
    "Proxy-Authorization": "canary",
    "Referer": "https://canary.example/",
    "X-Forwarded-For": "canary",
    "X-Real-IP": "canary",
    "Forwarded": "for=canary",
    "Keep-Alive": "canary",
    "TE": "canary",
    "X-Named": "canary",
    "X_Under_Score": "canary",
}
PASSED = {
    "x-execd-access-token": "of the runtime",
    "content-type": "application/json;charset=UTF-8",
    "user-agent": "Playwright/1.65",
    "accept": "*/*",
    "sec-websocket-extensions": "permessage-deflate; client_no_context_takeover",
    "x-custom": "a, b",
}


@pytest.fixture
async def plane(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RawPlane]:
    async with raw_plane(monkeypatch) as plane:
        yield plane


@pytest.mark.parametrize("websocket", [False, True])
async def test_headers_pass_except_those_of_the_connection_and_of_the_caller(
    plane: RawPlane, *, websocket: bool
) -> None:
    lines = "".join(
        f"{name}: {value}\r\n" for name, value in {**OWN, **PASSED, "Origin": "https://app.example"}.items()
    )
    connection = "Connection: x-named, Keep-Alive\r\n"
    await plane.asked(await plane.connect(), (UPGRADE if websocket else "") + connection + lines)
    far = await plane.far.accept()
    line, headers = await far.head()
    assert line == f"GET {'/devtools/browser/b-4711' if websocket else '/'} HTTP/1.1"
    assert headers["host"] == f"127.0.0.1:{plane.far.port}"
    assert "canary" not in str(headers)
    assert {name: headers[name] for name in PASSED} == PASSED
    assert {"origin", "x-under-score"}.isdisjoint(headers)
    assert headers.get("connection") == ("Upgrade" if websocket else None)
    far.answer()


async def test_bodies_pass_in_pieces_both_ways_as_they_arrive(plane: RawPlane) -> None:
    client = await plane.asked(await plane.connect(), "Transfer-Encoding: chunked\r\n", method="POST", path="/files")
    client.send(b"5\r\nfirst\r\n")
    far = await plane.far.accept()
    line, headers = await far.head()
    assert (line, headers["transfer-encoding"]) == ("POST /files HTTP/1.1", "chunked")
    assert await far.reader.readexactly(10) == b"5\r\nfirst\r\n"
    far.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n"
    )
    head = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert "content-type: text/event-stream" in head
    assert await client.reader.readexactly(14) == b"9\r\ndata: a\n\n\r\n"
    client.send(b"4\r\nlast\r\n0\r\n\r\n")
    assert await far.reader.readexactly(14) == b"4\r\nlast\r\n0\r\n\r\n"
    far.send(b"9\r\ndata: b\n\n\r\n0\r\n\r\n")
    assert await client.reader.readexactly(19) == b"9\r\ndata: b\n\n\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", [1 << 20, 20 << 20])
async def test_long_upload_and_download_arrive_whole(plane: RawPlane, size: int) -> None:
    body = bytes(range(256)) * (size // 256)
    client = await plane.asked(await plane.connect(), f"Content-Length: {size}\r\n", method="PUT", path="/files/a")
    client.send(body)
    far = await plane.far.accept()
    _, headers = await far.head()
    assert headers["content-length"] == str(size)
    assert await far.reader.readexactly(size) == body
    far.answer(body)
    assert (await client.answer()).body == body
    counted = re.findall(
        r"^rtgw_data_bytes_total\S+ (\S+)$", (await plane.gateway.call("GET", "/metrics")).text, re.MULTILINE
    )
    assert list(map(float, counted)) == [size, size]


@pytest.mark.parametrize("status", ["503 Service Unavailable", "401 Unauthorized", "404 Not Found", "500 Oops"])
async def test_errors_of_the_runtimes_server_pass_with_their_bodies(plane: RawPlane, status: str) -> None:
    client = await plane.asked(await plane.connect(), "", path="/api/ready")
    far = await plane.far.accept()
    await far.head()
    far.answer(b'{"stage": "starting"}', status=status, headers="Retry-After: 2\r\nContent-Type: application/json\r\n")
    answer = await client.answer()
    assert (answer.status, answer.json) == (int(status[:3]), {"stage": "starting"})
    assert (answer.headers["retry-after"], answer.headers["content-type"]) == ("2", "application/json")


async def test_body_larger_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_plane(monkeypatch, max_body_bytes=1024) as plane:
        client = await plane.asked(await plane.connect(), "Content-Length: 1025\r\n", method="POST", path="/files")
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (413, "payload_too_large")


async def test_runtime_that_does_not_answer_ends_after_the_idle_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_plane(monkeypatch, idle_timeout=0.1) as plane:
        client = await plane.asked(await plane.connect(), "", path="/slow")
        far = await plane.far.accept()
        await far.head()
        answer = await client.answer()
        assert (answer.status, answer.json["code"]) == (504, "provider_timeout")
        assert await far.gone()


async def test_client_that_leaves_ends_its_request_at_the_runtime(plane: RawPlane) -> None:
    client = await plane.asked(await plane.connect(), "", path="/stream")
    far = await plane.far.accept()
    await far.head()
    far.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await client.reader.readuntil(b"1\r\na\r\n")
    client.writer.close()
    assert await far.gone()
