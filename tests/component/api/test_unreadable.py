"""Requests refused before any handler: each ends with a problem, a log line and a count."""

import uuid
from typing import Any

import pytest

from tests.component.api.conftest import KEY

HOST = b"Host: gateway\r\n"


def coded(*lines: bytes, version: bytes = b"1.1", body: bytes = b"2\r\n{}\r\n0\r\n\r\n") -> bytes:
    """A request with header lines about its transfer coding."""
    return b"POST /v1/runtimes HTTP/%b\r\n%b%b\r\n\r\n%b" % (version, HOST, b"\r\n".join(lines), body)


CODINGS = {
    "gzip before chunked": coded(b"Transfer-Encoding: gzip, chunked"),
    "gzip alone": coded(b"Transfer-Encoding: gzip"),
    "gzip alone, before the body": coded(b"Transfer-Encoding: gzip", body=b""),
    "gzip after chunked": coded(b"Transfer-Encoding: chunked, gzip"),
    "identity": coded(b"Transfer-Encoding: identity", body=b""),
    "identity before chunked": coded(b"Transfer-Encoding: identity, chunked"),
    "chunked twice": coded(b"Transfer-Encoding: chunked, chunked"),
    "an empty element before chunked": coded(b"Transfer-Encoding: ,chunked"),
    "an empty element after chunked": coded(b"Transfer-Encoding: chunked,"),
    "no coding": coded(b"Transfer-Encoding:", body=b""),
    "no coding before a request": coded(b"Transfer-Encoding:", body=b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a coding in quotes": coded(b'Transfer-Encoding: "chunked"'),
    "a parameter": coded(b"Transfer-Encoding: chunked;a=b"),
    "a longer name": coded(b"Transfer-Encoding: xchunked"),
    "a letter that is a k in lower case": coded("Transfer-Encoding: chun\u212aed".encode(), body=b""),
    "odd case and spaces": coded(b"tRANSFER-eNCODING:   GZip ,  Chunked  "),
    "two headers": coded(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
    "two headers, chunked first": coded(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
    "two headers of one value": coded(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "two headers, one empty": coded(b"Transfer-Encoding: chunked", b"Transfer-Encoding:"),
}
"""Transfer codings that cannot be decoded. The body must not be read as if it were plain."""

MALFORMED_CODINGS = {
    "a length too": coded(b"Transfer-Encoding: gzip, chunked", b"Content-Length: 2"),
    "a length before it": coded(b"Content-Length: 2", b"Transfer-Encoding: gzip"),
    "a control character": coded(b"Transfer-Encoding: \x0bchunked"),
    "a space before the colon": coded(b"Transfer-Encoding : chunked"),
    "a folded line": coded(b"Transfer-Encoding: gzip,\r\n chunked"),
    "HTTP/1.0": coded(b"Transfer-Encoding: chunked", version=b"1.0"),
}

CASES = {
    "no HTTP at all": (b"GARBAGE\r\n\r\n", 400, "invalid_request"),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "invalid_request"),
    "a method in lower case": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "invalid_request"),
    "an unknown method": (b"BREW /v1/runtimes HTTP/1.1\r\n" + HOST + b"\r\n", 400, "invalid_request"),
    "no Host": (b"GET /v1/runtimes HTTP/1.1\r\n\r\n", 400, "invalid_request"),
    "two Hosts": (b"GET /v1/runtimes HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "invalid_request"),
    "a Host with a space": (b"GET /v1/runtimes HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "invalid_request"),
    "a Host with a path": (b"GET /v1/runtimes HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "invalid_request"),
    "a Host with a user": (b"GET /livez HTTP/1.0\r\nHost: user@a\r\n\r\n", 400, "invalid_request"),
    "a port that is no number": (b"GET /livez HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "invalid_request"),
    "a port beyond the last one": (b"GET /livez HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "invalid_request"),
    "an IPv6 address without its end": (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "invalid_request"),
    "an IPv6 address with four colons": (b"GET / HTTP/1.1\r\nHost: [::::]\r\n\r\n", 400, "invalid_request"),
    "a Host beyond ASCII": (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", 400, "invalid_request"),
    "two Hosts in HTTP/1.0": (b"GET / HTTP/1.0\r\n" + HOST + b"host: b\r\n\r\n", 400, "invalid_request"),
    "HTTP/2.0": (b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n", 505, "http_version_not_supported"),
    "HTTP/1.2": (b"GET /livez HTTP/1.2\r\n" + HOST + b"\r\n", 505, "http_version_not_supported"),
    "HTTP/3.0": (b"GET /livez HTTP/3.0\r\n" + HOST + b"\r\n", 505, "http_version_not_supported"),
    "HTTP/2 with prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version_not_supported"),
    "HTTP/0.9": (b"GET /livez HTTP/0.9\r\n" + HOST + b"\r\n", 505, "http_version_not_supported"),
    "no version": (b"GET /livez\r\n\r\n", 505, "http_version_not_supported"),
    "another version in the target": (b"GET /Invalid HTTP/2\r\n" + HOST + b"\r\n", 400, "invalid_request"),
    "another protocol": (b"GET /livez HTCPCP/1.0\r\n" + HOST + b"\r\n", 400, "invalid_request"),
    "a NUL in the target": (b"GET /v1/\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "invalid_request"),
    "a byte beyond ASCII in the target": (b"GET /v1/\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400, "invalid_request"),
    "a broken absolute target": (b"GET http://[::1 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "invalid_request"),
    "a header without a colon": (b"GET / HTTP/1.1\r\n" + HOST + b"nonsense\r\n\r\n", 400, "invalid_request"),
    "a negative length": (
        b"POST /v1/runtimes HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        400,
        "invalid_request",
    ),
    "length and chunks": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        400,
        "invalid_request",
    ),
    "a long target": (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "uri_too_long"),
    "a long query": (b"GET /v1/runtimes?name=" + b"a" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "uri_too_long"),
    "a long header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 2000 + b"\r\n\r\n", 431, "headers_too_large"),
    "a long header name": (b"GET / HTTP/1.1\r\n" + HOST + b"X" * 2000 + b": a\r\n\r\n", 431, "headers_too_large"),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
    **{f"transfer coding: {name}": (raw, 501, "transfer_coding_not_supported") for name, raw in CODINGS.items()},
    **{f"transfer coding: {name}": (raw, 400, "invalid_request") for name, raw in MALFORMED_CODINGS.items()},
}


@pytest.mark.parametrize(("raw", "status", "code"), CASES.values(), ids=CASES)
async def test_an_unreadable_request_is_a_problem_and_closes_the_connection(
    api: Any, raw: bytes, status: int, code: str
) -> None:
    connection = await api.connect()
    connection.send(raw)
    answer = await connection.answer()
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    problem = answer.json
    assert (problem["code"], problem["status"], problem["source"]) == (code, status, "client")
    assert uuid.UUID(problem["request_id"])
    assert answer.headers["x-request-id"] == problem["request_id"]
    assert await connection.closed()
    line = await api.logger.one("unreadable_request")
    assert (line["request_id"], line["status"], line["code"]) == (problem["request_id"], status, code)
    labels = {"surface": "site", "operation": "unreadable", "status": str(status), "code": code, "source": "client"}
    assert api.counted(**labels) == 1
    assert not any(level == "exception" for level, _, _ in api.logger.events)


@pytest.mark.parametrize(
    "host", ["", "a", "a_b.c.", "a:", "a:80", "127.0.0.1:65535", "[::1]", "[::ffff:127.0.0.1]:8080", "a%41", "xn--a"]
)
async def test_a_valid_host_is_accepted(api: Any, host: str) -> None:
    assert (await api.exchange(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())).status == 200


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "  CHUNKED  "])
@pytest.mark.parametrize("path", ["/v1/providers", "/livez"])
async def test_a_chunked_body_is_accepted_in_any_case(api: Any, coding: str, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: {coding}\r\n\r\n"
    assert (await api.exchange(head.encode() + b"0\r\n\r\n")).status == 200


async def test_http_1_0_needs_no_host(api: Any) -> None:
    assert (await api.exchange(b"GET /livez HTTP/1.0\r\n\r\n")).status == 200


async def test_a_version_is_refused_in_http_1_1(api: Any) -> None:
    connection = await api.connect()
    connection.send(b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n")
    assert (await connection.reader.readline()).startswith(b"HTTP/1.1 505 ")


async def test_headers_that_are_too_large_together_are_refused(api: Any) -> None:
    answer = await api.exchange(b"GET /livez HTTP/1.1\r\n" + HOST + (b"X: " + b"a" * 900 + b"\r\n") * 5 + b"\r\n")
    assert (answer.status, answer.json["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize("target", ["/nope", "//", "/v1", "/v1/", "/v1/nope", "/v1/runtimes/", "/v1/runtimes/a/b"])
async def test_an_unknown_path_is_a_problem(api: Any, target: str) -> None:
    answer = await api.call("GET", target)
    assert (answer.status, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "target",
    [
        "%00",
        "%ff%fe",
        "%zz",
        "%",
        "a%2Fb",
        "..%2f..%2fetc",
        "%0d%0aX: y".replace(" ", "%20"),
        "a.%00",
        "%F0%9F%92%A9",
        "{}",
    ],
)
@pytest.mark.parametrize("rest", ["", "/config", "/capabilities"])
async def test_a_malformed_runtime_id_is_not_found(api: Any, target: str, rest: str) -> None:
    answer = await api.call("GET", f"/v1/runtimes/{target}{rest}")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize("binding", ["%00", "%0A", "b" * 201])
async def test_a_malformed_binding_id_is_not_found(api: Any, binding: str) -> None:
    answer = await api.call("DELETE", f"/v1/runtimes/p.x/capabilities/{binding}")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PATCH", "/v1/runtimes", "GET, HEAD, POST"),
        ("TRACE", "/v1/runtimes", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/runtimes/x", "DELETE, GET, HEAD"),
        ("GET", "/v1/runtimes/x/start", "POST"),
        ("POST", "/v1/runtimes/x/capabilities/resolved", "GET, HEAD"),
        ("GET", "/v1/runtimes/x/capabilities/y", "DELETE, PATCH"),
        ("POST", "/livez", "GET, HEAD"),
        ("DELETE", "/docs", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_with_allow(api: Any, method: str, target: str, allowed: str) -> None:
    answer = await api.call(method, target)
    assert (answer.status, answer.json["code"], answer.headers["allow"]) == (405, "method_not_allowed", allowed)


@pytest.mark.parametrize("line", [b"CONNECT gateway:80", b"OPTIONS *"])
@pytest.mark.parametrize("expect", [b"", b"Expect: the-unexpected\r\n"])
async def test_a_request_without_a_path_is_a_problem(api: Any, line: bytes, expect: bytes) -> None:
    answer = await api.exchange(line + b" HTTP/1.1\r\n" + HOST + expect + b"\r\n")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


async def test_an_unknown_expectation_is_ignored(api: Any) -> None:
    assert (await api.call("GET", "/v1/providers", Expect="the-unexpected")).status == 200
