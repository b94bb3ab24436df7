"""Connections through an outbound HTTP proxy: a tunnel (CONNECT) for ``https``, the proxy itself for ``http``."""

import asyncio
import base64
import ssl
from collections.abc import Callable
from functools import cached_property
from typing import Final

from yarl import URL

from gateway.ports.transport import Phase, TransportFailure
from gateway.upstream.http1.connection import Http1Connection

_MAX_HEAD: Final = 16 << 10


class ProxiedConnector:
    """Connects to the host of ``url`` through ``proxy``, which alone receives the user and password in its URL.
    ``tunnel``: CONNECT also for ``http``. ``ca_file`` replaces the system's authorities, for both servers. The proxy
    resolves the name of the host.

    Raises ``OSError``, ``socket.gaierror``, ``ssl.SSLError``, and :class:`TransportFailure` if the proxy refuses."""

    def __init__(self, url: URL, proxy: str, ca_file: str | None, *, tunnel: bool = False) -> None:
        self._url, self._proxy, self._ca_file = url, URL(proxy), ca_file
        self._tunnels = tunnel or url.scheme == "https"
        self._credentials: list[str] = []
        if self._proxy.user is not None:
            basic = base64.b64encode(f"{self._proxy.user}:{self._proxy.password or ''}".encode()).decode()
            self._credentials = [f"Proxy-Authorization: Basic {basic}"]

    @property
    def headers(self) -> list[str]:
        """The lines for the proxy in the head of a request that it forwards: none through a tunnel."""
        return [] if self._tunnels else self._credentials

    @property
    def root(self) -> str:
        """What comes before the path in the target of a request that the proxy forwards: nothing through a tunnel."""
        return "" if self._tunnels else str(self._url.origin())

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._ca_file)

    async def __call__(self, make: Callable[[], Http1Connection]) -> Http1Connection:
        loop, proxy = asyncio.get_running_loop(), self._proxy
        tls = self._tls if proxy.scheme == "https" else None
        opening: Callable[[], Http1Connection | _Opening] = _Opening if self._tunnels else make
        transport, protocol = await loop.create_connection(opening, proxy.host or "", proxy.port or 80, ssl=tls)
        if isinstance(protocol, Http1Connection):
            return protocol
        try:
            transport = await self._through(transport, protocol)
            connection = make()
            transport.set_protocol(connection)
            connection.connection_made(transport)
        except BaseException:
            transport.abort()
            raise
        return connection

    async def _through(self, transport: asyncio.Transport, opening: "_Opening") -> asyncio.Transport:
        """Open the tunnel, and return the transport of what is sent through it."""
        transport.write(self._connect_head())
        await opening.answered()
        if self._url.scheme == "http":
            return transport
        loop = asyncio.get_running_loop()
        inner = await loop.start_tls(transport, opening, self._tls, server_hostname=self._url.host)
        if inner is None or opening.received:
            raise ConnectionResetError("The connection was lost, or had unexpected bytes, after its handshake.")
        return inner

    def _connect_head(self) -> bytes:
        host, port = self._url.host_subcomponent, self._url.port
        lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}", *self._credentials]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class _Opening(asyncio.Protocol):
    """Reads the response of a proxy to CONNECT. ``received`` are the bytes that were not expected."""

    def __init__(self) -> None:
        self.received = b""
        self._whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def answered(self) -> None:
        """Wait until the tunnel is open. Raises :class:`TransportFailure` if the proxy refuses it."""
        await self._whole
        head, end, rest = self.received.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        if not end or not head.startswith(b"HTTP/1.") or not status or not status[0].isdigit():
            problem = "did not answer CONNECT with HTTP"
        elif not status[0].startswith(b"2"):
            problem = f"answered {status[0].decode()} to CONNECT"
        elif rest:
            problem = "sent bytes of its own into the tunnel"
        else:
            self.received = b""
            return
        raise TransportFailure("refused", Phase.CONNECTING, detail=f"The outbound proxy {problem}.")

    def data_received(self, data: bytes) -> None:
        self.received += data
        if (b"\r\n\r\n" in self.received or len(self.received) > _MAX_HEAD) and not self._whole.done():
            self._whole.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._whole.done():
            self._whole.set_exception(exc or ConnectionResetError("The proxy closed the connection."))
