"""Shared parts of the transport contract: requests, a scripted server, and the transport under test."""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from gateway.domain.values import Operation
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Call, Transport, TransportFailure, UpstreamRequest
from tests.scripted_server import Reply, ScriptedServer

LIMIT: Final = 4096  # bytes; the largest response that the transports under test accept


def call(seconds: float = 30.0, **options: Any) -> Call:
    """A call with a deadline in ``seconds``."""
    return Call(deadline=time.monotonic() + seconds, **options)


def request(
    method: str = "GET", path: str = "/things", *, operation: Operation = Operation.GET, **options: Any
) -> UpstreamRequest:
    """A request like those of adapters."""
    return UpstreamRequest(operation, method, path, **options)


async def failure_of(transport: Transport, asked: UpstreamRequest, on: Call) -> TransportFailure:
    """Send a request that must fail, and return the failure."""
    try:
        response = await transport.send(asked, on)
    except TransportFailure as failure:
        return failure
    raise AssertionError(f"the response was {response.status} instead of a failure")


class TransportSubject(ABC):
    """A transport under test, and servers for it.

    ``operation`` is the operation of the requests. A wrapper that retries some operations is tested with another one.
    """

    operation: Operation = Operation.GET

    @abstractmethod
    def make_transport(self, settings: ProviderSettings) -> Transport:
        """Create the transport under test, with the system's clock."""

    def request(self, method: str = "GET", path: str = "/things", **options: Any) -> UpstreamRequest:
        """A request of :attr:`operation`."""
        return request(method, path, operation=self.operation, **options)

    @asynccontextmanager
    async def transport_to(self, url: str, **options: Any) -> AsyncIterator[Transport]:
        """A transport whose base URL is ``url``. It is closed at the end."""
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
