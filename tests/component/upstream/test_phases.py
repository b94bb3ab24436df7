"""For every exception of the client, wherever it is raised, the phase matches what the server saw
(``docs/fault-cases.md#fault-5``).

The phase decides whether a create may be sent again, so it must not be guessed from the class of an exception: most of
them are raised before a request was sent as well as after.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock, patch

import aiohttp
import pytest
from aiohttp import client_exceptions, http_exceptions
from aiohttp.http import HttpProcessingError

from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Phase
from gateway.testing.scripted_server import HANG, ScriptedServer, Then, reply
from gateway.testing.transport_subject import call, failure_of, request
from gateway.upstream.transport import AiohttpTransport

_REFUSED = ConnectionRefusedError(111, "Connection refused")
_CERTIFICATE = ssl.SSLCertVerificationError(1, "certificate verify failed")
_REQUEST_INFO = Mock()

_MADE_WITH: tuple[tuple[type[BaseException], tuple[Any, ...]], ...] = (
    (client_exceptions.UnixClientConnectorError, ("/socket", None, _REFUSED)),
    (aiohttp.ClientConnectorCertificateError, (Mock(), _CERTIFICATE)),
    (aiohttp.ClientConnectorError, (Mock(), _REFUSED)),
    (aiohttp.ClientResponseError, (_REQUEST_INFO, ())),
    (aiohttp.ServerFingerprintMismatch, (b"a", b"b", "host", 1)),
    (aiohttp.InvalidURL, ("http://",)),
    (aiohttp.ClientOSError, (104, "Connection reset by peer")),
    (http_exceptions.LineTooLong, (b"line", 1)),
    (http_exceptions.InvalidHeader, (b"header",)),
    (http_exceptions.BadHttpMethod, ("METHOD",)),
    (http_exceptions.BadHttpMessage, ("message",)),
)


def _below(cls: type[BaseException]) -> Iterator[type[BaseException]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _below(sub)


def _made(cls: type[BaseException]) -> BaseException:
    for base, arguments in _MADE_WITH:
        if issubclass(cls, base):
            return cls(*arguments)
    return cls()


def every_exception() -> list[BaseException]:
    """All exceptions that a request can end with, including those of later versions of aiohttp."""
    classes = {*_below(aiohttp.ClientError), *_below(HttpProcessingError)}
    classes = {cls for cls in classes if cls.__module__.startswith("aiohttp")}
    system = [
        TimeoutError(),
        _REFUSED,
        ConnectionResetError(104, "Connection reset by peer"),
        BrokenPipeError(32, "Broken pipe"),
        ssl.SSLError(1, "bad handshake"),
        _CERTIFICATE,
        OSError(113, "No route to host"),
    ]
    return [*(_made(cls) for cls in sorted(classes, key=lambda cls: cls.__name__)), *system]


@dataclass(frozen=True, slots=True)
class FailurePoint:
    """Where a request fails, the phase of that point, and what the server has seen by then."""

    phase: Phase
    heard: int
    connected: int
    failing: Callable[[ScriptedServer, BaseException], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _pool_wait(_: ScriptedServer, exc: BaseException) -> AsyncIterator[None]:
    with (
        patch.object(aiohttp.TCPConnector, "_available_connections", Mock(return_value=0)),
        patch.object(aiohttp.TCPConnector, "_wait_for_available_connection", Mock(side_effect=exc)),
    ):
        yield


@asynccontextmanager
async def _connecting(_: ScriptedServer, exc: BaseException) -> AsyncIterator[None]:
    with patch.object(aiohttp.TCPConnector, "_wrap_create_connection", Mock(side_effect=exc)):
        yield


@asynccontextmanager
async def _tls(server: ScriptedServer, exc: BaseException) -> AsyncIterator[None]:
    async def shake_hands(*_args: Any, **_options: Any) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        await server.watch.until(lambda: server.connections > 0)
        writer.close()
        raise exc

    with patch.object(aiohttp.TCPConnector, "_wrap_create_connection", shake_hands):
        yield


@asynccontextmanager
async def _sent(server: ScriptedServer, exc: BaseException) -> AsyncIterator[None]:
    async def read(_: Any) -> None:
        await server.until_heard(1)
        raise exc

    server.script.append(HANG)
    with patch("aiohttp.client_proto.ResponseHandler.read", read):
        yield


@asynccontextmanager
async def _headers_seen(server: ScriptedServer, exc: BaseException) -> AsyncIterator[None]:
    server.script.append(reply({"half": "an answer"}, length=1000, then=Then.HANG))
    with patch.object(aiohttp.StreamReader, "read", Mock(side_effect=exc)):
        yield


FAILURE_POINTS = {
    "waiting for the pool": FailurePoint(Phase.QUEUED, heard=0, connected=0, failing=_pool_wait),
    "connecting": FailurePoint(Phase.CONNECTING, heard=0, connected=0, failing=_connecting),
    "TLS": FailurePoint(Phase.CONNECTING, heard=0, connected=1, failing=_tls),
    "sent": FailurePoint(Phase.SENT, heard=1, connected=1, failing=_sent),
    "headers seen": FailurePoint(Phase.ANSWERED, heard=1, connected=1, failing=_headers_seen),
}


@pytest.mark.parametrize("place", FAILURE_POINTS.values(), ids=FAILURE_POINTS.keys())
async def test_the_phase_matches_what_the_server_saw_for_every_exception(place: FailurePoint) -> None:
    raised = every_exception()
    assert len(raised) > 40
    for exc in raised:
        async with ScriptedServer() as server, AiohttpTransport(_settings(server.url)) as transport:
            on = call()
            async with place.failing(server, exc):
                failure = await failure_of(transport, request("POST", body=b"{}"), on)
            seen = (len(server.heard), server.connections)
        assert (failure.phase, seen) == (place.phase, (place.heard, place.connected)), repr(exc)
        assert failure.status == (200 if place.phase is Phase.ANSWERED else None)
        assert [attempt.phase for attempt in on.attempts] == [place.phase]


@pytest.mark.parametrize("place", FAILURE_POINTS.values(), ids=FAILURE_POINTS.keys())
async def test_a_cancelled_call_records_the_same_phase(place: FailurePoint) -> None:
    async with ScriptedServer() as server, AiohttpTransport(_settings(server.url)) as transport:
        on = call()
        async with place.failing(server, asyncio.CancelledError()):
            with pytest.raises(asyncio.CancelledError):
                await transport.send(request("POST", body=b"{}"), on)
    assert [attempt.phase for attempt in on.attempts] == [place.phase]


def _settings(url: str) -> ProviderSettings:
    return ProviderSettings.model_validate({"name": "p", "api": "test", "base_url": url, "token": "t"})
