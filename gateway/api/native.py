"""The pass-through: ``/native/{provider}/…`` is the provider's own API, with the gateway's credentials there.

The provider's answers pass as they are, errors included; the gateway's own errors are problems. ``Proxy-Status``
(RFC 9209) marks what comes from a provider.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestPayloadError
from multidict import CIMultiDict, istr

from gateway.api.endpoints import Endpoints, finish_headers
from gateway.api.native_target import parse_target
from gateway.domain.errors import (
    InvalidRequest,
    PayloadTooLarge,
    PermissionDenied,
    ProviderBadResponse,
    ProviderFailure,
    ProviderNotConfigured,
    RequestTimeout,
    Retryable,
)
from gateway.domain.operations import Operation
from gateway.http.bodies import BodyReader, ClientAborted, defer_continue, invite_body
from gateway.http.headers import is_websocket, to_caller, to_provider
from gateway.http.in_flight import SAFE_METHODS
from gateway.http.tunnel import tunnel
from gateway.ports.context import RequestContext
from gateway.ports.error_mapping import transport_error
from gateway.ports.native import WEBSOCKET
from gateway.ports.transport import TransportFailure
from gateway.settings import HttpSettings
from gateway.upstream.exchange import Exchange, NativeAnswer, NativeRequest
from gateway.upstream.passthrough import NATIVE, PassThrough

ROUTE: Final = "/native/{provider}/{path}"

_IN_ONE_PIECE: Final = 64 << 10
"""Bodies of a declared length up to this many bytes are read and written whole, which costs a fraction."""

_PROXY_STATUS: Final = istr("Proxy-Status")


def register_native(
    app: web.Application,
    providers: Mapping[str, PassThrough],
    endpoints: Endpoints,
    http: HttpSettings,
    on_write: Callable[[str], None] | None = None,
) -> None:
    """Add the pass-through to all ``providers``, by name. ``on_write`` hears of which provider something may have been
    written to."""
    native = _Native(providers, http, on_write)
    handler = endpoints.bind_raw(NATIVE, NATIVE, ROUTE, native.forward, bounded=False)
    for path in ("/native", "/native/{target:.*}"):
        app.router.add_resource(path).add_route("*", handler, expect_handler=defer_continue)


class _Native:
    def __init__(
        self, providers: Mapping[str, PassThrough], http: HttpSettings, on_write: Callable[[str], None] | None
    ) -> None:
        self._providers = providers
        self._on_write = on_write
        self._in_one_piece = min(http.max_body_bytes, _IN_ONE_PIECE)
        self._bodies = BodyReader(http.model_copy(update={"max_body_bytes": self._in_one_piece}))

    async def forward(self, request: web.Request, ctx: RequestContext) -> web.StreamResponse:
        """Check where the request wants to go, and pass it on."""
        target = parse_target(request.raw_path)
        provider = self._providers.get(target.provider)
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
        headers = to_provider(
            request.headers,
            websocket=websocket,
            traced=ctx.traceparent is not None,
            credentials=provider.credential_names,
        )
        upload = _Upload(request, provider.limits.max_body_bytes)
        outgoing = NativeRequest(request.method, target.path + target.query, headers)
        if upload.length is not None and upload.length <= self._in_one_piece:
            outgoing.body = await self._bodies.read_raw(request) or None
            provider = self._providers.get(target.provider, provider)  # the settings may have changed meanwhile
        forwarding = _Forwarding(request, ctx, provider, upload)
        if self._on_write is not None and (websocket or request.method not in SAFE_METHODS):
            forwarding.on_write = partial(self._on_write, provider.name)
        return await forwarding.run(outgoing, websocket=websocket)


class _Upload:
    """The body of a request, as it comes. ``length`` None: not declared. ``error`` is why it is not whole."""

    def __init__(self, request: web.Request, most: int) -> None:
        self.length = request.content_length if request.body_exists else 0
        self.error: Exception | None = None
        self.waiting = False
        self._request = request
        self._most = most
        if self.length is not None and self.length > most:
            raise self._too_large()

    async def pieces(self, exchange: Exchange) -> AsyncIterator[bytes]:
        """The body, piece by piece; what goes wrong stops the exchange."""
        content = self._request.content
        size = 0
        try:
            await invite_body(self._request)
            while True:
                self.waiting = True
                piece = await content.readany()
                self.waiting = False
                if not piece:
                    return
                size += len(piece)
                if size > self._most:
                    raise self._too_large()
                exchange.moved()
                yield piece
        except (RequestPayloadError, ConnectionError, PayloadTooLarge) as exc:
            if isinstance(exc, PayloadTooLarge):
                self.error = exc
            elif self._request.transport is None:
                self.error = ClientAborted()
            else:
                self.error = InvalidRequest("The body breaks the rules of HTTP.")
            exchange.stop()
            raise

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body is larger than {self._most} bytes.")


class _Forwarding:
    """One request on its way: there, back, and whose fault it is when that fails. ``on_write`` is called as soon as
    there is an answer, and at the end."""

    on_write: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, request: web.Request, ctx: RequestContext, provider: PassThrough, upload: _Upload) -> None:
        self._request = request
        self._ctx = ctx
        self._provider = provider
        self._upload = upload
        self._begun: web.StreamResponse | None = None
        self._writing = False

    async def run(self, outgoing: NativeRequest, *, websocket: bool) -> web.StreamResponse:
        """Send, and answer. Raises what the caller is told, or :class:`ClientAborted` when it has gone."""
        protocol: Any = self._request.protocol
        try:
            async with self._provider.exchange(self._ctx) as exchange:
                protocol.when_lost = exchange.stop
                if self._request.transport is None:
                    raise ClientAborted
                if outgoing.body is None and self._upload.length != 0:
                    outgoing.body = self._upload.pieces(exchange)
                self._provider.sign(outgoing.headers, self._ctx)
                answer = await exchange.send(outgoing, self._provider.origin)
                self.on_write()
                headers = to_caller(answer.headers, self._provider.without_credentials)
                headers.add(_PROXY_STATUS, f"runtime-gateway; received-status={answer.status}")
                if answer.status == 101:
                    # The caller's last bytes may come with its leaving; the tunnel sees both in their order.
                    protocol.when_lost = None
                    return await self._switch(answer, headers, exchange, asked=websocket)
                return await self._answer(answer, headers, exchange)
        except TransportFailure as failure:
            raise self._meaning(failure, outgoing.method) from failure
        finally:
            protocol.when_lost = None
            self.on_write()

    async def _answer(self, answer: NativeAnswer, headers: CIMultiDict[str], exchange: Exchange) -> web.StreamResponse:
        content, length = answer.content, answer.length
        if content.is_eof() or (length is not None and length <= _IN_ONE_PIECE):
            body = await content.read()
            return web.Response(status=answer.status, reason=_reason(answer), headers=headers, body=body or None)
        out = web.StreamResponse(status=answer.status, reason=_reason(answer), headers=headers)
        await self._begin(out)
        while piece := await content.readany():
            exchange.moved()
            await self._write(out, piece)
        await self._write(out, None)
        return out

    async def _switch(
        self, answer: NativeAnswer, headers: CIMultiDict[str], exchange: Exchange, *, asked: bool
    ) -> web.StreamResponse:
        if not asked or not _is_websocket(answer):
            raise ProviderBadResponse(
                f"The provider {self._provider.name} switched to a protocol that it was not asked for.",
                failure=ProviderFailure(self._provider.name, status=answer.status),
            )
        headers[hdrs.UPGRADE], headers[hdrs.CONNECTION] = "websocket", "Upgrade"
        out = web.StreamResponse(status=101, reason=_reason(answer), headers=headers)
        out.force_close()
        await self._begin(out)
        await tunnel(self._request, answer.protocol, out, exchange.moved)
        return out

    async def _begin(self, out: web.StreamResponse) -> None:
        finish_headers(out, self._ctx, private=True)
        try:
            await out.prepare(self._request)
        except ConnectionError as exc:
            raise ClientAborted from exc
        self._begun = out

    async def _write(self, out: web.StreamResponse, piece: bytes | None) -> None:
        """Write a piece, or the end (None). What a slow caller does not take is not read from the provider either."""
        self._writing = True
        try:
            await (out.write_eof() if piece is None else out.write(piece))
        except ConnectionError as exc:
            raise ClientAborted from exc
        self._writing = False

    def _meaning(self, failure: TransportFailure, method: str) -> Exception:
        """What a failure means for the caller. One that has the beginning of an answer must not take it for all."""
        transport = self._request.transport
        if transport is None:
            return ClientAborted()
        if self._begun is not None:
            _cut(transport, self._begun)
        if self._upload.error is not None:
            return self._upload.error
        if failure.reason == "timeout" and self._writing:
            return RequestTimeout("The caller did not read the answer in time.")
        if failure.reason == "timeout" and self._upload.waiting and self._begun is None:
            return RequestTimeout("The rest of the body did not arrive in time.")
        # Only whether something may have happened counts here, and that is the same for all that changes anything.
        judged_as = Operation.GET if method in SAFE_METHODS else Operation.REPLACE_CONFIG
        error = transport_error(self._provider.name, judged_as, failure)
        if error.retryable is Retryable.SAME_REQUEST:
            error.retryable = Retryable.NO  # nobody here makes one request of two
        return error


def _reason(answer: NativeAnswer) -> str | None:
    return answer.reason if answer.reason.isascii() and answer.reason.isprintable() else None


def _cut(transport: asyncio.Transport, begun: web.StreamResponse) -> None:
    if hdrs.TRANSFER_ENCODING in begun.headers or hdrs.CONTENT_LENGTH in begun.headers:
        transport.close()
        return
    # A connection that ends in order would be the regular end of this answer, so it has to end with a reset.
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _is_websocket(answer: NativeAnswer) -> bool:
    """Whether the provider's connection is a WebSocket from now on."""
    return answer.status == 101 and answer.headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"
