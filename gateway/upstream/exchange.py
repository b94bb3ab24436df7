"""One request and its answer over a connection of aiohttp's pool, streaming both ways.

It does what ``ClientSession.request`` does of HTTP, and none of what a pass-through must not do: no redirect, no
cookie, no header of its own accord. That halves the price of a request, of which the client was the larger part.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.ports.transport import Phase, TransportFailure
from gateway.upstream.connections import PROGRESS, Progress, reason_of

_READ_BYTES: Final = 1 << 16
_FAILURES: Final = (TimeoutError, aiohttp.ClientError, HttpProcessingError, OSError, TransportFailure)


@dataclass(slots=True)
class NativeRequest:
    """What goes out. ``target`` is path and query, encoded already, below the provider's base URL. ``headers`` are all
    but those that frame the message. ``body`` as an iterator is sent as it comes; where ``headers`` have a
    ``Content-Length``, it is kept."""

    method: str
    target: str
    headers: CIMultiDict[str] = field(repr=False)
    body: bytes | AsyncIterator[bytes] | None = field(default=None, repr=False)


@dataclass(slots=True)
class NativeAnswer:
    """The head of an answer, and its body as it comes. ``protocol`` is the connection, for what takes it over."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str] = field(repr=False)
    content: aiohttp.StreamReader
    protocol: Any

    @property
    def length(self) -> int | None:
        """The declared length of the body."""
        declared = self.headers.get("Content-Length", "")
        return int(declared) if declared.isdecimal() else None


class Origin:
    """Where the requests of one provider go, and the pool of connections to it. ``connect_timeout`` in seconds."""

    def __init__(self, base_url: str, connector: aiohttp.BaseConnector, connect_timeout: float) -> None:
        url = URL(base_url, encoded=True)
        self.prefix = url.raw_path.rstrip("/")
        self.host = url.host_port_subcomponent or ""
        self._connector = connector
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        # The pool wants to be asked with a request; it reads nothing of it but the address.
        self._address = aiohttp.ClientRequest("GET", url.origin(), loop=asyncio.get_running_loop())

    async def connect(self) -> aiohttp.connector.Connection:
        """A connection of the pool, or a new one."""
        return await self._connector.connect(self._address, [], self._timeout)


class Exchange:
    """An async context manager around one request and the reading of its answer, alive for as long as bytes move.

    Raises :class:`TransportFailure` for all that fails between the gateway and the provider, in the block as well; its
    reason is ``cancelled`` after :meth:`stop`. ``finished`` hears of the outcome (a status, or the reason).
    """

    def __init__(
        self, finished: Callable[["Exchange", str], None], *, caller: str, until_answer: float, between: float
    ) -> None:
        """``caller`` is the principal who sends it. ``until_answer``: seconds in which nothing may move before the
        answer begins; ``between``: after that."""
        self.method = ""
        self._progress = Progress(caller=caller)
        self.answer: NativeAnswer | None = None
        self.stopped = False
        self._finished = finished
        self._limit = until_answer
        self._between = between
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self._deadline = self._loop.time() + until_answer
        self._alarm: asyncio.TimerHandle | None = None
        self._connection: aiohttp.connector.Connection | None = None
        self._upload: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._alarm = self._loop.call_at(self._deadline, self._check)
        return self

    @property
    def phase(self) -> Phase:
        """How far the request got."""
        return self._progress.phase

    async def send(self, request: NativeRequest, origin: Origin) -> NativeAnswer:
        """Send, and return when the head of the answer is there."""
        self.method = request.method
        PROGRESS.set(self._progress)
        self._connection = connection = await origin.connect()
        protocol: Any = connection.protocol
        protocol.set_response_params(
            skip_payload=request.method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=None,
            read_bufsize=_READ_BYTES,
        )
        await self._write(request, origin, protocol)
        while True:
            message, content = await protocol.read()
            if message.code >= 200 or message.code == 101:
                break
        self._progress.phase = Phase.ANSWERED
        self._limit = self._between
        self.moved()
        if self._alarm is not None and self._deadline < self._alarm.when():
            self._check()
        self.answer = NativeAnswer(message.code, message.reason, message.headers, content, protocol)
        return self.answer

    async def _write(self, request: NativeRequest, origin: Origin, protocol: Any) -> None:
        writer, headers, body = StreamWriter(protocol, self._loop), request.headers, request.body
        headers["Host"] = origin.host
        if isinstance(body, bytes):
            headers["Content-Length"] = str(len(body))
        elif body is None:
            if request.method in {"POST", "PUT", "PATCH"}:
                headers["Content-Length"] = "0"
        elif "Content-Length" in headers:
            writer.length = int(headers["Content-Length"])
        else:
            headers["Transfer-Encoding"] = "chunked"
            writer.enable_chunking()
        target = origin.prefix + request.target
        if not target.startswith("/"):
            target = "/" + target
        await writer.write_headers(f"{request.method} {target} HTTP/1.1", headers)
        if body is None:
            writer.set_eof()
        elif isinstance(body, bytes):
            await writer.write_eof(body)
        else:
            self._upload = asyncio.create_task(_send_on(body, writer))

    def moved(self) -> None:
        """Something passed, in either direction: the time without anything begins anew."""
        self._deadline = self._loop.time() + self._limit

    def stop(self) -> None:
        """Give the provider up at once, whatever the exchange waits for."""
        if self._alarm is not None:
            self.stopped = True
            self._deadline = 0
            self._check()

    def _check(self) -> None:
        # Moving is frequent and silence rare: so the alarm is not set anew with every piece, but looks when it rings.
        now = self._loop.time()
        if self._alarm is not None:
            self._alarm.cancel()
        if now < self._deadline:
            self._alarm = self._loop.call_at(self._deadline, self._check)
        elif not self._timeout.expired():
            self._timeout.reschedule(now)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        failure = exc
        outcome = "cancelled"
        try:
            try:
                await self._close(whole=exc is None)
            finally:
                await self._timeout.__aexit__(kind, exc, traceback)
        except TimeoutError as timeout:
            failure = timeout
        finally:
            if failure is None and self.answer is not None:
                outcome = str(self.answer.status)
            elif isinstance(failure, _FAILURES) and not self.stopped:
                outcome = reason_of(failure)
            self._finished(self, outcome)
        if isinstance(failure, _FAILURES):
            raise TransportFailure(
                outcome, self.phase, status=self.answer.status if self.answer is not None else None
            ) from failure

    async def _close(self, *, whole: bool) -> None:
        """Give the connection back, or close it: at once, unless the answer is ``whole``."""
        upload, connection = self._upload, self._connection
        if upload is not None:
            # An answer before the end of an upload is fine, but nothing else can follow on this connection.
            whole_upload = upload.done() and upload.exception() is None
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
        if connection is None:
            return
        if not whole and connection.transport is not None:
            connection.transport.abort()
        if not whole or (upload is not None and not whole_upload):
            connection.close()
        else:
            connection.release()  # which closes it if the answer was not read to its end


async def _send_on(body: AsyncIterator[bytes], writer: StreamWriter) -> None:
    async for piece in body:
        await writer.write(piece)
    await writer.write_eof()
