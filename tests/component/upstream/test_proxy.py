"""Requests to a provider through an outbound proxy, on real sockets."""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from yarl import URL

from gateway.domain.values import Operation
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Phase
from gateway.upstream.data_hosts import AddressRefused, CheckedConnector, DataHosts
from gateway.upstream.http1.connection import Http1Connection
from gateway.upstream.http1.response import HeadLimits
from gateway.upstream.transport import HttpTransport
from tests.certificates import write_certificate
from tests.contract.transport.subject import call, failure_of, request
from tests.outbound_proxy import OutboundProxy
from tests.scripted_server import ScriptedServer, reply

BASIC = "Proxy-Authorization: Basic " + base64.b64encode(b"gate way:p@ss").decode()


def _transport(url: str, proxy: str, **options: object) -> HttpTransport:
    known = {"name": "p", "api": "test", "base_url": url, "token": "t", "proxy": proxy, **options}
    return HttpTransport(ProviderSettings.model_validate(known))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"))


def _context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@asynccontextmanager
async def _tls_server(certificate: tuple[Path, Path]) -> AsyncIterator[ScriptedServer]:
    """A scripted server behind TLS."""
    async with ScriptedServer() as plain, AsyncExitStack() as stack:
        port = URL(plain.url).port
        front = await stack.enter_async_context(OutboundProxy(tls=_context(certificate)))
        front.forward_to = ("127.0.0.1", port or 0)
        plain.url = front.url
        yield plain


async def test_a_request_to_http_names_the_whole_url_and_the_login_is_for_the_proxy_only() -> None:
    async with (
        ScriptedServer() as server,
        OutboundProxy() as proxy,
        _transport(server.url + "/base", proxy.with_login("gate%20way", "p%40ss")) as transport,
    ):
        sent = request("POST", "/things", operation=Operation.CREATE, body=b"{}", query=[("a", "b c")])
        assert (await transport.send(sent, call())).status == 200
        assert (await transport.send(request(), call())).status == 200
    first, second = proxy.heads
    assert first.startswith(f"POST {server.url}/base/things?a=b+c HTTP/1.1\r\n")
    assert second.startswith(f"GET {server.url}/base/things HTTP/1.1\r\n")
    assert all(f"\r\n{BASIC}\r\n" in head for head in proxy.heads)
    assert [received.target for received in server.received] == ["/base/things?a=b+c", "/base/things"]
    assert not any("proxy-authorization" in received.headers for received in server.received)


@pytest.mark.parametrize("proxy_is_tls", [False, True])
async def test_a_request_to_https_goes_through_a_tunnel_that_is_used_again(
    certificate: tuple[Path, Path], proxy_is_tls: bool
) -> None:
    proxy = OutboundProxy(tls=_context(certificate) if proxy_is_tls else None)
    async with _tls_server(certificate) as server, proxy:
        login = proxy.with_login("gate%20way", "p%40ss")
        async with _transport(server.url, login, ca_file=str(certificate[0])) as transport:
            for path in ("/1", "/2"):
                assert (await transport.send(request(path=path), call())).status == 200
    host = server.url.removeprefix("https://")
    assert proxy.tunnels == [host]
    assert proxy.heads == [f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{BASIC}\r\n\r\n"]
    assert [received.target for received in server.received] == ["/1", "/2"]
    assert not any("proxy-authorization" in received.headers for received in server.received)


async def test_the_certificate_of_the_provider_is_verified_through_a_tunnel(certificate: tuple[Path, Path]) -> None:
    async with (
        _tls_server(certificate) as server,
        OutboundProxy() as proxy,
        _transport(server.url, proxy.url) as transport,
    ):
        failure = await failure_of(transport, request("POST", body=b"{}"), call())
    assert (failure.reason, failure.phase) == ("tls", Phase.CONNECTING)
    assert server.received == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "answered 407 to CONNECT"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\nno such host", "answered 502 to CONNECT"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "did not answer CONNECT with HTTP"),
        (b"HTTP/1.1 200 " + b"x" * 20_000, "did not answer CONNECT with HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "sent bytes of its own into the tunnel"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_named_and_nothing_was_sent(answer: bytes, said: str) -> None:
    async with (
        OutboundProxy(answer=answer) as proxy,
        _transport("https://provider.example", proxy.with_login("u", "canary-password")) as transport,
    ):
        failure = await failure_of(transport, request("POST", body=b"{}"), call())
    assert (failure.reason, failure.phase) == ("refused", Phase.CONNECTING)
    assert failure.detail == f"The outbound proxy {said}."
    assert "canary-password" not in str(failure)


async def test_a_proxy_that_is_away_has_sent_nothing() -> None:
    async with OutboundProxy() as proxy:
        url = proxy.url
    async with _transport("http://provider.example", url) as transport:
        failure = await failure_of(transport, request("POST", body=b"{}"), call())
    assert (failure.reason, failure.phase) == ("refused", Phase.CONNECTING)


async def test_a_proxy_that_never_answers_ends_with_the_connect_timeout() -> None:
    async with (
        OutboundProxy(answer=b"") as proxy,
        _transport("https://provider.example", proxy.url, connect_timeout=0.1) as transport,
    ):
        failure = await failure_of(transport, request("POST", body=b"{}"), call())
    assert (failure.reason, failure.phase) == ("timeout", Phase.CONNECTING)


async def test_the_data_plane_tunnels_to_hosts_of_the_provider_only() -> None:
    async with ScriptedServer([reply({"of": 1})]) as server, OutboundProxy() as proxy:
        settings = ProviderSettings.model_validate(
            {"name": "p", "api": "test", "base_url": server.url, "token": "t", "proxy": proxy.url}
        )
        hosts = DataHosts(server.url, [])
        made = await CheckedConnector(URL(server.url), None, hosts, settings.proxy)(_connection)
        response = made.start("GET", 1000)
        made.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await response.end()
        assert response.body() == b'{"of": 1}'
        made.abort()
        with pytest.raises(AddressRefused):
            await CheckedConnector(URL("http://elsewhere.example"), None, hosts, settings.proxy)(_connection)
    assert proxy.tunnels == [server.url.removeprefix("http://")]


def _connection() -> Http1Connection:
    return Http1Connection(HeadLimits(64 << 10, 256))
