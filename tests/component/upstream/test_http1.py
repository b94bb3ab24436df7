"""Responses that no server framework sends, read by the HTTP/1.1 client of the providers."""

import asyncio
import gzip
import time

import pytest

from gateway.ports.provider_settings import ProviderSettings
from gateway.upstream.http1 import pool
from gateway.upstream.transport import HttpTransport
from tests.contract.transport.subject import call, failure_of, request
from tests.scripted_server import Reply, ScriptedServer, Then, reply

GZIP = [("Content-Encoding", "gzip")]


def _transport(url: str, **options: object) -> HttpTransport:
    known = {"name": "p", "api": "test", "base_url": url, "token": "t"}
    return HttpTransport(ProviderSettings.model_validate({**known, **options}))


class _Clock:
    """Stands in for the module ``time`` of the pool."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("keep_alive", "pause", "connections"),
    [
        ("timeout=5", 3.9, 1),
        ("timeout=5", 4.1, 2),
        ("timeout=5, max=100", 4.1, 2),
        ("max=100, Timeout=5", 4.1, 2),
        ("timeout=1", 0.4, 1),
        ("timeout=1", 0.6, 2),
        ("timeout=900", 14.9, 1),
        ("timeout=900", 15.1, 2),
        ("nonsense", 14.9, 1),
    ],
)
async def test_a_connection_is_not_used_at_the_end_of_the_providers_keep_alive(
    monkeypatch: pytest.MonkeyPatch, keep_alive: str, pause: float, connections: int
) -> None:
    clock = _Clock()
    monkeypatch.setattr(pool, "time", clock)
    answers = [reply({}, headers=[("Keep-Alive", keep_alive)]) for _ in range(2)]
    async with ScriptedServer(answers) as server, _transport(server.url) as transport:
        await transport.send(request(), call())
        clock.now += pause
        await transport.send(request(), call())
        assert server.connections == connections


@pytest.mark.parametrize(
    ("head", "limit"),
    [
        (b"X-Long: " + b"a" * 2000 + b"\r\n\r\n", "more than 1024 bytes of headers"),
        (b"".join(b"X-%d: b\r\n" % number for number in range(40)) + b"\r\n", "more than 32 headers"),
        (b"X-Endless: " + b"a" * 70_000, "more than 1024 bytes of headers"),
        (b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 400_000, "more than 1024 bytes of headers"),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Endless: " + b"a" * 400_000, "more than 1024 bytes of headers"),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-Many: a\r\n" * 200, "more than 1024 bytes of headers"),
    ],
)
async def test_a_head_beyond_a_limit_is_refused_with_the_name_of_the_limit(head: bytes, limit: str) -> None:
    raw = Reply(b"HTTP/1.1 200 OK\r\n" + head)
    limits = {"max_response_header_bytes": 1024, "max_response_headers": 32}
    async with ScriptedServer([raw]) as server, _transport(server.url, **limits) as transport:
        failure = await failure_of(transport, request(), call())
    assert failure.reason == "headers_too_large"
    assert failure.detail is not None
    assert limit in failure.detail


@pytest.mark.parametrize("line", [b"Transfer-Encoding : chunked", b"Content-Length\t: 9", b"Content-Length : 9"])
async def test_a_space_before_the_colon_is_no_part_of_the_name(line: bytes) -> None:
    """Or else a truncated body would be taken for one that ends with the connection."""
    raw = Reply(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n2\r\n{}\r\n" % line, Then.CLOSE)
    async with ScriptedServer([raw]) as server, _transport(server.url) as transport:
        assert (await failure_of(transport, request(), call())).reason in {"cut_short", "unreadable"}


async def test_a_header_with_a_zero_byte_is_refused() -> None:
    raw = Reply(b"HTTP/1.1 200 OK\r\nX-Null: a\0b\r\nContent-Length: 2\r\n\r\n{}")
    async with ScriptedServer([raw]) as server, _transport(server.url) as transport:
        assert (await failure_of(transport, request(), call())).reason == "unreadable"


async def test_all_members_of_a_compressed_body_are_decoded() -> None:
    coded = gzip.compress(b'{"a": ') + gzip.compress(b"1}")
    async with ScriptedServer([reply(coded, headers=GZIP)]) as server, _transport(server.url) as transport:
        assert (await transport.send(request(), call())).body == b'{"a": 1}'


async def test_a_body_of_zero_bytes_is_not_a_compressed_one() -> None:
    async with ScriptedServer([reply(b"\0" * 20, headers=GZIP)]) as server, _transport(server.url) as transport:
        assert (await failure_of(transport, request(), call())).reason == "unreadable"


async def test_the_limit_applies_to_all_members_of_a_compressed_body_together() -> None:
    coded = gzip.compress(b" " * 600) * 2
    async with (
        ScriptedServer([reply(coded, headers=GZIP)]) as server,
        _transport(server.url, max_response_bytes=1024) as transport,
    ):
        assert (await failure_of(transport, request(), call())).reason == "too_large"


@pytest.mark.parametrize(
    ("end", "reason"),
    [(b"xx", "unreadable"), (gzip.compress(b"{}", mtime=0), ""), (b"\0\0", ""), (b"\x1f\x8b\x08", "cut_short")],
)
async def test_what_follows_a_compressed_body_is_another_member_padding_or_an_error(end: bytes, reason: str) -> None:
    answer = reply(gzip.compress(b"{}") + end, headers=GZIP)
    async with ScriptedServer([answer]) as server, _transport(server.url) as transport:
        if reason:
            assert (await failure_of(transport, request(), call())).reason == reason
        else:
            assert (await transport.send(request(), call())).body.startswith(b"{}")


async def test_a_long_head_within_the_limits_is_read() -> None:
    answer = reply({}, headers=[("Content-Security-Policy", "a" * 60_000)])
    async with ScriptedServer([answer]) as server, _transport(server.url) as transport:
        response = await transport.send(request(), call())
    assert len(response.headers["content-security-policy"]) == 60_000


@pytest.mark.parametrize("status", [200, 404])
async def test_a_body_with_the_response_to_head_is_dropped_with_its_connection(status: int) -> None:
    answer = Reply(b"HTTP/1.1 %d Yes\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello" % status)
    async with ScriptedServer([answer, reply({})]) as server, _transport(server.url) as transport:
        response = await transport.send(request("HEAD"), call())
        assert (response.status, response.headers["x-a"], response.body) == (status, "b", b"")
        await transport.send(request(), call())
        assert server.connections == 2


@pytest.mark.parametrize("status", [204, 304])
async def test_a_body_with_a_status_without_one_is_dropped_with_its_connection(status: int) -> None:
    answer = Reply(b"HTTP/1.1 %d No\r\nContent-Length: 5\r\n\r\nhello" % status)
    async with ScriptedServer([answer, reply({})]) as server, _transport(server.url) as transport:
        response = await transport.send(request(), call())
        assert (response.status, response.body) == (status, b"")
        await transport.send(request(), call())
        assert server.connections == 2


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: foo",
        b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: chunked;a=b",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding:",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: chunked\x0c",
        b"Transfer-Encoding: chunked\t",
        b"Transfer-Encoding: \xc2\xa0chunked",
        "Transfer-Encoding: chun\u212aed".encode(),
        b"tRANSFER-eNCODING:\t GZIP ,\tChunked",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 12",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Content-Length: 12\r\nTransfer-Encoding: gzip",
        b"Transfer-Encoding: gzip,\r\n chunked",
    ],
)
async def test_a_transfer_coding_other_than_chunked_is_refused(lines: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n2\r\n{}\r\n0\r\n\r\n" % lines
    for then in (Then.KEEP, Then.CLOSE):
        async with ScriptedServer([Reply(raw, then)]) as server, _transport(server.url) as transport:
            failure = await failure_of(transport, request(), call())
            assert failure.reason == "unreadable"
            await transport.send(request(), call())
            assert server.connections == 2


@pytest.mark.parametrize("line", [b"transfer-encoding:chunked", b"TRANSFER-ENCODING: \t Chunked  "])
async def test_chunked_is_read_in_any_case(line: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n2\r\n{}\r\n0\r\n\r\n" % line
    async with ScriptedServer([Reply(raw)]) as server, _transport(server.url) as transport:
        assert (await transport.send(request(), call())).body == b"{}"


@pytest.mark.parametrize(
    "before",
    [
        b"HTTP/1.1 102 P\r\n\r\n" * 1000,
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\nLink: </a>\r\n\r\n",
        b"HTTP/1.1 103 E\r\nX-Long: %b\r\n\r\n" % (b"a" * 60_000) * 20,
    ],
)
async def test_interim_responses_are_skipped(before: bytes) -> None:
    async with ScriptedServer([Reply(before + reply({}).raw)]) as server, _transport(server.url) as transport:
        assert (await transport.send(request(), call())).body == b"{}"
        await transport.send(request(), call())
        assert server.connections == 1


@pytest.mark.parametrize(
    ("before", "detail"),
    [
        (b"HTTP/1.1 102 P\r\n\r\n" * 1001, "more than 1000 interim responses"),
        (b"HTTP/1.1 102 P\r\nContent-Length: 3\r\n\r\nabc", "An interim response has a body"),
        (
            b"HTTP/1.1 102 P\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "An interim response has a body",
        ),
        (b"HTTP/1.1 099 P\r\n\r\n", "The status 99"),
        (b"HTTP/1.1 600 P\r\nContent-Length: 0\r\n\r\n", "The status 600"),
    ],
)
async def test_what_cannot_be_an_interim_response_is_refused(before: bytes, detail: str) -> None:
    """Its bytes must not become a part of the next response."""
    async with ScriptedServer([Reply(before + reply({}).raw)]) as server, _transport(server.url) as transport:
        failure = await failure_of(transport, request(), call())
        assert failure.reason == "unreadable"
        assert detail in (failure.detail or "")
        await transport.send(request(), call())
        assert server.connections == 2


async def test_an_answer_before_a_reset_of_the_upload_is_read() -> None:
    """A provider may answer, and close, before it has read the request."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, _transport(url) as transport:
        for _ in range(20):
            response = await transport.send(request("POST", body=b" " * 20_000_000), call(10))
            assert (response.status, response.body) == (413, b"{}")
