"""One HTTP/1.1 response as it arrives: the head, then the body in pieces, bounded by flow control."""

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from multidict import CIMultiDict, istr

from gateway.upstream.http1.faults import Fault

if TYPE_CHECKING:
    from gateway.upstream.http1.connection import Http1Connection

HIGH_WATER: Final = 1 << 16
"""Bytes of a streamed body that wait to be read before the connection stops reading from its socket."""

OnInterim = Callable[[int, str, CIMultiDict[str]], None]
"""Takes the status, reason and headers of a 1xx response."""

_KEEP_ALIVE: Final = istr("Keep-Alive")
_CONTENT_ENCODING: Final = istr("Content-Encoding")
_TIMEOUT: Final = re.compile(r"(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,6})", re.IGNORECASE)

_DECODERS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Window bits of zlib by content coding. 47 detects zlib's own format; raw deflate is tried when that fails."""


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bounds on the head of a response: ``max_bytes`` of all header lines together, ``max_headers`` of them."""

    max_bytes: int
    max_headers: int


def is_chunked(lines: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether ``chunked`` is the only transfer coding. The parser must agree, which does not know a tab after it."""
    codings = [value for name, value in lines if name.rstrip(b" \t").lower() == b"transfer-encoding"]
    return len(codings) == 1 and codings[0].strip(b" ").lower() == b"chunked"


def keep_alive_of(headers: CIMultiDict[str]) -> float | None:
    """The seconds of ``Keep-Alive: timeout=…``."""
    sent = headers.get(_KEEP_ALIVE)
    found = None if sent is None else _TIMEOUT.search(sent)
    return float(found[1]) if found else None


@dataclass(slots=True, eq=False, repr=False)
class IncomingResponse:
    """A response, written by its connection and read by one task: in pieces, or by :meth:`end` and :meth:`body` if
    ``most`` is set, the maximum size of its body.

    ``status`` is 0 until the head has arrived, and ``headers`` are set with it. ``complete``: the body has ended.
    """

    _connection: "Http1Connection"
    most: int = 0
    status: int = 0
    reason: str = ""
    headers: CIMultiDict[str] = field(init=False)
    complete: bool = False
    is_paused: bool = False
    on_interim: OnInterim | None = None
    _pieces: list[bytes] = field(default_factory=list)
    _buffered: int = 0
    _error: BaseException | None = None
    _waiter: asyncio.Future[None] | None = None

    @property
    def is_woken(self) -> bool:
        """Whether the task that waits for it has been woken, but has not run yet."""
        return self._waiter is not None and self._waiter.done()

    # ---- written by the connection

    def feed_head(self, status: int, reason: str, headers: CIMultiDict[str]) -> None:
        """The final head has arrived."""
        self.status, self.reason, self.headers = status, reason, headers
        if not self.most:
            self._wake()
        elif status == 101:  # what follows is another protocol
            self.finish()

    def feed(self, piece: bytes) -> None:
        """A piece of the body has arrived."""
        self._pieces.append(piece)
        self._buffered += len(piece)
        if self.most:
            if self._buffered > self.most:
                self.fail(Fault("too_large", f"The body is longer than {self.most} bytes."))
            return
        if self._buffered > HIGH_WATER and not self.is_paused:
            self.is_paused = True
            self._connection.pause_reading()
        self._wake()

    def finish(self) -> None:
        """The body has ended."""
        self.complete = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """The rest will not arrive. What has arrived of a streamed body can still be read."""
        if not self.complete and self._error is None:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # ---- read by one task

    async def head(self) -> None:
        """Return when ``status`` and ``headers`` are set. Raises what :meth:`fail` was given."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()
            self._waiter = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will arrive."""
        return self.complete or self._error is not None

    def end(self) -> asyncio.Future[None]:
        """Await this to let the response end, and then call :meth:`body`. Only with ``most``."""
        return self._wait()

    def body(self) -> bytes:
        """The whole body of a response that has ended, decoded if it has a content coding. Raises what :meth:`fail` was
        given, and :class:`Fault` (``too_large``, ``unreadable``, ``cut_short``) for one that cannot be decoded to at
        most ``most`` bytes."""
        self._waiter = None
        if self._error is not None:
            raise self._error
        body = self.read()
        coding = self.headers.get(_CONTENT_ENCODING)
        return body if coding is None or not body else _decoded(body, coding.strip().lower(), self.most)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives, not decoded. Raises what :meth:`fail` was given, after what had arrived."""
        while True:
            if self._pieces:
                yield self.read()
            elif self._error is not None:
                raise self._error
            elif self.complete:
                return
            else:
                await self._wait()
                self._waiter = None

    def read(self) -> bytes:
        """What has arrived of the body and was not read yet, without waiting."""
        if self.is_paused:
            self.is_paused = False
            self._connection.resume_reading()
        pieces, self._pieces, self._buffered = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _wait(self) -> asyncio.Future[None]:
        """Await this, and then set ``_waiter`` to None: the task has run."""
        self._waiter = self._connection.loop.create_future()
        return self._waiter


def _decoded(body: bytes, coding: str, most: int) -> bytes:
    if coding == "identity":
        return body
    if coding not in _DECODERS:
        raise Fault("unreadable", f"The content coding {coding[:40]!r} was not asked for.")
    try:
        return _inflate(body, _DECODERS[coding], most)
    except zlib.error as exc:
        if coding == "deflate":
            try:
                return _inflate(body, -zlib.MAX_WBITS, most)
            except zlib.error:
                pass
        raise Fault("unreadable", f"The body is not valid {coding}.") from exc


def _inflate(body: bytes, window_bits: int, most: int) -> bytes:
    decoded = bytearray()
    while True:
        decoder = zlib.decompressobj(window_bits)
        decoded += decoder.decompress(body, most + 1 - len(decoded))
        if len(decoded) > most:
            raise Fault("too_large", f"The decoded body is longer than {most} bytes.")
        if not decoder.eof:
            raise Fault("cut_short", "The compressed body ends early.")
        body = decoder.unused_data  # another member (RFC 1952, 2.2), padding, or an error
        if not body.strip(b"\0"):
            return bytes(decoded)
