"""One request and its response over a connection of aiohttp's pool, streaming both ways.

It does the HTTP part of ``ClientSession.request`` and nothing that a pass-through must not do: no redirects, no
cookies, no headers of its own. This halves the cost of a request, most of which was aiohttp's client.
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
    """The request to send. ``target`` is the encoded path and query, relative to the provider's base URL. ``headers``
    are all headers except those that frame the message. A ``body`` that is an iterator is streamed, with the
    ``Content-Length`` of ``headers`` if there is one, chunked otherwise."""

    method: str
    target: str
    headers: CIMultiDict[str] = field(repr=False)
    body: bytes | AsyncIterator[bytes] | None = field(default=None, repr=False)


@dataclass(slots=True)
class NativeResponse:
    """The head of a response, and its body as a stream. ``protocol`` is the connection, for a protocol upgrade."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str] = field(repr=False)
    content: aiohttp.StreamReader
    protocol: Any

    @property
    def length(self) -> int | None:
        """The declared length of the body in bytes; None if it is not declared."""
        declared = self.headers.get("Content-Length", "")
        return int(declared) if declared.isdecimal() else None


class Origin:
    """The address of one provider and the pool of connections to it. ``connect_timeout`` in seconds."""

    def __init__(self, base_url: str, connector: aiohttp.BaseConnector, connect_timeout: float) -> None:
        url = URL(base_url, encoded=True)
        self.prefix = url.raw_path.rstrip("/")
        self.host = url.host_port_subcomponent or ""
        self._connector = connector
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        # The pool requires a request object, of which it reads only the address.
        self._address = aiohttp.ClientRequest("GET", url.origin(), loop=asyncio.get_running_loop())

    async def connect(self) -> aiohttp.connector.Connection:
        """A connection of the pool, or a new one."""
        return await self._connector.connect(self._address, [], self._timeout)


class Exchange:
    """An async context manager around one request and the reading of its response. It has no total timeout: it ends
    when no byte was sent or received for some time.

    Raises :class:`TransportFailure` for any failure between the gateway and the provider, including one inside the
    block; its reason is ``cancelled`` after :meth:`stop`. ``finished`` is called with the outcome: a status, or the
    reason of the failure.
    """

    def __init__(
        self, finished: Callable[["Exchange", str], None], *, caller: str, until_response: float, between: float
    ) -> None:
        """``caller`` is the principal that sends it. ``until_response`` and ``between`` are the seconds without any
        byte in either direction after which it fails: before the response starts, and after that."""
        self.method = ""
        self._progress = Progress(caller=caller)
        self.response: NativeResponse | None = None
        self.stopped = False
        self._finished = finished
        self._limit = until_response
        self._between = between
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self._deadline = self._loop.time() + until_response
        self._timer: asyncio.TimerHandle | None = None
        self._connection: aiohttp.connector.Connection | None = None
        self._upload: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._timer = self._loop.call_at(self._deadline, self._check)
        return self

    @property
    def phase(self) -> Phase:
        """How far the request got."""
        return self._progress.phase

    async def send(self, request: NativeRequest, origin: Origin) -> NativeResponse:
        """Send the request, and return when the head of the response has arrived."""
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
        if self._timer is not None and self._deadline < self._timer.when():
            self._check()
        self.response = NativeResponse(message.code, message.reason, message.headers, content, protocol)
        return self.response

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
        """A byte was sent or received: restart the idle timeout."""
        self._deadline = self._loop.time() + self._limit

    def stop(self) -> None:
        """Abort the exchange at once, whatever it waits for."""
        if self._timer is not None:
            self.stopped = True
            self._deadline = 0
            self._check()

    def _check(self) -> None:
        # Bytes are frequent and silence is rare: the timer is not restarted with each chunk; it checks when it fires.
        now = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check)
        elif not self._timeout.expired():
            self._timeout.reschedule(now)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        failure = exc
        outcome = "cancelled"
        try:
            try:
                await self._close(complete=exc is None)
            finally:
                await self._timeout.__aexit__(kind, exc, traceback)
        except TimeoutError as timeout:
            failure = timeout
        finally:
            if failure is None and self.response is not None:
                outcome = str(self.response.status)
            elif isinstance(failure, _FAILURES) and not self.stopped:
                outcome = reason_of(failure)
            self._finished(self, outcome)
        if isinstance(failure, _FAILURES):
            raise TransportFailure(
                outcome, self.phase, status=self.response.status if self.response is not None else None
            ) from failure

    async def _close(self, *, complete: bool) -> None:
        """Release the connection, or close it: with an abort, unless the response is ``complete``."""
        upload, connection = self._upload, self._connection
        if upload is not None:
            # A response before the end of an upload is valid, but the connection cannot be reused.
            upload_complete = upload.done() and upload.exception() is None
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
        if connection is None:
            return
        if not complete and connection.transport is not None:
            connection.transport.abort()
        if not complete or (upload is not None and not upload_complete):
            connection.close()
        else:
            connection.release()  # which closes it if the response was not read to its end


async def _send_on(body: AsyncIterator[bytes], writer: StreamWriter) -> None:
    async for piece in body:
        await writer.write(piece)
    await writer.write_eof()
