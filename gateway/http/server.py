"""The HTTP server around an application: unreadable requests are answered with a problem too."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http import HttpVersion11

from gateway.domain.errors import GatewayError, NotFound
from gateway.http.connection import GatewayRequestHandler
from gateway.http.endpoints import ListenerEndpoints
from gateway.http.mounting import below
from gateway.http.request_heads import head_fault
from gateway.http.tls import Handshake
from gateway.settings import HttpSettings

_LINGERING_SECONDS: Final = 2.0
_LAST_WRITES_SECONDS: Final = 2.0
MOST_TURNED_AWAY: Final = 16
"""TLS handshakes at once of connections beyond the limit, which are only answered that there are too many."""

Tls = Callable[[], ssl.SSLContext | None]
"""Returns what a new connection needs for TLS; None: it is a plain one."""

SERVED: Final = web.AppKey("served", ListenerEndpoints)


class GatewayServer(web.Server):
    """Creates the handler of each connection, for at most ``limit`` of them at once.

    At most ``most_idle`` idle ones have the same client address: a new connection closes those that have been idle
    longest. So one client that opens connections and sends nothing cannot use all of them.
    """

    def __init__(
        self,
        endpoints: ListenerEndpoints,
        *,
        request_factory: Any,
        limit: int,
        most_idle: int,
        tls: "Tls",
        options: dict[str, Any],
    ) -> None:
        super().__init__(self._checked, request_factory=request_factory)
        self._endpoints = endpoints
        self._limit = limit
        self._most_idle = most_idle
        self._open = 0
        self._by_address: dict[str, set[GatewayRequestHandler]] = {}
        self._options = options
        self._tls = tls
        self._handshakes: set[asyncio.Task[None]] = set()
        self.turning_away = 0

    def __call__(self) -> Any:
        """The protocol of a new connection."""
        handler = GatewayRequestHandler(self, self._endpoints, loop=self._loop, **self._options)
        context = self._tls()
        if context is None:
            return handler
        return Handshake(handler, context, self._handshakes, self._options["write_timeout"])

    def begin_turning_away(self) -> bool:
        """Whether a connection beyond the limit may have a TLS handshake, to be answered."""
        if self.turning_away >= MOST_TURNED_AWAY:
            return False
        self.turning_away += 1
        return True

    def pre_shutdown(self) -> None:
        for handshake in self._handshakes:
            handshake.cancel()
        super().pre_shutdown()

    def _checked(self, request: web.BaseRequest) -> Any:
        """Handle a request whose head is valid and whose target is a path, and refuse any other one. Returns an
        awaitable response."""
        fault = head_fault(request)
        if fault is None:
            found: Any = request
            if (handler := self._endpoints.routes.find(found)) is not None:
                return handler(found)
            fault = NotFound("There is no such path.")  # of CONNECT, and of OPTIONS *
        return self._refused(request, fault)

    async def _refused(self, request: web.BaseRequest, fault: GatewayError) -> web.StreamResponse:
        response = self._endpoints.refuse_unreadable(request, fault)
        request._cache["version"] = HttpVersion11  # aiohttp sends the response in the version of the request
        return response

    def admit(self, connection: GatewayRequestHandler, address: str) -> bool:
        """Count a new connection; False if there are too many."""
        others = self._by_address.get(address, set())
        if len(others) >= self._most_idle:
            self._close_idle(others)
        if self._open >= self._limit:
            return False
        self._by_address.setdefault(address, set()).add(connection)
        self._open += 1
        self._endpoints.connections.inc()
        return True

    def _close_idle(self, connections: set[GatewayRequestHandler]) -> None:
        idle = sorted((found for found in connections if found.idle), key=lambda found: found.idle_since)
        for connection in idle[: max(0, len(idle) - self._most_idle + 1)]:
            self._endpoints.idle_closed.inc()
            connection.force_close()
            connection.leave()  # its place is free at once, for the new connection

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
    before they are interrupted. ``tls`` is asked for each new connection.
    """

    def __init__(
        self, app: web.Application, http: HttpSettings, *, shutdown_timeout: float = 60.0, tls: Tls = lambda: None
    ) -> None:
        # aiohttp's own shutdown only waits for responses that are being written.
        super().__init__(app, shutdown_timeout=_LAST_WRITES_SECONDS)
        self.grace = shutdown_timeout
        self._drained = False
        self._tls = tls
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
        plain, base = await super()._make_server(), self.app[SERVED].base_path
        return GatewayServer(
            self.app[SERVED],
            request_factory=below(base, plain.request_factory) if base else plain.request_factory,
            limit=self._max_connections,
            most_idle=self._most_idle,
            tls=self._tls,
            options=self._options,
        )

    async def drain(self) -> None:
        """Accept no connection, close the idle ones, and drain the requests in flight. Idempotent."""
        if self._drained:
            return
        self._drained = True
        for site in tuple(self.sites):
            await site.stop()
        await asyncio.sleep(0)  # requests that have arrived begin
        if self.server is not None:
            self.server.pre_shutdown()
        await self.app[SERVED].drain(self.grace)

    async def shutdown(self) -> None:
        """Drain, unless this has happened."""
        await self.drain()
        await super().shutdown()
