"""The phase of a failure is what the server saw, whatever is raised where (docs/fault-cases.md#fault-5).

The phase decides whether a create may be sent again, so it must not be guessed from the class of an exception: most of
them are raised before a request was sent as well as after.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock, patch

import pytest

from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Phase
from gateway.upstream.http1.pool import ConnectionPool, DirectConnector
from gateway.upstream.http1.response import Fault, IncomingResponse
from gateway.upstream.transport import HttpTransport
from tests.contract.transport.subject import call, failure_of, request
from tests.scripted_server import HANG, ScriptedServer, Then, reply

_FAULTS = ("disconnected", "unreadable", "cut_short", "too_large", "headers_too_large", "timeout")


def every_exception() -> list[BaseException]:
    """All that a request can end with: the client's own faults, and what the operating system and TLS report."""
    return [
        *(Fault(reason, "made up") for reason in _FAULTS),
        TimeoutError(),
        ConnectionRefusedError(111, "Connection refused"),
        ConnectionResetError(104, "Connection reset by peer"),
        ConnectionAbortedError(103, "Software caused connection abort"),
        BrokenPipeError(32, "Broken pipe"),
        ssl.SSLError(1, "bad handshake"),
        ssl.SSLCertVerificationError(1, "certificate verify failed"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        OSError(113, "No route to host"),
        OSError(24, "Too many open files"),
        ValueError("a header has a line break"),
    ]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request fails, the phase that this is, and what the server has seen of it by then."""

    phase: Phase
    received: int
    connected: int
    failing: Callable[[ScriptedServer, BaseException], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _pool_wait(_: ScriptedServer, exc: BaseException) -> AsyncIterator[None]:
    async def full(pool: ConnectionPool) -> None:
        raise exc

    with patch.object(ConnectionPool, "_wait_for_slot", full), patch.object(ConnectionPool, "is_full", True):
        yield


@asynccontextmanager
async def _connecting(_: ScriptedServer, exc: BaseException) -> AsyncIterator[None]:
    with patch.object(DirectConnector, "__call__", Mock(side_effect=exc)):
        yield


@asynccontextmanager
async def _tls(server: ScriptedServer, exc: BaseException) -> AsyncIterator[None]:
    async def shake_hands(*_args: Any, **_options: Any) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        await server.watch.until(lambda: server.connections > 0)
        writer.close()
        raise exc

    with patch.object(DirectConnector, "__call__", shake_hands):
        yield


@asynccontextmanager
async def _sent(server: ScriptedServer, exc: BaseException) -> AsyncIterator[None]:
    async def wait(_: IncomingResponse) -> None:
        await server.until_received(1)
        raise exc

    server.script.append(HANG)
    with patch.object(IncomingResponse, "_wait", wait):
        yield


@asynccontextmanager
async def _headers_seen(server: ScriptedServer, exc: BaseException) -> AsyncIterator[None]:
    feed_head = IncomingResponse.feed_head

    def fed(response: IncomingResponse, *head: Any) -> None:
        feed_head(response, *head)
        response.fail(exc)

    server.script.append(reply({"half": "an answer"}, length=1000, then=Then.HANG))
    with patch.object(IncomingResponse, "feed_head", fed):
        yield


PLACES = {
    "waiting for the pool": Place(Phase.QUEUED, received=0, connected=0, failing=_pool_wait),
    "connecting": Place(Phase.CONNECTING, received=0, connected=0, failing=_connecting),
    "TLS": Place(Phase.CONNECTING, received=0, connected=1, failing=_tls),
    "sent": Place(Phase.SENT, received=1, connected=1, failing=_sent),
    "headers seen": Place(Phase.ANSWERED, received=1, connected=1, failing=_headers_seen),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
async def test_the_phase_is_what_the_server_saw_whatever_was_raised(place: Place) -> None:
    raised = every_exception()
    for exc in raised:
        async with ScriptedServer() as server, HttpTransport(_settings(server.url)) as transport:
            on = call()
            async with place.failing(server, exc):
                failure = await failure_of(transport, request("POST", body=b"{}"), on)
            seen = (len(server.received), server.connections)
        assert (failure.phase, seen) == (place.phase, (place.received, place.connected)), repr(exc)
        assert failure.status == (200 if place.phase is Phase.ANSWERED else None)
        assert [attempt.phase for attempt in on.attempts] == [place.phase]


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
async def test_a_cancelled_call_records_the_phase_that_the_server_saw(place: Place) -> None:
    async with ScriptedServer() as server, HttpTransport(_settings(server.url)) as transport:
        on = call()
        async with place.failing(server, asyncio.CancelledError()):
            with pytest.raises(asyncio.CancelledError):
                await transport.send(request("POST", body=b"{}"), on)
    assert [attempt.phase for attempt in on.attempts] == [place.phase]


def _settings(url: str) -> ProviderSettings:
    return ProviderSettings.model_validate({"name": "p", "api": "test", "base_url": url, "token": "t"})
