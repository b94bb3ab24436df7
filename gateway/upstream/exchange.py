"""One request that is passed through and its response, streaming both ways, with a limit on silence instead of time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from multidict import CIMultiDict

from gateway.ports.transport import Phase, TransportFailure
from gateway.upstream.deadlines import Deadlines
from gateway.upstream.http1.connection import Http1Connection
from gateway.upstream.http1.faults import FAILURES, detail_of, reason_of
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
        self,
        finished: Callable[["Exchange", str], None],
        deadlines: Deadlines,
        *,
        caller: str,
        until_response: float,
        between: float,
    ) -> None:
        """``caller`` is the principal who sends it. ``until_response``: seconds in which nothing may move before the
        response begins; ``between``: after that."""
        self.method = ""
        self.response: IncomingResponse | None = None
        self.connection: Http1Connection | None = None
        self.stopped = False
        self.on_interim: OnInterim | None = None
        self._progress = Progress(caller)
        self._finished = finished
        self._limit = until_response
        self._between = between
        self._wait = deadlines.within(until_response)
        self._wait.may_continue = self._progress.is_woken
        self._origin: Origin | None = None
        self._upload: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._wait.__enter__()
        return self

    @property
    def phase(self) -> Phase:
        """How far the request got."""
        return self._progress.phase

    async def send(self, request: NativeRequest, origin: Origin) -> IncomingResponse:
        """Send, and return the response when its head has arrived. Each 1xx before it counts as movement."""
        self.method, self._origin, body = request.method, origin, request.body
        is_streamed = body is not None and not isinstance(body, bytes)
        is_chunked = is_streamed and "Content-Length" not in request.headers
        if is_chunked:
            request.headers["Transfer-Encoding"] = "chunked"
        elif not is_streamed:
            request.headers.popall("Content-Length", None)  # the head gets it
        length = len(body) if isinstance(body, bytes) else None if is_streamed else 0
        head = origin.head(request.method, request.target, origin.lines(request.headers.items()), length)
        self.connection = connection = origin.pool.take(self._progress) or await origin.pool.acquire(self._progress)
        self._progress.response = response = connection.start(request.method)
        response.on_interim = self._interim
        if body is None or isinstance(body, bytes):
            connection.write(head + (body or b""))
        else:
            connection.write(head)
            self._upload = asyncio.create_task(connection.upload(body, chunked=is_chunked))
        await response.head()
        self.response = response
        self._limit = self._between
        self.moved()
        return response

    def _interim(self, status: int, reason: str, headers: CIMultiDict[str]) -> None:
        self.moved()
        if self.on_interim is not None:
            self.on_interim(status, reason, headers)

    @property
    def expired(self) -> bool:
        """Whether nothing moved for too long."""
        return self._wait.expired

    def moved(self) -> None:
        """Something passed, in either direction: the time without movement starts again."""
        self._wait.move(self._limit)

    def stop(self) -> None:
        """Give the request up at once, whatever it waits for."""
        self.stopped = True
        self._wait.expire()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failure, stopped, outcome = exc, self.stopped, "cancelled"
        try:
            try:
                self._wait.__exit__(kind, exc, traceback)
            finally:
                whole = exc is None
                if self._upload is not None:
                    whole = await _has_ended(self._upload) and whole
                self._close(whole=whole)
        except TimeoutError as timeout:
            failure = timeout
        finally:
            if failure is None and self.response is not None:
                outcome = str(self.response.status)
            elif isinstance(failure, FAILURES) and not stopped:
                outcome = reason_of(failure)
            self._finished(self, outcome)
        if isinstance(failure, FAILURES):
            raise TransportFailure(
                outcome, self.phase, status=self._progress.status, detail=detail_of(failure)
            ) from failure

    def _close(self, *, whole: bool) -> None:
        """Return the connection to the pool, which closes it unless request and response have ended."""
        connection, origin = self.connection, self._origin
        if connection is None or origin is None:
            return
        if not whole:  # after a response that came before the end of the request, nothing can follow
            connection.abort()
        origin.pool.release(connection)


async def _has_ended(upload: "asyncio.Task[None]") -> bool:
    """End an upload, and return whether it was complete."""
    whole = upload.done() and not upload.cancelled() and upload.exception() is None
    upload.cancel()
    await asyncio.gather(upload, return_exceptions=True)
    return whole
