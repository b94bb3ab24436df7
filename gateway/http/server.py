"""The HTTP server around an application: unreadable requests are answered with a problem too."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.http.problems import internal_error
from gateway.http.request_heads import head_fault, unsupported_version
from gateway.settings import HttpSettings

_LINGERING_SECONDS: Final = 2.0
_LAST_WRITES_SECONDS: Final = 2.0
_TOO_MANY: Final = ("Too many headers received",)
_OTHER_VERSION: Final = {"Invalid HTTP version:", "Expected HTTP/2 Connection Preface:", "Pause on PRI/Upgrade:"}


class ServedApplication(Protocol):
    """What the server needs from the application that it serves."""

    connections: Any  # a gauge of open connections

    def refuse_unreadable(self, request: web.BaseRequest, error: GatewayError) -> web.Response:
        """The response to a request that reaches no handler."""

    def turned_away(self) -> bytes:
        """The complete response to a connection beyond the limit."""

    def idle_closed(self) -> None:
        """Count an idle connection that was closed because its client address has too many."""

    def slow_reader(self) -> None:
        """Count and log a client that was cut off because it did not read."""

    def unexpected(self, message: str, **fields: Any) -> None:
        """Log a failure outside of every handler."""

    async def drain(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the requests in flight, and interrupt the others."""


SERVED: Final = web.AppKey("served", ServedApplication)


class GatewayRequestHandler(RequestHandler):
    """One connection. Requests that aiohttp answers before any handler are answered here.

    ``when_lost`` is called once when the connection is lost: aiohttp does not cancel the handler, and a stream would
    continue without a client. A client that reads no byte of its response for ``write_timeout`` seconds is
    disconnected, and a connection beyond the server's limit is refused.
    """

    __slots__ = (
        "_address",
        "_admitted",
        "_endpoints",
        "_last_received",
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
        self._last_received: float | None = None
        self._wire: asyncio.Transport | None = None
        self._reader_check: asyncio.TimerHandle | None = None
        self._unread = 0
        self.when_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = wire = cast("asyncio.Transport", transport)
        peer = wire.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
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
        """When the last bytes arrived, on the event loop's clock; 0 if none did."""
        return self._last_received or 0.0

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

    def data_received(self, data: bytes) -> None:
        self._last_received = self._loop.time()
        super().data_received(data)
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
        super().connection_lost(exc)
        when_lost, self.when_lost = self.when_lost, None
        if when_lost is not None:
            when_lost()

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
            return self._endpoints.refuse_unreadable(request, self._unreadable(exc))
        self._endpoints.unexpected(message or "a request failed outside of its handler", status=status)
        return self._endpoints.refuse_unreadable(request, internal_error())

    def finish_response(self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None) -> Any:
        """Turn aiohttp's own refusals (``CONNECT``, ``OPTIONS *``) into problems."""
        if isinstance(resp, web.HTTPException):
            resp = self._endpoints.refuse_unreadable(request, errors.NotFound("There is no such path."))
        return super().finish_response(request, resp, start_time)

    def log_exception(self, *args: Any, **_options: Any) -> None:
        self._endpoints.unexpected(str(args[0]) if args else "unhandled")

    def _unreadable(self, exc: HttpProcessingError) -> GatewayError:
        if isinstance(exc, LineTooLong):
            # The parser reports both with the same class; the two limits differ by one only to distinguish them here.
            if exc.args[1] == self.max_line_size:
                return errors.UriTooLong(f"The request target is longer than {self.max_line_size} bytes.")
            return errors.HeadersTooLarge(f"A header is longer than {self.max_field_size} bytes.")
        if exc.args == _TOO_MANY:
            return errors.HeadersTooLarge(f"There are more than {self.max_headers} headers.")
        if _is_of_other_version(exc):
            return unsupported_version()
        if isinstance(exc, BadHttpMethod):
            return errors.InvalidRequest("The request does not begin with an HTTP method (is it TLS on a plain port?).")
        return errors.InvalidRequest("The request breaks the rules of HTTP/1.1.")


def _is_of_other_version(exc: HttpProcessingError) -> bool:
    # The parser's reason is in the first two lines of the message; the others quote the request.
    return not _OTHER_VERSION.isdisjoint(line.strip() for line in exc.message.splitlines()[:2])


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
