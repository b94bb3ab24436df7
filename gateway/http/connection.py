"""One client connection: what is read from it, how it ends, and which requests are answered before any handler."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError, _ErrInfo

from gateway.domain.errors import GatewayError
from gateway.http.endpoints import ListenerEndpoints
from gateway.http.in_flight import SAFE_METHODS
from gateway.http.mounting import BASE_PATH
from gateway.http.problems import internal_error
from gateway.http.request_heads import parse_error
from gateway.http.request_loop import RequestLoop
from gateway.http.wire import Wire
from gateway.upstream.http1.connection import probe_when_silent

if TYPE_CHECKING:
    from gateway.http.server import GatewayServer

_HALF_CLOSE_SECONDS: Final = 0.1
"""A client that ends its sending side this soon after its last byte waits for the response."""

_SWITCHING: Final = 101
_HEAD_END: Final = b"\r\n\r\n"


class GatewayRequestHandler(RequestLoop):
    """One connection. Requests that aiohttp answers before any handler are answered here.

    When the connection is lost, a read is cancelled, and a change continues; a handler can set ``when_lost``, which is
    called once instead. A client that reads no byte of its response for ``write_timeout`` seconds is disconnected, and
    a connection beyond the server's limit is refused.
    """

    __slots__ = (
        "_address",
        "_admitted",
        "_endpoints",
        "_half_closed",
        "_last_body",
        "_last_received",
        "_lost_data",
        "_opened_at",
        "_raw",
        "_server",
        "_turning_away",
        "_wire",
        "_write_timeout",
        "when_lost",
    )

    def __init__(
        self, server: "GatewayServer", endpoints: ListenerEndpoints, write_timeout: float, **options: Any
    ) -> None:
        super().__init__(server, **options)
        self._server = server
        self._endpoints = endpoints
        self._write_timeout = write_timeout
        self._admitted = self._turning_away = False
        self._address = ""
        self._opened_at = 0.0
        self._last_received: float | None = None
        self._raw: asyncio.Transport | None = None  # with TLS, the transport below it
        self._wire: Wire | None = None
        self._half_closed = self._lost_data = False
        self._last_body: StreamReader | None = None  # of the last request that was parsed
        self.when_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast("asyncio.Transport", transport)
        BASE_PATH.set(self._endpoints.base_path)
        if self._raw is None:
            self._count(wire)
        self._wire = Wire(wire, self._raw, self._loop, self._write_timeout, self._endpoints.slow_reader)
        if not self._admitted:
            self._wire.turn_away(self._endpoints.turned_away())
            return
        super().connection_made(transport)
        probe_when_silent(transport)
        if self._task_handler is not None:
            self._task_handler.add_done_callback(self._wire.watch)

    def accept(self, transport: asyncio.Transport) -> bool:
        """Count a connection before its TLS handshake. One beyond the limit needs a handshake too, to receive its
        error: a few at a time may have it."""
        self._raw = transport
        self._count(transport)
        self._turning_away = not self._admitted and self._server.begin_turning_away()
        return self._admitted or self._turning_away

    def _count(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        self._opened_at = monotonic()
        self._admitted = self._server.admit(self, self._address)

    def handshake_failed(self) -> None:
        """The connection has ended before it was one."""
        self._endpoints.handshakes_failed.inc()
        self.leave()

    def force_close(self) -> None:
        super().force_close()
        if self._wire is None and self._raw is not None:
            self._raw.abort()  # in its handshake

    def close(self) -> None:
        """Close the connection when its requests are answered, at once if it has none. (aiohttp leaves an idle one
        open, and ignores what arrives on it.)"""
        is_idle = self._current_request is None and not self._messages
        super().close()
        if is_idle:
            self.force_close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 (aiohttp calls it so)
        await super().shutdown(timeout)
        if self._wire is not None:
            self._wire.finish_closing()

    @property
    def idle_since(self) -> float:
        """When the last bytes arrived, or else when it was opened. (The clock of uvloop has steps of a millisecond.)"""
        return self._opened_at if self._last_received is None else self._last_received

    @property
    def idle(self) -> bool:
        """Whether the connection waits for a request, also for the rest of its head."""
        waiter = self._waiter
        return self._last_received is None or (waiter is not None and not waiter.done() and not self._messages)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._wire is not None:
            self._wire.watch()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a connection open on which the client only ended its sending side: it still waits for the response.

        A client that leaves sends the same signal. It has left if its request was already running for a while or is
        incomplete, or if a WebSocket or a stream is forwarded to it. A change of the API is answered at any time. With
        TLS the connection always ends: asyncio cannot write to a client that has ended its side.
        """
        request = self._current_request
        if self._raw is not None or self._payload_parser is not None:
            return False
        if self._last_body is None or not self._last_body.is_eof():
            return False
        if request is None:
            return self._answer_and_close() if self._waiter is None or self._messages else False
        forwarded = self.when_lost is not None
        if forwarded and (self._upgraded or request.writer.output_size > 0):
            return False
        late = monotonic() - (self._last_received or 0.0) > _HALF_CLOSE_SECONDS
        return False if late and (forwarded or request.method in SAFE_METHODS) else self._answer_and_close()

    def _answer_and_close(self) -> bool:
        self._half_closed = True
        if self._current_request is None and not self._messages:
            self._close = True  # the last response is being written, or the last request about to be handled
        return True

    def data_received(self, data: bytes) -> None:
        if self._lost_data:
            return
        self._last_received = monotonic()
        before, closing = self._request_count, self._close
        if self._upgraded or (self._last_body is not None and not self._last_body.is_eof()):
            # After close(), aiohttp drops what arrives, also the rest of a body and the frames of a WebSocket.
            self._close = False
        super().data_received(data)
        self._close = closing or self._close
        if self._messages:
            self._last_body = self._messages[-1][1]
        if self._messages and getattr(self._messages[-1][0], "upgrade", False) and not self._upgraded:
            # aiohttp has dropped what follows an upgrade to anything but a WebSocket in the same data. The rest of it
            # must not be parsed as the beginning of a request.
            self._lost_data = data.count(_HEAD_END) != self._request_count - before or not data.endswith(_HEAD_END)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            request = self._current_request
            if request is not None and not request.content.is_eof():
                # aiohttp reports it after this request, whose body never completes: its reader may be waiting.
                request._cancel(RequestPayloadError("the rest of the body breaks the rules"))

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._wire is not None:
            self._wire.release()
            self._wire = None
        self.leave()
        request, handling, tunnel = self._current_request, self._task_handler, self._payload_parser
        super().connection_lost(exc)
        when_lost, self.when_lost = self.when_lost, None
        if when_lost is not None:
            when_lost()
        elif request is not None and request.method in SAFE_METHODS and tunnel is None and handling is not None:
            handling.cancel()

    def leave(self) -> None:
        """Release the connection's place, once."""
        if self._admitted:
            self._admitted = False
            self._server.left(self, self._address)
        if self._turning_away:
            self._turning_away = False
            self._server.turning_away -= 1

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The response to a request that the parser refused, or that failed outside of any handler."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response was already started, so no other one can be sent")
        if isinstance(exc, HttpProcessingError):
            return self._endpoints.refuse_unreadable(request, self._parse_error(exc))
        self._endpoints.unexpected(message or "a request failed outside of its handler", status=status)
        return self._endpoints.refuse_unreadable(request, internal_error())

    def finish(self, response: web.StreamResponse) -> None:
        if (self._half_closed or self._lost_data) and not self._messages and response.status != _SWITCHING:
            response.force_close()

    def _parse_error(self, exc: HttpProcessingError) -> GatewayError:
        return parse_error(
            exc, max_line=self.max_line_size, max_field=self.max_field_size, max_headers=self.max_headers
        )

    def log_exception(self, *args: Any, **_options: Any) -> None:
        self._endpoints.unexpected(str(args[0]) if args else "unhandled")
