"""Forwarding one request to a server behind the gateway, and its response back, streaming both ways.

The pass-through and the data plane share it. They differ in where a request goes and what is changed in its headers,
which a :class:`Target` says.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway.domain.errors import GatewayError, ProviderBadResponse, ProviderFailure, RequestTimeout, Retryable
from gateway.domain.values import Operation
from gateway.http.audit import RequestAudit
from gateway.http.bodies import ClientAborted
from gateway.http.cors import Cors
from gateway.http.in_flight import SAFE_METHODS
from gateway.http.native_addresses import PassedStream, pass_interim
from gateway.http.response_headers import finish_headers
from gateway.http.tunnel import End, Tunnel, Watch
from gateway.http.uploads import StreamedUpload
from gateway.ports.context import RequestContext
from gateway.ports.error_mapping import transport_error
from gateway.ports.transport import TransportFailure
from gateway.upstream.exchange import Exchange, NativeRequest
from gateway.upstream.http1.origin import Origin
from gateway.upstream.http1.response import IncomingResponse

BUFFERED_BYTES: Final = 64 << 10
"""Bodies of a declared length up to this many bytes are buffered, which is much cheaper than streaming."""


MOST_REWRITTEN: Final = 16 << 20
"""Bytes of a response whose body is rewritten."""


class Target(Protocol):
    """Where a request goes."""

    @property
    def name(self) -> str:
        """The provider's name."""

    @property
    def origin(self) -> Origin:
        """The server and its connections."""

    def exchange(self, ctx: RequestContext) -> Exchange:
        """The exchange of one request, to be entered at once. Raises :class:`Overloaded`."""

    def to_caller(self, headers: CIMultiDict[str], target: str, status: int) -> CIMultiDict[str]:
        """The headers of a response, or of an interim one (1xx but 101), that the caller receives. ``target`` is that
        of the request."""

    def rewritten(self, response: IncomingResponse) -> Callable[[bytes], bytes] | None:
        """What changes the body of a response; None: it is passed on as it is."""

    def error_of(self, failure: TransportFailure, method: str) -> Exception:
        """The error for the caller when the exchange failed."""


@dataclass(slots=True, eq=False, repr=False)
class Forwarding:
    """The forwarding of one request: sending, the response, and the error when it fails. ``on_write`` is called when
    the response starts, and at the end. ``watch`` follows an upgraded connection. ``audit`` records a
    response that is streamed when it starts."""

    request: web.Request
    ctx: RequestContext
    target: Target
    upload: StreamedUpload
    cors: Cors
    watch: Watch = field(default_factory=Watch)
    audit: RequestAudit | None = None
    on_write: Callable[[], None] = lambda: None
    _begun: web.StreamResponse | None = None
    _tunnel: Tunnel | None = None
    _writing: bool = False

    async def run(self, outgoing: NativeRequest, *, websocket: bool) -> web.StreamResponse:
        """Send the request and return the response. Raises the error for the caller, or :class:`ClientAborted`."""
        protocol: Any = self.request.protocol
        try:
            async with self.target.exchange(self.ctx) as exchange:
                protocol.when_lost = exchange.stop
                if self.request.transport is None:
                    raise ClientAborted
                if outgoing.body is None and self.upload.length != 0:
                    outgoing.body = self.upload.chunks(exchange)
                exchange.on_interim = partial(self._pass_interim, outgoing.target)
                response = await exchange.send(outgoing, self.target.origin)
                self.on_write()
                headers = self.target.to_caller(response.headers, outgoing.target, response.status)
                if response.status == 101:
                    # The caller's last bytes may arrive together with its disconnect; the tunnel handles both in order.
                    protocol.when_lost = None
                    return await self._switch(response, headers, exchange, asked=websocket)
                return await self._respond(response, headers, exchange)
        except TransportFailure as failure:
            raise self._error_of(failure, outgoing.method) from failure
        finally:
            protocol.when_lost = None
            self.on_write()

    def _pass_interim(self, target: str, status: int, reason: str, received: CIMultiDict[str]) -> None:
        if status == 100:  # concerns the connection to the provider; the gateway itself answers an Expect
            return
        pass_interim(self.request, status, _sendable(reason), self.target.to_caller(received, target, status))

    async def _respond(
        self, response: IncomingResponse, headers: CIMultiDict[str], exchange: Exchange
    ) -> web.StreamResponse:
        length = response.headers.get(hdrs.CONTENT_LENGTH, "")
        rewrite = self.target.rewritten(response)
        if rewrite is not None or response.complete or (length.isdecimal() and int(length) <= BUFFERED_BYTES):
            if rewrite is None:
                body = b"" if response.complete else b"".join([piece async for piece in response.pieces()])
                body += response.read()
                self.watch.received(len(body))
            else:
                received = await whole(response, self.target.name)
                self.watch.received(len(received))
                body = rewrite(received)
                headers.popall(hdrs.CONTENT_LENGTH, None)
            return web.Response(
                status=response.status, reason=_sendable(response.reason), headers=headers, body=body or None
            )
        out = PassedStream(status=response.status, reason=_sendable(response.reason), headers=headers)
        await self._begin(out)
        async for chunk in response.pieces():
            exchange.moved()
            self.watch.received(len(chunk))
            await self._write(out, chunk)
        await self._write(out, None)
        return out

    async def _switch(
        self, response: IncomingResponse, headers: CIMultiDict[str], exchange: Exchange, *, asked: bool
    ) -> web.StreamResponse:
        if not asked or response.headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":
            raise ProviderBadResponse(
                f"The provider {self.target.name} switched to a protocol that it was not asked for.",
                failure=ProviderFailure(self.target.name, status=response.status),
            )
        headers[hdrs.UPGRADE], headers[hdrs.CONNECTION] = "websocket", "Upgrade"
        out = web.StreamResponse(status=101, reason=_sendable(response.reason), headers=headers)
        out.force_close()
        await self._begin(out)
        connection = exchange.connection
        if connection is None:
            raise ClientAborted

        async def to_provider(data: bytes) -> None:
            connection.write(data)
            await connection.drain()

        self.watch.moved = exchange.moved
        self._tunnel = Tunnel(self.request, out, response.pieces(), to_provider, self.watch)
        watch = self.watch

        def why() -> End:
            watch.end = watch.end or (watch.idle if exchange.expired else watch.shutdown)
            return watch.end

        await self._tunnel.run(why)
        return out

    async def _begin(self, out: web.StreamResponse) -> None:
        if self.audit is not None:
            self.audit.begun(self.request, self.ctx, out.status)
        finish_headers(out, self.request, self.ctx, self.cors, private=True)
        try:
            await out.prepare(self.request)
        except ConnectionError as exc:
            raise ClientAborted from exc
        self._begun = out

    async def _write(self, out: web.StreamResponse, chunk: bytes | None) -> None:
        """Write a chunk, or the end (None). Waiting here for a slow caller also stops reading from the provider."""
        self._writing = True
        try:
            await (out.write_eof() if chunk is None else out.write(chunk))
        except ConnectionError as exc:
            raise ClientAborted from exc
        self._writing = False

    def _error_of(self, failure: TransportFailure, method: str) -> Exception:
        """The error for the caller. If a response was started, it is cut so that it cannot be taken for complete."""
        transport = self.request.transport
        if transport is None:
            return ClientAborted()
        if self._tunnel is not None and self._tunnel.is_closed:
            transport.close()
        elif self._begun is not None:
            _cut(transport, self._begun)
        if self.upload.error is not None:
            return self.upload.error
        if failure.reason == "timeout" and self._writing:
            return RequestTimeout("The caller did not read the response in time.")
        if failure.reason == "timeout" and self.upload.waiting and self._begun is None:
            return RequestTimeout("The rest of the body did not arrive in time.")
        return self.target.error_of(failure, method)


def forwarding_error(provider: str, failure: TransportFailure, method: str) -> GatewayError:
    """The error for a forwarded request that failed. It is not deduplicated, so it is never repeated as it is."""
    # Only whether the request may have had an effect counts, which is the same for all mutating operations.
    operation = Operation.GET if method in SAFE_METHODS else Operation.REPLACE_CONFIG
    error = transport_error(provider, operation, failure)
    if error.retryable is Retryable.SAME_REQUEST:
        error.retryable = Retryable.NO
    return error


async def whole(response: IncomingResponse, provider: str) -> bytes:
    """The body of a response that is read before it is passed on. Raises :class:`ProviderBadResponse` for more than
    :data:`MOST_REWRITTEN` bytes."""
    body = bytearray()
    async for piece in response.pieces():
        body += piece
        if len(body) > MOST_REWRITTEN:
            detail = f"A response with addresses is larger than {MOST_REWRITTEN} bytes."
            raise ProviderBadResponse(detail, failure=ProviderFailure(provider, status=response.status))
    return bytes(body)


def _sendable(reason: str) -> str | None:
    return reason if reason.isascii() and reason.isprintable() else None


def _cut(transport: asyncio.Transport, begun: web.StreamResponse) -> None:
    if hdrs.TRANSFER_ENCODING in begun.headers or hdrs.CONTENT_LENGTH in begun.headers:
        transport.close()
        return
    # Closing the connection is the regular end of this response, so a reset has to signal that it is incomplete.
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
