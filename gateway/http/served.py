"""The application, as the HTTP server sees it."""

from typing import Any, Protocol

from aiohttp import web

from gateway.domain.errors import GatewayError


class ServedApplication(Protocol):
    """What the server needs from the application that it serves."""

    connections: Any  # a gauge of open connections

    def refuse_unreadable(self, request: web.BaseRequest, error: GatewayError) -> web.Response:
        """The response to a request that reaches no handler."""

    def turned_away(self) -> bytes:
        """The complete response to a connection beyond the limit."""

    def idle_closed(self) -> None:
        """Count an idle connection that was closed because its client address has too many."""

    def handshake_failed(self) -> None:
        """Count a connection whose TLS handshake failed."""

    def slow_reader(self) -> None:
        """Count and log a client that was cut off because it did not read."""

    def unexpected(self, message: str, **fields: Any) -> None:
        """Log a failure outside of every handler."""

    def stop_waiting(self) -> None:
        """End the waiting of :meth:`drain` at once."""

    async def drain(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the requests in flight, and interrupt the others."""
