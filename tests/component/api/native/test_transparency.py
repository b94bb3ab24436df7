"""What the provider sends is what the caller receives: 1xx responses pass, and no header is made up."""

from typing import Any

import pytest

from tests.component.api.conftest import stop_reading

KEY = "a-key-of-a-shop-1234"
GATEWAYS_OWN = {"server", "x-request-id", "x-content-type-options", "content-security-policy", "proxy-status"}
ADDED = {*GATEWAYS_OWN, "cache-control", "date"}
"""Headers that the gateway adds, which docs/native.md lists."""


def request(method: str = "GET", headers: str = "", version: str = "1.1") -> bytes:
    lines = f"Host: gateway\r\nX-API-Key: {KEY}\r\n{headers}"
    return f"{method} /native/raw/a HTTP/{version}\r\n{lines}\r\n".encode()


async def received(gateway: Any, provider: Any, sent: bytes, answer: bytes, *, ends: bool = False) -> bytes:
    """Everything that the caller receives before the connection is closed, for one response of the provider."""
    connection = await gateway.connect()
    connection.send(sent)
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(answer)
    if ends:
        inbound.writer.close()
    data: bytes = await connection.reader.read()
    return data


def heads(raw: bytes) -> list[tuple[str, list[tuple[str, str]]]]:
    """The status line and headers (names in lower case) of each head, until one that is final."""
    found = []
    while True:
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        found.append((first, [(name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in lines)]))
        if not first.startswith("HTTP/1.1 1"):
            return found


FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSE = "Connection: close\r\n"


async def test_interim_responses_are_passed_in_order_before_the_final_one(gateway: Any, provider: Any) -> None:
    sent = (
        b"HTTP/1.1 102 Processing\r\nX-Progress: 1\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </base/v1/b>; rel=next\r\n\r\n"
        b"HTTP/1.1 199 \xff\r\n\r\n" + FINAL
    )
    raw = await received(gateway, provider, request(headers=CLOSE), sent)
    *interim, final = heads(raw)
    origin = f"http://127.0.0.1:{provider.port}"
    assert interim == [
        ("HTTP/1.1 102 Processing", [("x-progress", "1")]),
        (
            "HTTP/1.1 103 Early Hints",
            [("link", f"<{origin}/a.css>; rel=preload"), ("link", "</native/raw/b>; rel=next")],
        ),
        ("HTTP/1.1 199 ", []),
    ]
    assert final[0] == "HTTP/1.1 200 OK"
    assert raw.endswith(b"\r\n\r\n{}")
    assert (await gateway.logger.one("request"))["status"] == 200


async def test_an_interim_response_arrives_before_the_final_one_was_sent(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request())
    inbound = await provider.accept()
    await inbound.head()
    for number in (b"1", b"2"):
        interim = b"HTTP/1.1 103 Early Hints\r\nX-Number: %b\r\n\r\n" % number
        inbound.send(interim)
        assert await connection.reader.readuntil(b"\r\n\r\n") == interim
    inbound.answer(b"done")
    answer = await connection.answer()
    assert (answer.status, answer.body) == (200, b"done")


async def test_interim_responses_reach_a_caller_that_is_still_uploading(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("POST", "Transfer-Encoding: chunked\r\n") + b"3\r\none\r\n")
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 102 Processing\r\n\r\n"
    connection.send(b"0\r\n\r\n")
    assert await inbound.reader.readuntil(b"0\r\n\r\n") == b"3\r\none\r\n0\r\n\r\n"
    inbound.answer()
    assert (await connection.answer()).status == 200


async def test_headers_of_an_interim_response_are_filtered_like_those_of_a_final_one(
    gateway: Any, provider: Any
) -> None:
    lines = "Connection: X-Hop\r\nX-Hop: 1\r\nSet-Cookie: a=b\r\nServer: theirs\r\nX-Echo: canary-of-the-provider\r\n"
    interim = f"HTTP/1.1 103 Early Hints\r\n{lines}Content-Length: 0\r\nX-End: 2\r\n\r\n".encode()
    raw = await received(gateway, provider, request(headers=CLOSE), interim + FINAL)
    assert heads(raw)[0] == ("HTTP/1.1 103 Early Hints", [("x-echo", "[redacted]"), ("x-end", "2")])


async def test_a_caller_of_http_1_0_receives_no_interim_response(gateway: Any, provider: Any) -> None:
    raw = await received(gateway, provider, request(version="1.0"), b"HTTP/1.1 103 Early Hints\r\n\r\n" + FINAL)
    assert raw.startswith(b"HTTP/1.0 200 OK\r\n")
    assert raw.count(b"HTTP/1.") == 1


@pytest.mark.parametrize("agent", ["Python-urllib/3.11", "python-requests/2.32.3", "python-urllib3/2.2.1"])
async def test_a_client_that_takes_an_interim_response_for_the_final_one_receives_none(
    gateway: Any, provider: Any, agent: str
) -> None:
    sent = request(headers=f"{CLOSE}User-Agent: {agent}\r\n")
    raw = await received(gateway, provider, sent, b"HTTP/1.1 102 Processing\r\n\r\n" + FINAL)
    assert [first for first, _ in heads(raw)] == ["HTTP/1.1 200 OK"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unsolicited_100_is_not_passed(gateway: Any, provider: Any, method: str) -> None:
    raw = await received(gateway, provider, request(method, CLOSE), b"HTTP/1.1 100 Continue\r\n\r\n" + FINAL)
    assert [first for first, _ in heads(raw)] == ["HTTP/1.1 200 OK"]


async def test_a_caller_that_expects_100_receives_exactly_one(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("POST", f"{CLOSE}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
    assert await connection.reader.readuntil(b"102 Processing\r\n\r\n") == (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    )
    connection.send(b"0\r\n\r\n")
    assert await inbound.reader.readexactly(5) == b"0\r\n\r\n"
    inbound.answer()
    assert [first for first, _ in heads(await connection.reader.read())] == ["HTTP/1.1 200 OK"]


async def test_more_interim_responses_than_the_limit_are_a_bad_response(gateway: Any, provider: Any) -> None:
    raw = await received(gateway, provider, request(headers=CLOSE), b"HTTP/1.1 102 P\r\n\r\n" * 1001 + FINAL)
    assert raw.count(b"HTTP/1.1 102 P") == 1000
    assert b"HTTP/1.1 502 " in raw
    assert b'"provider_bad_response"' in raw


async def test_interim_responses_are_not_stored_for_a_caller_that_does_not_read(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    stop_reading(connection.writer)
    connection.send(request(headers=CLOSE))
    inbound = await provider.accept()
    await inbound.head()
    interim = b"HTTP/1.1 103 Early Hints\r\nX-Long: %b\r\n\r\n" % (b"a" * 60_000)
    for _ in range(500):
        inbound.send(interim)
        await inbound.writer.drain()
    inbound.send(FINAL)
    connection.reader._transport.resume_reading()  # type: ignore[attr-defined]
    raw = await connection.reader.read()
    assert 0 < raw.count(b"HTTP/1.1 103") < 500
    assert b"HTTP/1.1 200 OK" in raw


@pytest.mark.parametrize(
    ("method", "answer", "ends", "kept"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False, {"content-length": "2"}),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False, {"content-length": "0"}),
        ("GET", b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", False, {"content-length": "2"}),
        ("GET", b"HTTP/1.1 200 OK\r\n\r\nok", True, {"transfer-encoding": "chunked"}),
        ("GET", b"HTTP/1.0 200 OK\r\n\r\nok", True, {"transfer-encoding": "chunked"}),
        (
            "GET",
            b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70_000,
            False,
            {"content-length": "70000"},
        ),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", False, {"content-length": "2"}),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", False, {}),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", False, {}),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", False, {"etag": "x"}),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Type:\r\nContent-Length: 2\r\n\r\nok", False, {"content-length": "2"}),
    ],
)
async def test_no_content_type_is_made_up(
    gateway: Any, provider: Any, method: str, answer: bytes, ends: bool, kept: dict[str, str]
) -> None:
    raw = await received(gateway, provider, request(method, CLOSE), answer, ends=ends)
    ((_, lines),) = heads(raw)
    shown = {name: value for name, value in lines if name not in ADDED and value}
    assert shown == {**kept, "connection": "close"}
    assert len(lines) == len(dict(lines))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
async def test_a_content_type_is_passed_as_it_was_sent(gateway: Any, provider: Any, method: str, status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Type: Text/HTML;charset=x\r\nContent-Length: 0\r\n\r\n".encode()
    ((_, lines),) = heads(await received(gateway, provider, request(method, CLOSE), answer))
    assert [value for name, value in lines if name == "content-type"] == ["Text/HTML;charset=x"]


async def test_a_date_of_the_provider_is_passed(gateway: Any, provider: Any) -> None:
    date = "Sun, 22 Nov 2026 03:00:00 GMT"
    answer = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nServer: theirs\r\nContent-Length: 2\r\n\r\nok".encode()
    ((_, lines),) = heads(await received(gateway, provider, request(headers=CLOSE), answer))
    assert [value for name, value in lines if name == "date"] == [date]
    assert [value.partition("/")[0] for name, value in lines if name == "server"] == ["runtime-gateway"]


async def test_events_without_a_content_type_are_delivered_while_the_stream_is_open(
    gateway: Any, provider: Any
) -> None:
    connection = await gateway.connect()
    connection.send(request())
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert b"\r\ncontent-type:" not in (await connection.reader.readuntil(b"\r\n\r\n")).lower()
    inbound.send(b"2\r\nab\r\n")
    assert await connection.reader.readexactly(7) == b"2\r\nab\r\n"
    inbound.send(b"0\r\n\r\n")
    assert await connection.reader.readexactly(5) == b"0\r\n\r\n"


async def test_two_requests_on_one_connection_receive_their_own_interim_responses(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request() + request(headers=CLOSE))
    inbound = await provider.accept()
    for number in (1, 2):
        await inbound.head()
        inbound.send(b"HTTP/1.1 102 Number %d\r\n\r\n" % number + FINAL)
    raw = await connection.reader.read()
    order = [line for line in raw.split(b"\r\n") if b"HTTP/1.1 " in line]
    assert [line[line.index(b"HTTP") :] for line in order] == [
        b"HTTP/1.1 102 Number 1",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 102 Number 2",
        b"HTTP/1.1 200 OK",
    ]


@pytest.mark.parametrize(("method", "code"), [("GET", "provider_bad_response"), ("POST", "outcome_unknown")])
@pytest.mark.parametrize(
    "coding", ["gzip, chunked", "gzip", "identity", "chunked\t", "chunked\r\nTransfer-Encoding: gzip"]
)
async def test_a_response_in_an_unknown_transfer_coding_is_never_passed_as_plain(
    gateway: Any, provider: Any, method: str, code: str, coding: str
) -> None:
    answer = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode()
    raw = await received(gateway, provider, request(method, CLOSE), answer, ends=True)
    assert f'"code":"{code}"'.encode() in raw
    assert b"200 OK" not in raw


async def test_trailers_of_a_response_are_not_headers_of_the_next_one(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request() + request(headers=CLOSE))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n")
    await inbound.head()
    inbound.send(FINAL)
    assert b"x-trailer" not in (await connection.reader.read()).lower()
