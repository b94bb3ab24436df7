"""The HTTP server around an application: unreadable requests are answered with a problem too."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.http.in_flight import SAFE_METHODS
from gateway.http.problems import internal_error
from gateway.http.request_heads import head_fault, parse_error
from gateway.http.served import ServedApplication
from gateway.settings import HttpSettings

_LINGERING_SECONDS: Final = 2.0
_LAST_WRITES_SECONDS: Final = 2.0
_HALF_CLOSE_SECONDS: Final = 0.1
"""A client that ends its sending side this soon after its last byte waits for the response."""

_SWITCHING: Final = 101
_HEAD_END: Final = b"\r\n\r\n"


SERVED: Final = web.AppKey("served", ServedApplication)


class GatewayRequestHandler(RequestHandler):
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
        "_reader_check",
        "_server",
        "_unread",
        "_wire",
        "_write_timeout",
        "when_lost",
    )

    def __init__(
        self, server: "GatewayServer", endpoints: ServedApplication, write_timeout: float, **options: Any
    ) -> None:
        super().__init__(server, **options)
        self._server = server
        self._endpoints = endpoints
        self._write_timeout = write_timeout
        self._admitted = False
        self._address = ""
        self._opened_at = 0.0
        self._last_received: float | None = None
        self._wire: asyncio.Transport | None = None
        self._reader_check: asyncio.TimerHandle | None = None
        self._unread = 0
        self._half_closed = self._lost_data = False
        self._last_body: StreamReader | None = None  # of the last request that was parsed
        self.when_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = wire = cast("asyncio.Transport", transport)
        peer = wire.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        self._opened_at = self._loop.time()
        if not self._server.admit(self, self._address):
            wire.write(self._endpoints.turned_away())
            wire.close()
            return
        self._admitted = True
        super().connection_made(transport)
        if self._task_handler is not None:
            self._task_handler.add_done_callback(self._watch_reader)

    @property
    def idle_since(self) -> float:
        """When the last bytes arrived, or else when it was opened, on the event loop's clock."""
        return self._opened_at if self._last_received is None else self._last_received

    @property
    def idle(self) -> bool:
        """Whether the connection waits for a request, also for the rest of its head."""
        waiter = self._waiter
        return self._last_received is None or (waiter is not None and not waiter.done() and not self._messages)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def _watch_reader(self, _ended: object = None) -> None:
        """Check that the client reads what was written, also while the connection is being closed."""
        if self._reader_check is not None:
            self._reader_check.cancel()
            self._reader_check = None
        if self._wire is not None and (unread := self._wire.get_write_buffer_size()):
            self._unread = unread
            self._reader_check = self._loop.call_later(self._write_timeout, self._check_reader)

    def _check_reader(self) -> None:
        self._reader_check = None
        wire = self._wire
        if wire is None or not (unread := wire.get_write_buffer_size()):
            return
        if unread >= self._unread:
            self._endpoints.slow_reader()
            wire.abort()
        else:
            self._watch_reader()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a connection open on which the client only ended its sending side: it still waits for the response.

        A client that leaves sends the same signal. It has left if its request was already running for a while or is
        incomplete, or if a WebSocket or a stream is forwarded to it. A change of the API is answered at any time.
        """
        request = self._current_request
        if self._payload_parser is not None or self._last_body is None or not self._last_body.is_eof():
            return False
        if request is None:
            return self._answer_and_close() if self._waiter is None or self._messages else False
        forwarded = self.when_lost is not None
        if forwarded and (self._upgraded or request.writer.output_size > 0):
            return False
        late = self._loop.time() - (self._last_received or 0.0) > _HALF_CLOSE_SECONDS
        return False if late and (forwarded or request.method in SAFE_METHODS) else self._answer_and_close()

    def _answer_and_close(self) -> bool:
        self._half_closed = True
        if self._current_request is None and not self._messages:
            self._close = True  # the last response is being written, or the last request about to be handled
        return True

    def data_received(self, data: bytes) -> None:
        if self._lost_data:
            return
        self._last_received = self._loop.time()
        before = self._request_count
        super().data_received(data)
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
        self._wire = None
        if self._reader_check is not None:
            self._reader_check.cancel()
        if self._admitted:
            self._admitted = False
            self._server.left(self, self._address)
        request, handling, tunnel = self._current_request, self._task_handler, self._payload_parser
        super().connection_lost(exc)
        when_lost, self.when_lost = self.when_lost, None
        if when_lost is not None:
            when_lost()
        elif request is not None and request.method in SAFE_METHODS and tunnel is None and handling is not None:
            handling.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The response to a request that the parser refused, or that failed outside of any handler."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response was already started, so no other one can be sent")
        if isinstance(exc, HttpProcessingError):
            return self._endpoints.refuse_unreadable(request, self._parse_error(exc))
        self._endpoints.unexpected(message or "a request failed outside of its handler", status=status)
        return self._endpoints.refuse_unreadable(request, internal_error())

    def finish_response(self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None) -> Any:
        """Turn aiohttp's own refusals (``CONNECT``, ``OPTIONS *``) into problems."""
        if isinstance(resp, web.HTTPException):
            resp = self._endpoints.refuse_unreadable(request, errors.NotFound("There is no such path."))
        if (self._half_closed or self._lost_data) and not self._messages and resp.status != _SWITCHING:
            resp.force_close()
        return super().finish_response(request, resp, start_time)

    def _parse_error(self, exc: HttpProcessingError) -> GatewayError:
        return parse_error(
            exc, max_line=self.max_line_size, max_field=self.max_field_size, max_headers=self.max_headers
        )

    def log_exception(self, *args: Any, **_options: Any) -> None:
        self._endpoints.unexpected(str(args[0]) if args else "unhandled")


class GatewayServer(web.Server):
    """Creates the handler of each connection, for at most ``limit`` of them at once.

    At most ``most_idle`` idle ones have the same client address: a new connection closes those that have been idle
    longest. So one client that opens connections and sends nothing cannot use all of them.
    """

    def __init__(
        self,
        handler: Any,
        *,
        endpoints: ServedApplication,
        request_factory: Any,
        limit: int,
        most_idle: int,
        options: dict[str, Any],
    ) -> None:
        super().__init__(self._checked, request_factory=request_factory)
        self._handler = handler
        self._endpoints = endpoints
        self._limit = limit
        self._most_idle = most_idle
        self._open = 0
        self._by_address: dict[str, set[GatewayRequestHandler]] = {}
        self._options = options

    def __call__(self) -> RequestHandler:
        return GatewayRequestHandler(self, self._endpoints, loop=self._loop, **self._options)

    def _checked(self, request: web.BaseRequest) -> Any:
        """Handle a request whose head is valid, and refuse any other one. Returns an awaitable response."""
        fault = head_fault(request)
        return self._handler(request) if fault is None else self._refused(request, fault)

    async def _refused(self, request: web.BaseRequest, fault: GatewayError) -> web.StreamResponse:
        response = self._endpoints.refuse_unreadable(request, fault)
        request._cache["version"] = HttpVersion11  # aiohttp sends the response in the version of the request
        return response

    def admit(self, connection: GatewayRequestHandler, address: str) -> bool:
        """Count a new connection; False if there are too many."""
        if self._open >= self._limit:
            return False
        others = self._by_address.get(address, set())
        if len(others) >= self._most_idle:
            self._close_idle(others)
        self._by_address.setdefault(address, set()).add(connection)
        self._open += 1
        self._endpoints.connections.inc()
        return True

    def _close_idle(self, connections: set[GatewayRequestHandler]) -> None:
        idle = sorted((found for found in connections if found.idle), key=lambda found: found.idle_since)
        for connection in idle[: max(0, len(idle) - self._most_idle + 1)]:
            self._endpoints.idle_closed()
            connection.force_close()

    def left(self, connection: GatewayRequestHandler, address: str) -> None:
        """A connection was closed."""
        connections = self._by_address[address]
        connections.discard(connection)
        if not connections:
            del self._by_address[address]
        self._open -= 1
        self._endpoints.connections.dec()


class GatewayRunner(web.AppRunner):
    """Serves an application made by ``create_api`` or ``create_admin``.

    Of ``http``, the server applies ``max_line_bytes`` (to the request target and to each header),
    ``max_header_bytes`` (to each header; the application applies it to their sum), ``keepalive_timeout`` (also before
    the first request), ``write_timeout``, ``max_connections`` and ``max_idle_connections_per_address`` (half of
    ``max_connections`` if it is None). ``shutdown_timeout`` is how many seconds requests in flight have to finish
    before they are interrupted.
    """

    def __init__(self, app: web.Application, http: HttpSettings, *, shutdown_timeout: float = 60.0) -> None:
        # aiohttp's own shutdown only waits for responses that are being written.
        super().__init__(app, shutdown_timeout=_LAST_WRITES_SECONDS)
        self.grace = shutdown_timeout
        self._max_connections = http.max_connections
        self._most_idle = http.max_idle_connections_per_address or max(1, http.max_connections // 2)
        line, field = http.max_line_bytes, http.max_header_bytes
        self._options: dict[str, Any] = {
            "max_line_size": line,
            "max_field_size": line + 1 if field >= line else field,
            "keepalive_timeout": http.keepalive_timeout,
            "write_timeout": http.write_timeout,
            "lingering_time": _LINGERING_SECONDS,
            "auto_decompress": False,
            "access_log": None,
        }

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return GatewayServer(
            plain.request_handler,
            endpoints=self.app[SERVED],
            request_factory=plain.request_factory,
            limit=self._max_connections,
            most_idle=self._most_idle,
            options=self._options,
        )

    async def shutdown(self) -> None:
        """Drain the requests in flight. By now no connection is accepted, and idle ones are closed."""
        await self.app[SERVED].drain(self.grace)
        await super().shutdown()
