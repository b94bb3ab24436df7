"""What the pass-through sends to the provider, and what it returns."""

import asyncio
from typing import Any

import pytest

KEY = "a-key-of-a-shop-1234"
TOKEN = "canary-of-the-provider"


async def forwarded(
    gateway: Any, provider: Any, method: str, target: str, body: bytes | None = None, **headers: str
) -> tuple[Any, str, dict[str, str]]:
    """The response to a call, and the request line and headers that the provider received."""
    call = asyncio.create_task(gateway.call(method, target, body, **headers))
    inbound = await provider.accept()
    line, sent = await inbound.head()
    inbound.answer(headers="Content-Type: application/json\r\n")
    return await call, line, sent


@pytest.mark.parametrize(
    ("target", "received"),
    [
        ("/native/raw/a/b", "/base/v1/a/b"),
        ("/native/raw/a/b?x=1&y=%20&z=a+b;c", "/base/v1/a/b?x=1&y=%20&z=a+b;c"),
        ("/native/raw/a/b/", "/base/v1/a/b/"),
        ("/native/raw", "/base/v1"),
        ("/native/raw/", "/base/v1/"),
        ("/native/raw/%7Ea/~b/%c3%A4/a%20b", "/base/v1/%7Ea/~b/%c3%A4/a%20b"),
        ("/native/raw/%252e%252e/a", "/base/v1/%252e%252e/a"),
        ("/native/raw/a:b@c,d=e&f", "/base/v1/a:b@c,d=e&f"),
        ("/native/raw/.hidden/a..b", "/base/v1/.hidden/a..b"),
    ],
)
async def test_a_path_arrives_byte_for_byte_below_the_base_url(
    gateway: Any, provider: Any, target: str, received: str
) -> None:
    answer, line, _ = await forwarded(gateway, provider, "GET", target)
    assert line == f"GET {received} HTTP/1.1"
    assert (answer.status, answer.json) == (200, {})


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/native/raw/a",
        "http://127.0.0.1/native/raw/a",
        "//evil.example/native/raw/a",
        "/native/raw//evil.example/a",
        "/native/raw//",
        "/native/raw/a//b",
        "/native/raw/..",
        "/native/raw/../../admin",
        "/native/raw/a/../b",
        "/native/raw/./a",
        "/native/raw/%2e%2e/admin",
        "/native/raw/%2E./admin",
        "/native/raw/.%2e/admin",
        "/native/raw/a%2f..%2fb",
        "/native/raw/a%2Fb",
        "/native/raw/a%5cb",
        "/native/raw/a\\b",
        "/native/raw/..;/admin",
        "/native/raw/..%3b/admin",
        "/native/raw/a;b=c/d",
        "/native/raw/%00",
        "/native/raw/a%0d%0aHost:%20evil",
        "/native/raw/%c0%ae%c0%ae/a",
        "/native/raw/%ff",
        "/native/raw/%zz",
        "/native/raw/a|b",
        "/native/raw/...%20/a",
        "/native/../v1/runtimes",
        "/native/%72aw/a",
        "/nativ%65/raw/a",
        "/native/RAW/a",
        "/native",
        "/native/",
    ],
)
async def test_a_dubious_target_is_refused_without_a_call(gateway: Any, provider: Any, target: str) -> None:
    answer = await gateway.call("GET", target)
    assert answer.status in {400, 404}
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["source"] == "client"
    assert provider.connections.empty()


async def test_the_callers_key_is_replaced_by_the_providers_credentials(gateway: Any, provider: Any) -> None:
    answer, _, sent = await forwarded(
        gateway,
        provider,
        "GET",
        "/native/raw/a",
        Cookie="session=canary-of-the-caller",
        Proxy_Authorization="Basic canary",
        X_Forwarded_For="10.0.0.7",
        Forwarded="for=10.0.0.7",
    )
    assert sent["authorization"] == f"Bearer {TOKEN}"
    assert KEY not in str(sent)
    assert "canary-of-the-caller" not in str(sent)
    assert {"cookie", "proxy-authorization", "x-forwarded-for", "forwarded", "x-api-key"} & sent.keys() == set()
    assert TOKEN not in str(answer.headers)
    await gateway.logger.one("request")
    assert TOKEN not in repr(gateway.logger.events)
    assert KEY not in repr(gateway.logger.events)


async def test_a_key_in_x_api_key_is_accepted_and_not_forwarded(gateway: Any, provider: Any) -> None:
    call = asyncio.create_task(
        gateway.exchange(f"GET /native/raw/a HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {KEY}\r\n\r\n".encode())
    )
    inbound = await provider.accept()
    _, sent = await inbound.head()
    inbound.answer()
    assert (await call).status == 200
    assert "x-api-key" not in sent


async def test_without_a_key_nothing_is_sent(gateway: Any, provider: Any) -> None:
    answer = await gateway.exchange(b"GET /native/raw/a HTTP/1.1\r\nHost: gateway\r\n\r\n")
    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    assert provider.connections.empty()


async def test_with_two_different_keys_nothing_is_sent(gateway: Any, provider: Any) -> None:
    keys = f"X-API-Key: {KEY}\r\nX-API-Key: another\r\n"
    answer = await gateway.exchange(f"GET /native/raw/a HTTP/1.1\r\nHost: gateway\r\n{keys}\r\n".encode())
    assert (answer.status, answer.json["errors"][0]["header"]) == (400, "X-API-Key")
    assert provider.connections.empty()


async def test_hop_by_hop_headers_are_not_forwarded_in_either_direction(gateway: Any, provider: Any) -> None:
    call = asyncio.create_task(
        gateway.call(
            "GET",
            "/native/raw/a",
            Connection="keep-alive, X-Hop",
            X_Hop="1",
            Keep_Alive="timeout=5",
            TE="trailers",
            Upgrade="h2c",
            X_End="2",
            Accept_Encoding="br",
            User_Agent="a-client/1",
        )
    )
    inbound = await provider.accept()
    _, sent = await inbound.head()
    assert {"connection", "x-hop", "keep-alive", "te", "upgrade"} & sent.keys() == set()
    assert sent["host"] == f"127.0.0.1:{provider.port}"
    assert (sent["x-end"], sent["accept-encoding"], sent["user-agent"]) == ("2", "br", "a-client/1")
    inbound.answer(
        headers=(
            "Connection: keep-alive, X-Back\r\nX-Back: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n"
            "Set-Cookie: session=1\r\nStrict-Transport-Security: max-age=1\r\nX-Stays: 2\r\nServer: secret/1\r\n"
        )
    )
    answer = await call
    dropped = {"x-back", "keep-alive", "proxy-authenticate", "set-cookie", "strict-transport-security"}
    assert dropped & answer.headers.keys() == set()
    assert answer.headers["x-stays"] == "2"
    assert answer.headers["server"].startswith("runtime-gateway/")
    assert answer.headers["proxy-status"] == "runtime-gateway; received-status=200"
    assert answer.headers["cache-control"] == "no-store"


async def test_headers_that_override_method_or_path_are_dropped(gateway: Any, provider: Any) -> None:
    others = {"X_HTTP_Method_Override": "DELETE", "X_Method_Override": "DELETE", "X_HTTP_Method": "DELETE"}
    call = asyncio.create_task(
        gateway.call("GET", "/native/raw/a", **others, X_Original_URL="/admin", X_Rewrite_URL="/admin", X_End="2")
    )
    inbound = await provider.accept()
    line, sent = await inbound.head()
    assert line.startswith("GET ")
    assert [name for name in sent if name.startswith("x-")] == ["x-end", "x-request-id"]
    inbound.answer()
    assert (await call).status == 200


async def test_header_names_with_an_underscore_are_dropped_in_both_directions(gateway: Any, provider: Any) -> None:
    spellings = (b"X_HTTP_METHOD_OVERRIDE", b"X_API_KEY", b"Authorization_", b"X_Forwarded_For", b"Cookie_", b"X_End")
    raw = b"".join(b"%s: canary\r\n" % name for name in spellings)
    head = f"GET /native/raw/a HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n".encode()
    call = asyncio.create_task(gateway.exchange(head + raw + b"\r\n"))
    inbound = await provider.accept()
    _, sent = await inbound.head()
    assert "canary" not in str(sent).replace(TOKEN, "")
    inbound.answer(headers="Set_Cookie: session=1\r\nX_Stays: 1\r\nX-Stays: 2\r\n")
    answer = await call
    assert [name for name in answer.headers if "_" in name] == []
    assert answer.headers["x-stays"] == "2"


async def test_accept_headers_are_not_extended(gateway: Any, provider: Any) -> None:
    """Otherwise a provider could compress for a caller that cannot decompress."""
    _, _, sent = await forwarded(gateway, provider, "POST", "/native/raw/a")
    assert {"accept", "accept-encoding", "content-type"} & sent.keys() == set()
    assert sent["content-length"] == "0"


async def test_the_request_id_and_the_trace_context_are_forwarded(gateway: Any, provider: Any) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer, _, sent = await forwarded(
        gateway, provider, "GET", "/native/raw/a", X_Request_ID="mine-1", traceparent=trace, tracestate="a=b"
    )
    assert (sent["x-request-id"], sent["traceparent"], sent["tracestate"]) == ("mine-1", trace, "a=b")
    assert answer.headers["x-request-id"] == "mine-1"


async def test_an_invalid_trace_context_is_not_forwarded(gateway: Any, provider: Any) -> None:
    _, _, sent = await forwarded(gateway, provider, "GET", "/native/raw/a", traceparent="broken", tracestate="a=b")
    assert {"traceparent", "tracestate"} & sent.keys() == set()


async def test_a_redirect_is_returned_and_not_followed(gateway: Any, provider: Any) -> None:
    call = asyncio.create_task(gateway.call("GET", "/native/raw/a"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.answer(status="302 Found", headers="Location: http://evil.example/x\r\n")
    answer = await call
    assert (answer.status, answer.headers["location"]) == (302, "http://evil.example/x")
    assert provider.connections.empty()


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://{host}/base/v1/b?x=1", "/native/raw/b?x=1"),
        ("/base/v1/b", "/native/raw/b"),
        ("b", "/native/raw/b"),
        ("/v1/runtimes", "http://{host}/v1/runtimes"),
        ("http://{host}/v1/runtimes", "http://{host}/v1/runtimes"),
    ],
)
async def test_a_redirect_below_the_base_url_stays_at_the_gateway(
    gateway: Any, provider: Any, location: str, expected: str
) -> None:
    call = asyncio.create_task(gateway.call("GET", "/native/raw/a"))
    inbound = await provider.accept()
    _, sent = await inbound.head()
    own, host = location.format(host=sent["host"]), sent["host"]
    inbound.answer(
        status="307 Temporary Redirect",
        headers=f"Location: {own}\r\nContent-Location: {own}\r\nLink: <{own}>; rel=next\r\n",
    )
    answer = await call
    expected = expected.format(host=host)
    assert answer.headers["location"] == answer.headers["content-location"] == expected
    assert answer.headers["link"] == f"<{expected}>; rel=next"


async def test_a_token_echoed_in_a_header_is_redacted(gateway: Any, provider: Any) -> None:
    call = asyncio.create_task(gateway.call("GET", "/native/raw/a"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.answer(headers=f"X-Echo: Bearer {TOKEN}\r\nX-Latin: caf\xe9\r\n")
    answer = await call
    assert answer.headers["x-echo"] == "Bearer [redacted]"
    assert answer.headers["x-latin"].encode("latin-1").decode() == "café"


async def test_a_providers_caching_headers_and_errors_are_returned(gateway: Any, provider: Any) -> None:
    call = asyncio.create_task(gateway.call("GET", "/native/raw/a"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.answer(b"<h1>no", status="503 Very Busy", headers="Cache-Control: private\r\nContent-Type: text/html\r\n")
    answer = await call
    assert (answer.status, answer.body) == (503, b"<h1>no")
    assert (answer.headers["cache-control"], answer.headers["content-type"]) == ("private", "text/html")


async def test_compressed_bodies_are_not_changed(gateway: Any, provider: Any) -> None:
    call = asyncio.create_task(gateway.call("GET", "/native/raw/a"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.answer(b"\x1f\x8bnot really gzip", headers="Content-Encoding: gzip\r\n")
    answer = await call
    assert (answer.body, answer.headers["content-encoding"]) == (b"\x1f\x8bnot really gzip", "gzip")


async def test_the_response_to_head_keeps_its_length_and_the_connection(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    request = f" /native/raw/a HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {KEY}\r\n\r\n".encode()
    connection.send(b"HEAD" + request)
    inbound = await provider.accept()
    assert (await inbound.head())[0] == "HEAD /base/v1/a HTTP/1.1"
    inbound.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
    answer = await connection.answer(head=True)
    assert (answer.status, answer.headers["content-length"]) == (200, "12345")
    connection.send(b"GET" + request)
    await inbound.head()  # the same connection to the provider again
    inbound.answer(b"ok")
    assert (await connection.answer()).body == b"ok"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_a_response_without_a_body_stays_without_one(gateway: Any, provider: Any, status: str) -> None:
    call = asyncio.create_task(gateway.call("GET", "/native/raw/a"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(f'HTTP/1.1 {status}\r\nETag: "x"\r\n\r\n'.encode())
    answer = await call
    assert (answer.status, answer.headers["etag"], answer.body) == (int(status[:3]), '"x"', b"")
    assert "transfer-encoding" not in answer.headers


async def test_a_header_that_is_not_text_is_refused(gateway: Any, provider: Any) -> None:
    answer = await gateway.call("GET", "/native/raw/a", X_Name="caf\xe9")
    assert (answer.status, answer.json["errors"][0]["header"]) == (400, "X-Name")
    assert provider.connections.empty()


async def test_an_unknown_provider_is_421(gateway: Any, provider: Any) -> None:
    answer = await gateway.call("GET", "/native/other/a")
    assert (answer.status, answer.json["code"], answer.json["provider"]) == (421, "provider_not_configured", "other")


async def test_a_request_outside_the_rules_is_403_and_names_the_setting(serve: Any, provider: Any) -> None:
    gateway = await serve(native=[provider.settings(native={"allow": ["GET /open/*"]})])
    for method, target in (("POST", "/open/a"), ("GET", "/closed"), ("GET", "/open/a/b"), ("TRACE", "/open/a")):
        answer = await gateway.call(method, f"/native/raw{target}")
        assert (answer.status, answer.json["code"], answer.json["source"]) == (403, "permission_denied", "client")
        assert "providers.raw.native.allow" in answer.json["detail"]
    assert provider.connections.empty()
    answer, line, _ = await forwarded(gateway, provider, "GET", "/native/raw/%6Fpen/a")
    assert (answer.status, line) == (200, "GET /base/v1/%6Fpen/a HTTP/1.1")


async def test_each_call_is_counted_and_logged_once(gateway: Any, provider: Any) -> None:
    call = asyncio.create_task(gateway.call("GET", "/native/raw/some-id-of-7"))
    inbound = await provider.accept()
    await inbound.head()
    sample = gateway.metrics.registry.get_sample_value
    assert sample("rtgw_native_in_flight", {"provider": "raw"}) == 1
    inbound.answer(headers="X-Request-ID: of-the-provider\r\n")
    answer = await call
    request = await gateway.logger.one("request")
    upstream = await gateway.logger.one("upstream")
    assert {request["surface"], request["operation"], upstream["operation"]} == {"native"}
    assert (request["path"], request["provider"], request["principal"]) == ("/native/{provider}/{path}", "raw", "shop")
    assert request["request_id"] == upstream["request_id"] == answer.headers["x-request-id"]
    assert (upstream["outcome"], upstream["phase"], upstream["provider_request_id"]) == (
        "200",
        "answered",
        "of-the-provider",
    )
    assert gateway.counted(surface="native", operation="native", status="200") == 1
    labels = {"provider": "raw", "operation": "native", "outcome": "200"}
    assert sample("rtgw_upstream_requests_total", labels) == 1
    assert sample("rtgw_native_in_flight", {"provider": "raw"}) == 0


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "chunked, chunked", "identity, chunked"])
async def test_a_body_in_an_unknown_transfer_coding_is_refused_without_a_call(
    gateway: Any, provider: Any, coding: str
) -> None:
    head = f"POST /native/raw/a HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {KEY}\r\nTransfer-Encoding: {coding}\r\n\r\n"
    connection = await gateway.connect()
    connection.send(head.encode() + b"2\r\n{}\r\n0\r\n\r\n")
    answer = await connection.answer()
    assert (answer.status, answer.json["code"]) == (501, "transfer_coding_not_supported")
    assert answer.json["errors"][0]["header"] == "Transfer-Encoding"
    assert await connection.closed()
    assert provider.connections.empty()
