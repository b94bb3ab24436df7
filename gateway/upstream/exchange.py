"""One request that is passed through and its response, streaming both ways, with a limit on silence instead of time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from multidict import CIMultiDict

from gateway.ports.transport import Phase, TransportFailure
from gateway.upstream.http1.connection import Http1Connection
from gateway.upstream.http1.faults import FAILURES, detail_of, reason_of
from gateway.upstream.http1.heads import head_of
from gateway.upstream.http1.origin import Origin
from gateway.upstream.http1.pool import Progress
from gateway.upstream.http1.response import IncomingResponse, OnInterim


@dataclass(slots=True)
class NativeRequest:
    """What goes out. ``target`` is path and query, encoded, below the provider's base URL. ``headers`` are all but
    those that frame the message. ``body`` as an iterator is sent as it comes; a ``Content-Length`` among the headers is
    kept then."""

    method: str
    target: str
    headers: CIMultiDict[str] = field(repr=False)
    body: bytes | AsyncIterator[bytes] | None = field(default=None, repr=False)


class Exchange:
    """An async context manager around one request and the reading of its response, alive as long as bytes move.

    Raises :class:`TransportFailure` for all that fails between the gateway and the provider, in the block too; its
    reason is ``cancelled`` after :meth:`stop`. ``finished`` is called at the end with the outcome (a status, or the
    reason). ``response`` is None until its head has arrived; ``connection`` is for what takes it over after a 101.
    ``on_interim``, if set, is called with each 1xx response before it.
    """

    def __init__(
        self, finished: Callable[["Exchange", str], None], *, caller: str, until_response: float, between: float
    ) -> None:
        """``caller`` is the principal who sends it. ``until_response``: seconds in which nothing may move before the
        response begins; ``between``: after that."""
        self.method = ""
        self.response: IncomingResponse | None = None
        self.connection: Http1Connection | None = None
        self.stopped = False
        self.on_interim: OnInterim | None = None
        self._progress = Progress(caller=caller)
        self._finished = finished
        self._limit = until_response
        self._between = between
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self._deadline = self._loop.time() + until_response
        self._alarm: asyncio.TimerHandle | None = None
        self._origin: Origin | None = None
        self._upload: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._alarm = self._loop.call_at(self._deadline, self._check)
        return self

    @property
    def phase(self) -> Phase:
        """How far the request got."""
        return self._progress.phase

    async def send(self, request: NativeRequest, origin: Origin) -> IncomingResponse:
        """Send, and return the response when its head has arrived. Each 1xx before it counts as movement."""
        self.method, self._origin = request.method, origin
        head = self._head(request, origin)
        self.connection = connection = await origin.pool.acquire(self._progress)
        response = connection.start(request.method)
        response.on_interim = self._interim
        body = request.body
        if body is None or isinstance(body, bytes):
            connection.write(head + (body or b""))
        else:
            connection.write(head)
            chunked = "Content-Length" not in request.headers
            self._upload = asyncio.create_task(connection.upload(body, chunked=chunked))
        await response.head()
        self._progress.phase = Phase.ANSWERED
        self._limit = self._between
        self.moved()
        if self._alarm is not None and self._deadline < self._alarm.when():
            self._check()
        self.response = response
        return response

    def _interim(self, status: int, reason: str, headers: CIMultiDict[str]) -> None:
        self.moved()
        if self.on_interim is not None:
            self.on_interim(status, reason, headers)

    def _head(self, request: NativeRequest, origin: Origin) -> bytes:
        headers, body = request.headers, request.body
        headers["Host"] = origin.host
        if isinstance(body, bytes):
            headers["Content-Length"] = str(len(body))
        elif body is None:
            if request.method in {"POST", "PUT", "PATCH"}:
                headers["Content-Length"] = "0"
        elif "Content-Length" not in headers:
            headers["Transfer-Encoding"] = "chunked"
        target = origin.prefix + request.target
        return head_of(request.method, target if target.startswith("/") else "/" + target, headers.items())

    @property
    def expired(self) -> bool:
        """Whether nothing moved for too long."""
        return self._timeout.expired()

    def moved(self) -> None:
        """Something passed, in either direction: the time without movement starts again."""
        self._deadline = self._loop.time() + self._limit

    def stop(self) -> None:
        """Give the request up at once, whatever it waits for."""
        if self._alarm is not None:
            self.stopped = True
            self._deadline = 0
            self._check()

    def _check(self) -> None:
        # Bytes move often and silence is rare, so the alarm is not set again with every piece; it checks when it rings.
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
            if failure is None and self.response is not None:
                outcome = str(self.response.status)
            elif isinstance(failure, FAILURES) and not self.stopped:
                outcome = reason_of(failure)
            self._finished(self, outcome)
        if isinstance(failure, FAILURES):
            status = self.response.status if self.response is not None else None
            raise TransportFailure(outcome, self.phase, status=status, detail=detail_of(failure)) from failure

    async def _close(self, *, whole: bool) -> None:
        """Return the connection to the pool, which closes it unless request and response have ended."""
        upload, connection, origin = self._upload, self.connection, self._origin
        if upload is not None:
            whole = whole and upload.done() and not upload.cancelled() and upload.exception() is None
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
        if connection is None or origin is None:
            return
        if not whole:  # after a response that came before the end of the request, nothing can follow
            connection.abort()
        origin.pool.release(connection)
