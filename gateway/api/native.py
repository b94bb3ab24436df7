"""The pass-through: ``/native/{provider}/…`` is the provider's own API, called with the gateway's credentials.

The provider's responses are returned unchanged, errors included; the gateway's own errors are problems.
``Proxy-Status`` (RFC 9209) marks the responses of a provider.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from gateway.api.native_target import parse_target
from gateway.api.native_upload import StreamedUpload
from gateway.api.pipeline import Endpoints
from gateway.domain.access import Permission
from gateway.domain.errors import (
    NotFound,
    PermissionDenied,
    ProviderBadResponse,
    ProviderFailure,
    ProviderNotConfigured,
    RequestTimeout,
    Retryable,
)
from gateway.domain.operations import Operation
from gateway.http.bodies import BodyReader, ClientAborted, defer_continue
from gateway.http.cors import Cors
from gateway.http.headers import interim_to_caller, is_websocket, to_caller, to_provider
from gateway.http.in_flight import SAFE_METHODS
from gateway.http.native_addresses import NativeAddresses
from gateway.http.passed_on import PassedResponse, PassedStream, pass_interim
from gateway.http.response_headers import finish_headers
from gateway.http.tunnel import Tunnel
from gateway.ports.context import RequestContext
from gateway.ports.error_mapping import transport_error
from gateway.ports.native import WEBSOCKET
from gateway.ports.transport import TransportFailure
from gateway.settings import HttpSettings
from gateway.upstream.exchange import Exchange, NativeRequest
from gateway.upstream.http1.response import IncomingResponse
from gateway.upstream.passthrough import NATIVE, PassThrough

ROUTE: Final = "/native/{provider}/{path}"

_BUFFERED_BYTES: Final = 64 << 10
"""Bodies of a declared length up to this many bytes are buffered, which is much cheaper than streaming."""

_PROXY_STATUS: Final = istr("Proxy-Status")


def register_native(
    app: web.Application,
    providers: Mapping[str, PassThrough],
    endpoints: Endpoints,
    http: HttpSettings,
    on_write: Callable[[str], None] | None = None,
) -> None:
    """Add the pass-through to all ``providers``, by name. ``on_write`` is called with the name of a provider that a
    request may have changed."""
    native = _Native(providers, http, endpoints, on_write)
    handler = endpoints.bind_raw(NATIVE, NATIVE, ROUTE, native.forward, permission=Permission.NATIVE, bounded=False)
    for path in ("/native", "/native/{target:.*}"):
        app.router.add_resource(path).add_route("*", handler, expect_handler=defer_continue)


class _Native:
    def __init__(
        self,
        providers: Mapping[str, PassThrough],
        http: HttpSettings,
        endpoints: Endpoints,
        on_write: Callable[[str], None] | None,
    ) -> None:
        self._cors = endpoints.cors
        self._rates = endpoints.rates
        self._providers = providers
        self._on_write = on_write
        self._body_timeout = http.body_timeout
        self._buffered_bytes = min(http.max_body_bytes, _BUFFERED_BYTES)
        self._bodies = BodyReader(http.model_copy(update={"max_body_bytes": self._buffered_bytes}))

    async def forward(self, request: web.Request, ctx: RequestContext) -> web.StreamResponse:
        """Check the request's target against the rules, and forward the request."""
        target = parse_target(request.raw_path)
        ctx.principal.require_native()
        provider = self._providers.get(target.provider)
        if not ctx.principal.sees(target.provider):
            raise NotFound("There is no such path.")
        if provider is None:
            raise ProviderNotConfigured(f"This gateway has no provider {target.provider}.", provider=target.provider)
        ctx.provider = provider.name
        websocket = is_websocket(request)
        if not provider.rules.allow(WEBSOCKET if websocket else request.method, target.segments):
            raise PermissionDenied(
                f"{'A WebSocket' if websocket else request.method} to this path is not among the rules of "
                f"providers.{provider.name}.native.allow in the gateway's settings.",
                provider=provider.name,
            )
        if provider.rate is not None:
            await self._rates.charge(ctx, provider.name, provider.rate)
        headers = to_provider(
            request.headers,
            websocket=websocket,
            traced=ctx.traceparent is not None,
            credentials=provider.credential_names,
        )
        upload = StreamedUpload(request, provider.limits.max_body_bytes, self._body_timeout)
        outgoing = NativeRequest(request.method, target.path + target.query, headers)
        if upload.length is not None and upload.length <= self._buffered_bytes:
            outgoing.body = await self._bodies.read_raw(request) or None
            provider = self._providers.get(target.provider, provider)  # the settings may have changed meanwhile
        forwarding = _Forwarding(request, ctx, provider, upload, self._cors)
        if self._on_write is not None and (websocket or request.method not in SAFE_METHODS):
            forwarding.on_write = partial(self._on_write, provider.name)
        return await forwarding.run(outgoing, websocket=websocket)


@dataclass(slots=True, eq=False, repr=False)
class _Forwarding:
    """The forwarding of one request: sending, the response, and the error when it fails. ``on_write`` is called when
    the response starts, and at the end."""

    _request: web.Request
    _ctx: RequestContext
    _provider: PassThrough
    _upload: StreamedUpload
    _cors: Cors
    on_write: Callable[[], None] = lambda: None
    _begun: web.StreamResponse | None = None
    _tunnel: Tunnel | None = None
    _writing: bool = False

    async def run(self, outgoing: NativeRequest, *, websocket: bool) -> web.StreamResponse:
        """Send the request and return the response. Raises the error for the caller, or :class:`ClientAborted`."""
        protocol: Any = self._request.protocol
        try:
            async with self._provider.exchange(self._ctx) as exchange:
                protocol.when_lost = exchange.stop
                if self._request.transport is None:
                    raise ClientAborted
                if outgoing.body is None and self._upload.length != 0:
                    outgoing.body = self._upload.chunks(exchange)
                self._provider.sign(outgoing.headers, self._ctx)
                addresses = NativeAddresses(self._provider.name, self._provider.base_url)
                exchange.on_interim = partial(self._pass_interim, addresses, outgoing.target)
                response = await exchange.send(outgoing, self._provider.origin)
                self.on_write()
                headers = to_caller(response.headers, self._provider.without_credentials)
                addresses.rewrite(headers, outgoing.target)
                headers.add(_PROXY_STATUS, f"runtime-gateway; received-status={response.status}")
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

    def _pass_interim(
        self, addresses: NativeAddresses, target: str, status: int, reason: str, received: CIMultiDict[str]
    ) -> None:
        if status == 100:  # concerns the connection to the provider; the gateway itself answers an Expect
            return
        headers = interim_to_caller(received, self._provider.without_credentials)
        addresses.rewrite(headers, target)
        pass_interim(self._request, status, _sendable(reason), headers)

    async def _respond(
        self, response: IncomingResponse, headers: CIMultiDict[str], exchange: Exchange
    ) -> web.StreamResponse:
        length = response.headers.get(hdrs.CONTENT_LENGTH, "")
        if response.complete or (length.isdecimal() and int(length) <= _BUFFERED_BYTES):
            body = b"".join([piece async for piece in response.pieces()])
            return PassedResponse(
                status=response.status, reason=_sendable(response.reason), headers=headers, body=body or None
            )
        out = PassedStream(status=response.status, reason=_sendable(response.reason), headers=headers)
        await self._begin(out)
        async for chunk in response.pieces():
            exchange.moved()
            await self._write(out, chunk)
        await self._write(out, None)
        return out

    async def _switch(
        self, response: IncomingResponse, headers: CIMultiDict[str], exchange: Exchange, *, asked: bool
    ) -> web.StreamResponse:
        if not asked or response.headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":
            raise ProviderBadResponse(
                f"The provider {self._provider.name} switched to a protocol that it was not asked for.",
                failure=ProviderFailure(self._provider.name, status=response.status),
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

        self._tunnel = Tunnel(self._request, out, response.pieces(), to_provider, exchange.moved)
        await self._tunnel.run(lambda: exchange.expired)
        return out

    async def _begin(self, out: web.StreamResponse) -> None:
        finish_headers(out, self._request, self._ctx, self._cors, private=True)
        try:
            await out.prepare(self._request)
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
        transport = self._request.transport
        if transport is None:
            return ClientAborted()
        if self._tunnel is not None and self._tunnel.is_closed:
            transport.close()
        elif self._begun is not None:
            _cut(transport, self._begun)
        if self._upload.error is not None:
            return self._upload.error
        if failure.reason == "timeout" and self._writing:
            return RequestTimeout("The caller did not read the response in time.")
        if failure.reason == "timeout" and self._upload.waiting and self._begun is None:
            return RequestTimeout("The rest of the body did not arrive in time.")
        # Only whether the request may have had an effect counts, which is the same for all mutating operations.
        operation = Operation.GET if method in SAFE_METHODS else Operation.REPLACE_CONFIG
        error = transport_error(self._provider.name, operation, failure)
        if error.retryable is Retryable.SAME_REQUEST:
            error.retryable = Retryable.NO  # the pass-through does not deduplicate requests
        return error


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
