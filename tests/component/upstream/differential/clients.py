"""The two clients, and the server whose generated responses they read."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, cast

from aiohttp import (
    ClientConnectionError,
    ClientPayloadError,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from multidict import CIMultiDict

from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import TransportFailure
from gateway.upstream.exchange import Exchange, NativeRequest
from gateway.upstream.http1.origin import Origin
from gateway.upstream.transport import HttpTransport
from tests.component.upstream.differential.generated import Generated
from tests.contract.transport.subject import call, request


@dataclass(frozen=True, slots=True)
class Result:
    """What a client made of a response: ``error`` is a reason of ``TransportFailure``, empty if there was none."""

    error: str = ""
    status: int = 0
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


MAY_HANG: Final = frozenset({"broken coding", "bad chunks", "bad framing", "flipped", "cut"})
"""Features of responses whose end aiohttp does not always notice."""


class Server(asyncio.Protocol):
    """One connection. The target of a request is the number of its response in ``responses``."""

    def __init__(self, responses: dict[int, Generated]) -> None:
        self._responses = responses
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, _ = self._received.partition(b"\r\n\r\n")
        if end:
            self._received = b""
            response = self._responses.get(int(head.split(b" ", 2)[1].rpartition(b"/")[2]))
            if response is None:  # the client has stopped waiting before it was connected
                self._transport.close()
                return
            self._write(list(reversed(response.pieces)), closes=response.closes)

    def _write(self, pieces: list[bytes], *, closes: bool) -> None:
        if self._transport.is_closing():
            return  # the client has refused the beginning
        if pieces:
            self._transport.write(pieces.pop())
        if pieces:
            # Two turns of the event loop, so that the client reads a piece before the next one is written.
            soon = asyncio.get_running_loop().call_soon
            soon(lambda: soon(lambda: self._write(pieces, closes=closes)))
        elif closes:
            self._transport.close()


class Ours:
    """The gateway's client, through its two users."""

    def __init__(self, url: str) -> None:
        settings = ProviderSettings.model_validate({"name": "p", "api": "test", "base_url": url, "token": "t"})
        self._transport = HttpTransport(settings)
        self._origin = Origin(settings, limit=100)

    async def read(self, sent: Generated) -> Result:
        caller = str(sent.number) if sent.closes else ""  # its connection serves no other request
        try:
            if sent.decodes:
                response = await self._transport.send(request(sent.method, f"/{sent.number}"), call(caller=caller))
                # (An adapter does not see the reason.)
                return Result("", response.status, "", _shown(response.headers), response.body)
            return await self._streamed(sent, caller)
        except TransportFailure as failure:
            return Result(failure.reason)

    async def _streamed(self, sent: Generated, caller: str) -> Result:
        exchange = Exchange(lambda *_: None, self._origin.deadlines, caller=caller, until_response=30, between=30)
        outgoing = NativeRequest(sent.method, f"/{sent.number}", CIMultiDict())
        async with exchange:
            response = await exchange.send(outgoing, self._origin)
            body = b"".join([piece async for piece in response.pieces()])
            return Result("", response.status, response.reason, _shown(response.headers), body)

    async def close(self) -> None:
        await self._transport.close()
        await self._origin.pool.close()


class Theirs:
    """aiohttp's client, for each use with and without decoding, and with and without keeping connections."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._sessions = {
            (decodes, closes): ClientSession(
                connector=TCPConnector(limit=0, force_close=closes),
                cookie_jar=DummyCookieJar(),
                auto_decompress=decodes,
                max_field_size=1 << 16,
                max_line_size=1 << 16,
            )
            for decodes in (True, False)
            for closes in (True, False)
        }

    async def read(self, sent: Generated, seconds: float) -> Result:
        session = self._sessions[sent.decodes, sent.closes]
        try:
            async with session.request(
                sent.method, f"{self._url}/{sent.number}", allow_redirects=False, timeout=ClientTimeout(total=seconds)
            ) as response:
                body = await response.read()
                raw = (response.reason or "").encode("utf-8", "surrogateescape")
                reason = "" if sent.decodes else raw.decode("latin-1")
                return Result("", response.status, reason, _shown(response.headers), body)
        except ClientPayloadError as exc:
            return Result("cut_short" if "Not enough data" in _causes(exc) else "unreadable")
        except ClientResponseError:
            return Result("unreadable")
        except ClientConnectionError:
            return Result("disconnected")
        except TimeoutError:
            return Result("timeout")

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()


def _causes(exc: BaseException | None) -> str:
    shown = ""
    while exc is not None:
        shown += f"{exc!r} "
        exc = exc.__cause__
    return shown


def _shown(headers: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in headers.items())
