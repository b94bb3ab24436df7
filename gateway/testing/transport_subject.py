"""What the suites of the transport contract share: requests, a server of scripted bytes, the transport under test."""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from gateway.domain.operations import Operation
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Call, Transport, TransportFailure, UpstreamRequest
from gateway.testing.scripted_server import Reply, ScriptedServer

LIMIT: Final = 4096  # bytes; the largest answer that the transports under test take


def call(seconds: float = 30.0, **options: Any) -> Call:
    """A call that may take so long."""
    return Call(deadline=time.monotonic() + seconds, **options)


def request(
    method: str = "GET", path: str = "/things", *, operation: Operation = Operation.GET, **options: Any
) -> UpstreamRequest:
    """A request as adapters make them."""
    return UpstreamRequest(operation, method, path, **options)


async def failure_of(transport: Transport, asked: UpstreamRequest, on: Call) -> TransportFailure:
    """The failure that a request ends with."""
    try:
        response = await transport.send(asked, on)
    except TransportFailure as failure:
        return failure
    raise AssertionError(f"it was answered with {response.status}")


class TransportSubject(ABC):
    """A transport under test, and servers for it.

    ``operation`` is that of the requests. A wrapper that sends some operations again is tested with another one.
    """

    operation: Operation = Operation.GET

    @abstractmethod
    def make_transport(self, settings: ProviderSettings) -> Transport:
        """The transport under test, over the system's clock."""

    def request(self, method: str = "GET", path: str = "/things", **options: Any) -> UpstreamRequest:
        """A request of :attr:`operation`."""
        return request(method, path, operation=self.operation, **options)

    @asynccontextmanager
    async def transport_to(self, url: str, **options: Any) -> AsyncIterator[Transport]:
        """A transport with a base URL of ``url``; it is closed at the end."""
        known = {"name": "under-test", "api": "test", "base_url": url, "token": "t", "max_response_bytes": LIMIT}
        transport = self.make_transport(ProviderSettings.model_validate({**known, **options}))
        try:
            yield transport
        finally:
            await transport.close()

    @asynccontextmanager
    async def scripted(self, *script: Reply, path: str = "") -> AsyncIterator[tuple[ScriptedServer, Transport]]:
        """A server that answers from a script, and a transport to it."""
        async with ScriptedServer(list(script)) as server, self.transport_to(server.url + path) as transport:
            yield server, transport
