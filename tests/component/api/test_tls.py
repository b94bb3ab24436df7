"""TLS at the listener: the limits of connections hold from the first byte, and a handshake that fails costs nothing."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.http import tls
from gateway.settings import HttpSettings, TlsSettings
from tests.certificates import write_certificate
from tests.component.api.conftest import KEY, Connection

# The same tests, over TLS: the fixture serve below replaces the one that they were written for.
from tests.component.api.test_limits import (  # noqa: F401
    test_a_client_that_does_not_read_its_response_is_disconnected,
    test_a_connection_beyond_the_limit_gets_503_and_is_closed,
    test_an_address_with_too_many_idle_connections_loses_the_one_idle_longest,
    test_connections_in_use_are_never_closed_for_their_number,
    test_requests_beyond_the_limit_are_refused_at_once_and_probes_pass,
    test_silent_connections_of_one_address_take_half_of_all_at_most,
)

GET = f"GET /v1/providers HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {KEY}\r\n".encode()
LIVE = b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n"
HANGS = 30


@pytest.fixture
def settings(tmp_path: Path) -> TlsSettings:
    cert, key = write_certificate(tmp_path)
    return TlsSettings(cert=str(cert), key=str(key))


@pytest.fixture
def serve(serve: Any, settings: TlsSettings) -> Any:
    context, trust = settings.context(), ssl.create_default_context(cafile=settings.cert)
    return lambda **options: serve(**{"tls": lambda: context, "trust": trust, **options})


def dropped(gateway: Any, what: str = "tls_handshake") -> float:
    value: float = gateway.metrics.registry.get_sample_value("rtgw_dropped_total", {"what": what})
    return value


def connected(gateway: Any) -> float:
    value: float = gateway.metrics.registry.get_sample_value("rtgw_connections")
    return value


class RawClient:
    """A TLS client that decides itself when bytes are sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, trust: ssl.SSLContext) -> None:
        self.reader, self.writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trust.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    async def _step(self, call: Any, *arguments: Any) -> Any:
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                data = await self.reader.read(1 << 16)
                assert data, "the gateway has closed the connection"
                self._incoming.write(data)

    async def handshake(self) -> None:
        """Complete the handshake; its last message is not sent yet."""
        await self._step(self._tls.do_handshake)

    def write(self, data: bytes) -> None:
        self._tls.write(data)

    def end(self) -> None:
        """Announce the end of what this side sends."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()

    def flush(self) -> None:
        self.writer.write(self._outgoing.read())

    async def read(self) -> bytes:
        """What the gateway has sent; empty after its own announcement of the end."""
        try:
            received: bytes = await self._step(self._tls.read, 1 << 16)
        except ssl.SSLZeroReturnError:
            return b""
        return received


async def unsecured(gateway: Any) -> Connection:
    """A TCP connection without a handshake."""
    connection = Connection(*await asyncio.open_connection("127.0.0.1", gateway.port))
    gateway.connections.append(connection)
    return connection


async def raw_client(gateway: Any) -> RawClient:
    connection = await unsecured(gateway)
    return RawClient(connection.reader, connection.writer, gateway.trust)


async def served(gateway: Any) -> bool:
    """Whether a new connection is served."""
    try:
        return (await gateway.exchange(LIVE)).status == 200
    except (ConnectionError, ssl.SSLError):
        return False


async def test_request_is_answered_over_tls_and_the_connection_is_kept(serve: Any) -> None:
    gateway = await serve()
    connection = await gateway.connect()
    for _ in range(2):
        connection.send(GET + b"\r\n")
        assert (await connection.answer()).status == 200
    assert connection.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    assert dropped(gateway) == 0


@pytest.mark.parametrize(("version", "accepted"), [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
async def test_oldest_version_is_1_2(serve: Any, version: ssl.TLSVersion, accepted: bool) -> None:
    gateway = await serve()
    gateway.trust.minimum_version = ssl.TLSVersion.TLSv1_1
    gateway.trust.maximum_version = version
    gateway.trust.set_ciphers("ALL:@SECLEVEL=0")
    if accepted:
        assert (await gateway.exchange(LIVE)).status == 200
    else:
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await gateway.connect()


async def test_request_that_arrives_with_the_end_of_the_handshake_is_answered(serve: Any) -> None:
    gateway = await serve()
    client = await raw_client(gateway)
    await client.handshake()
    client.write(LIVE)
    client.flush()
    assert b"200 OK" in await client.read()


async def test_client_that_never_confirms_the_end_is_disconnected_all_the_same(serve: Any) -> None:
    gateway = await serve()
    client = await raw_client(gateway)
    await client.handshake()
    client.write(LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    client.flush()
    assert b"200 OK" in await client.read()
    assert await client.read() == b""
    async with asyncio.timeout(HANGS):
        assert await client.reader.read() == b""
    assert connected(gateway) == 0


async def test_client_that_ends_its_side_is_disconnected_without_a_log_line(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await serve()
    client = await raw_client(gateway)
    await client.handshake()
    client.write(LIVE)
    client.end()
    client.flush()
    async with asyncio.timeout(HANGS):
        await client.reader.read()
    assert caplog.records == []
    assert (await gateway.exchange(LIVE)).status == 200


async def test_plain_http_at_the_tls_port_is_closed_and_counted(serve: Any) -> None:
    gateway = await serve()
    connection = await unsecured(gateway)
    connection.send(LIVE)
    async with asyncio.timeout(HANGS):
        assert b"200" not in await connection.reader.read()
    assert (dropped(gateway), connected(gateway)) == (1, 0)


async def test_handshake_that_takes_too_long_is_ended(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.05)
    gateway = await serve()
    connection = await unsecured(gateway)
    async with asyncio.timeout(HANGS):
        assert await connection.closed()
    assert (dropped(gateway), connected(gateway)) == (1, 0)


async def test_connections_without_a_handshake_count_as_idle(serve: Any) -> None:
    gateway = await serve(http=HttpSettings(max_idle_connections_per_address=2))
    first, second = await unsecured(gateway), await unsecured(gateway)
    assert (await gateway.exchange(LIVE)).status == 200
    async with asyncio.timeout(HANGS):
        assert await first.closed()
    assert not second.reader.at_eof()
    assert (dropped(gateway, "idle_connection"), dropped(gateway)) == (1, 1)


async def test_connections_without_a_handshake_are_in_the_limit_of_all(serve: Any) -> None:
    gateway = await serve(http=HttpSettings(max_connections=1, max_idle_connections_per_address=9))
    await unsecured(gateway)
    refused = await gateway.exchange(LIVE)
    assert (refused.status, refused.json["code"]) == (503, "overloaded")
    assert connected(gateway) == 1


async def test_only_a_few_connections_beyond_the_limit_have_a_handshake(serve: Any) -> None:
    gateway = await serve(http=HttpSettings(max_connections=1, max_idle_connections_per_address=9))
    beyond = [await unsecured(gateway) for _ in range(17)]
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await gateway.connect()
    assert not any(connection.reader.at_eof() for connection in beyond)
    for connection in beyond:
        connection.reset()
    async with asyncio.timeout(HANGS):
        while not await served(gateway):
            pass
    assert gateway.runner.server.turning_away == 0


async def test_shutdown_does_not_wait_for_handshakes(serve: Any) -> None:
    gateway = await serve(shutdown_timeout=HANGS)
    connection = await unsecured(gateway)
    await gateway.exchange(LIVE)  # until the gateway has accepted both
    async with asyncio.timeout(HANGS):
        await gateway.runner.cleanup()
        assert await connection.closed()


async def test_certificate_is_chosen_for_each_connection(serve: Any, settings: TlsSettings, tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path, "next")
    following = TlsSettings(cert=str(cert), key=str(key))
    current = [settings.context()]
    gateway = await serve(tls=lambda: current[0])
    kept = await gateway.connect()
    kept.send(LIVE)
    assert (await kept.answer()).status == 200
    current[0] = following.context()
    with pytest.raises(ssl.SSLCertVerificationError):
        await gateway.connect()
    gateway.trust = ssl.create_default_context(cafile=cert)
    assert (await gateway.exchange(LIVE)).status == 200
    kept.send(LIVE)
    assert (await kept.answer()).status == 200
