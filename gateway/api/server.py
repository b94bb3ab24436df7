"""The HTTP server around an application: what cannot be read is refused with a problem too."""

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from gateway.api.endpoints import Endpoints
from gateway.api.problems import internal_error
from gateway.domain import errors
from gateway.domain.errors import GatewayError

ENDPOINTS: Final = web.AppKey("endpoints", Endpoints)

_LINGERING_SECONDS: Final = 2.0
_TOO_MANY: Final = ("Too many headers received",)


class GatewayRequestHandler(RequestHandler):
    """One connection. aiohttp answers some requests before any handler: those end here.

    ``when_lost`` is called, once, when the connection is lost: aiohttp lets a handler run on, and one that streams
    would hold a provider for nobody.
    """

    __slots__ = ("_endpoints", "when_lost")

    def __init__(self, server: web.Server, endpoints: Endpoints, **options: Any) -> None:
        super().__init__(server, **options)
        self._endpoints = endpoints
        self.when_lost: Callable[[], None] | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            request = self._current_request
            if request is not None and not request.content.is_eof():
                # aiohttp tells it after this request, whose body can never be whole now: somebody may wait for it.
                request._cancel(RequestPayloadError("the rest of the body breaks the rules"))

    def connection_lost(self, exc: BaseException | None) -> None:
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
        """The answer to what the parser refused, and to what failed outside of every handler."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is on its way already, so that no other can be sent")
        if isinstance(exc, HttpProcessingError):
            return self._endpoints.refuse_unreadable(request, self._unreadable(exc))
        self._endpoints.unexpected(message or "a request failed outside of its handler", status=status)
        return self._endpoints.refuse_unreadable(request, internal_error())

    def finish_response(self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None) -> Any:
        """Let aiohttp's own refusals (``CONNECT``, ``OPTIONS *``) be problems too."""
        if isinstance(resp, web.HTTPException):
            resp = self._endpoints.refuse_unreadable(request, errors.NotFound("There is no such path."))
        return super().finish_response(request, resp, start_time)

    def log_exception(self, *args: Any, **_options: Any) -> None:
        self._endpoints.unexpected(str(args[0]) if args else "unhandled")

    def _unreadable(self, exc: HttpProcessingError) -> GatewayError:
        if isinstance(exc, LineTooLong):
            # The parser reports both with the same class; the limits differ by one for this question only.
            if exc.args[1] == self.max_line_size:
                return errors.UriTooLong(f"The request target is longer than {self.max_line_size} bytes.")
            return errors.HeadersTooLarge(f"A header is longer than {self.max_field_size} bytes.")
        if exc.args == _TOO_MANY:
            return errors.HeadersTooLarge(f"There are more than {self.max_headers} headers.")
        if isinstance(exc, BadHttpMethod):
            return errors.InvalidRequest("The request does not begin with an HTTP method (is it TLS on a plain port?).")
        return errors.InvalidRequest("The request breaks the rules of HTTP/1.1.")


class GatewayServer(web.Server):
    """Makes the handler of each connection."""

    def __init__(self, handler: Any, *, endpoints: Endpoints, request_factory: Any, options: dict[str, Any]) -> None:
        super().__init__(handler, request_factory=request_factory)
        self._endpoints = endpoints
        self._options = options

    def __call__(self) -> RequestHandler:
        return GatewayRequestHandler(self, self._endpoints, loop=self._loop, **self._options)


class GatewayRunner(web.AppRunner):
    """Serves an application made by ``create_api`` or ``create_admin``.

    ``max_line_bytes`` bounds the request target and each header, ``max_header_bytes`` each header too (all of them
    together are counted by the application). ``keepalive_timeout`` is how many seconds a connection may be idle, also
    before its first request; ``shutdown_timeout`` how many seconds requests in flight have to finish.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        max_line_bytes: int = 8190,
        max_header_bytes: int = 16 << 10,
        keepalive_timeout: float = 75.0,
        shutdown_timeout: float = 60.0,
    ) -> None:
        # To aiohttp a time of 0 has no end; here it means at once.
        super().__init__(app, shutdown_timeout=max(shutdown_timeout, 0.001))
        self._options: dict[str, Any] = {
            "max_line_size": max_line_bytes,
            "max_field_size": max_line_bytes + 1 if max_header_bytes >= max_line_bytes else max_header_bytes,
            "keepalive_timeout": keepalive_timeout,
            "lingering_time": _LINGERING_SECONDS,
            "auto_decompress": False,
            "access_log": None,
        }

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return GatewayServer(
            plain.request_handler,
            endpoints=self.app[ENDPOINTS],
            request_factory=plain.request_factory,
            options=self._options,
        )
