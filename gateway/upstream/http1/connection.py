"""One connection to a provider: a request is written, and everything that arrives is parsed as its response."""

import asyncio
import contextlib
import os
import select
import socket
import time
from collections.abc import AsyncIterator
from functools import lru_cache
from itertools import chain
from typing import Final, cast

import httptools
from multidict import CIMultiDict, istr

from gateway.upstream.http1.faults import Fault
from gateway.upstream.http1.response import HeadLimits, IncomingResponse, is_chunked, keep_alive_of

_TRANSFER_ENCODING: Final = istr("Transfer-Encoding")
_CONTENT_LENGTH: Final = istr("Content-Length")
_READ_BYTES: Final = 1 << 16
_NO_BODY: Final = frozenset({204, 304})
MAX_INTERIM: Final = 1000
"""1xx responses before one final response."""

_PROBES: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


def probe_when_silent(transport: asyncio.BaseTransport) -> None:
    """Let the system close a connection whose other side has vanished without closing it: after two minutes, although
    nothing is sent. A side that is only silent confirms the probes."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with contextlib.suppress(OSError):  # it is closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES.items():
            if hasattr(socket, name):  # not on every system
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@lru_cache(maxsize=128)
def _header_name(sent: bytes) -> istr:
    # The few names that come with every response. (Spaces before a colon are no part of a name: RFC 9112, 5.1.)
    return istr(sent.decode("latin-1").rstrip(" \t"))


class Http1Connection(asyncio.Protocol):
    """A connection. ``caller`` is the principal that used it last; ``keep_alive`` the seconds for which the provider
    keeps it open when idle, None if it did not say; ``received_at`` the monotonic time of the last byte."""

    loop: asyncio.AbstractEventLoop
    """The event loop of the connection, once it is made."""

    def __init__(self, limits: HeadLimits) -> None:
        self.caller = ""
        self.idle_since = self.usable_until = self.received_at = 0.0
        self.keep_alive: float | None = None
        self.is_tls = False
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._parser: httptools.HttpResponseParser | None = None
        self._response: IncomingResponse | None = None
        self._lines: list[tuple[bytes, bytes]] = []  # of the head or the trailers that are being read
        self._drained: asyncio.Future[None] | None = None
        self._is_choked = False

    # ---- use

    def start(self, method: str, most: int = 0) -> IncomingResponse:
        """Expect the response to a request that is written next. ``most`` is the maximum size of its body if that is
        read whole."""
        self._has_no_body = method == "HEAD"
        self._ends_with_connection = self._is_reusable = False
        self._is_raw = False  # after a 101: what arrives is not HTTP
        self._interim_count = 0
        self._unfinished = 0  # bytes since the last head or piece of a body was complete
        self._lines, self._reason = [], b""
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._response = response = IncomingResponse(self, most)
        return response

    def write(self, data: bytes) -> None:
        """Write without waiting. Raises :class:`Fault` if the connection is closed."""
        if self._transport is None or self._transport.is_closing():
            raise Fault("disconnected", "The provider closed the connection.")
        self._transport.write(data)

    async def drain(self) -> None:
        """Return when more may be written, or the connection is closed."""
        while self._is_choked:
            self._drained = self.loop.create_future()
            await self._drained

    async def upload(self, body: AsyncIterator[bytes], *, chunked: bool) -> None:
        """Write a body as it comes, in chunks unless its length was declared. Raises as :meth:`write`."""
        async for piece in body:
            if piece:
                if self.is_open and not self.is_silent():
                    # A response that arrived is read before a write can fail, because a failed write ends the reading.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                self.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await self.drain()
        if chunked:
            self.write(b"0\r\n\r\n")

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def has_ended(self) -> bool:
        """Whether the response is complete and the request was written, so that another may follow."""
        response, transport = self._response, self._transport
        return (
            response is not None
            and response.complete
            and self._is_reusable
            and not response.is_paused
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    def rest(self) -> None:
        """Become idle. Bytes that arrive from now on belong to no request and close the connection."""
        self._response = self._parser = None

    def is_silent(self) -> bool:
        """Whether it is open, and nothing has arrived that the event loop has not read yet. A TLS socket is not polled:
        session tickets make it readable."""
        return self.is_open and (self.is_tls or not self._poll.poll(0))

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # ---- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.loop = asyncio.get_running_loop()
        probe_when_silent(transport)
        self.is_tls = transport.get_extra_info("ssl_object") is not None
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        response, parser = self._response, self._parser
        self.received_at = time.monotonic()
        if response is None or parser is None or response.complete:
            self.abort()
            return
        if self._is_raw:
            response.feed(data)
            return
        self._unfinished += len(data)
        try:
            parser.feed_data(data)
            if self._lines or self._unfinished > self._limits.max_bytes:
                # Of a head or trailers that are incomplete. The parser does not report a line that does not end.
                self._limit_head(self._lines, self._unfinished)
        except httptools.HttpParserUpgrade as upgrade:
            self._is_raw = True
            if tail := data[upgrade.args[0] :]:
                response.feed(tail)
        except (Fault, httptools.HttpParserError) as exc:
            fault = exc if isinstance(exc, Fault) else exc.__context__  # raised by one of the methods below
            if not isinstance(fault, Fault):
                where = "chunks" if response.status else "head"
                fault = Fault("unreadable", f"The {where} of the response cannot be parsed: {exc}.")
            response.fail(fault)
            self.abort()

    def eof_received(self) -> bool:
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, BrokenPipeError | ConnectionResetError):
            self._read_rest()
        self._end(exc)
        self._transport = None
        self.resume_writing()

    def _read_rest(self) -> None:
        """Read what had arrived when a write failed: a provider may answer, and close, before it has read an upload."""
        response = self._response
        if self.is_tls or self._transport is None:
            return
        try:
            number = self._transport.get_extra_info("socket").fileno()
            while response is not None and not response.complete and (data := os.read(number, _READ_BYTES)):
                self.data_received(data)
        except OSError:
            return  # nothing is left

    def pause_writing(self) -> None:
        self._is_choked = True

    def resume_writing(self) -> None:
        self._is_choked = False
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # ---- called by the parser, which stops at an exception

    def on_message_begin(self) -> None:
        if self._response is None or self._response.complete:
            raise Fault("unreadable", "Another response follows.")

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        parser, response, lines = self._parser, self._response, self._lines
        if parser is None or response is None:
            return
        self._limit_head(lines)
        self._lines, self._unfinished = [], 0
        reason, self._reason = self._reason.decode("latin-1"), b""
        status = parser.get_status_code()
        if not 100 <= status <= 599:
            raise Fault("unreadable", f"The status {status} is not one of HTTP.")
        headers: CIMultiDict[str] = CIMultiDict(
            [(_header_name(name), value.decode("utf-8", "surrogateescape").strip(" \t")) for name, value in lines]
        )
        if "\0" in "".join(headers.values()):
            raise Fault("unreadable", "A header has a zero byte.")
        if status < 200 and status != 101:
            self._on_interim(response, status, reason, headers)
            return
        coding = headers.get(_TRANSFER_ENCODING)
        has_no_body = self._has_no_body or status in _NO_BODY
        if coding is not None and not has_no_body and not is_chunked(lines):
            raise Fault("unreadable", f"The transfer coding {coding[:40]!r} is unknown, or not the only one.")
        self._is_reusable = parser.should_keep_alive() and status != 101
        self._ends_with_connection = coding is None and _CONTENT_LENGTH not in headers
        self.keep_alive = keep_alive_of(headers)
        response.feed_head(status, reason, headers)
        if has_no_body:
            response.finish()

    def on_body(self, piece: bytes) -> None:
        self._unfinished = 0
        if self._response is None or self._response.complete:
            raise Fault("unreadable", "A body follows a response that has none.")
        self._response.feed(piece)

    def on_message_complete(self) -> None:
        if self._lines:
            self._limit_head(self._lines)  # of the trailers
        response = self._response
        if response is not None and response.status >= 200:
            response.finish()

    # ----

    def _on_interim(self, response: IncomingResponse, status: int, reason: str, headers: CIMultiDict[str]) -> None:
        self._interim_count += 1
        if self._interim_count > MAX_INTERIM:
            raise Fault("unreadable", f"There are more than {MAX_INTERIM} interim responses.")
        if _TRANSFER_ENCODING in headers or headers.get(_CONTENT_LENGTH, "").strip("0"):
            raise Fault("unreadable", "An interim response has a body.")
        if response.on_interim is not None:
            response.on_interim(status, reason, headers)

    def _limit_head(self, lines: list[tuple[bytes, bytes]], unfinished: int = 0) -> None:
        limits = self._limits
        if max(unfinished, sum(map(len, chain.from_iterable(lines)))) > limits.max_bytes:
            raise Fault("headers_too_large", f"The response has more than {limits.max_bytes} bytes of headers.")
        if len(lines) > limits.max_headers:
            raise Fault("headers_too_large", f"The response has more than {limits.max_headers} headers.")

    def _end(self, exc: Exception | None) -> None:
        """Nothing more will arrive."""
        response = self._response
        self._is_reusable = False
        if response is None or response.complete:
            return
        if exc is None and response.status and (self._ends_with_connection or self._is_raw):
            response.finish()
        elif response.status:
            response.fail(exc or Fault("cut_short", "The connection ended before the response did."))
        else:
            response.fail(exc or Fault("disconnected", "The connection ended before a response."))
