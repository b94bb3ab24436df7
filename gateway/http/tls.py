"""The TLS handshake of a client connection."""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from gateway.http.connection import GatewayRequestHandler

HANDSHAKE_SECONDS: Final = 10
"""How long a handshake may take."""

_BUFFERED_BYTES: Final = 64 << 10
"""Where a writer has to wait. asyncio's own bound with TLS is eight times that of a plain connection."""


class Handshake(asyncio.Protocol):
    """A connection until its handshake has ended; then ``handler`` is its protocol.

    ``asyncio``'s server would show a connection only after its handshake, so a client that begins none would be in no
    count. What the client sends together with the end of the handshake arrives here and is kept for ``handler``. uvloop
    begins to read even if ``connection_made`` has paused that: what arrives before TLS begins is kept for TLS.
    ``running`` holds the task while it runs.
    """

    def __init__(
        self,
        handler: "GatewayRequestHandler",
        context: ssl.SSLContext,
        running: set["asyncio.Task[None]"],
        shutdown: float,
    ) -> None:
        self._handler = handler
        self._context = context
        self._running = running
        self._shutdown = shutdown
        self._early: list[Callable[[], Any]] | None = []
        self._begun = self._gone = False
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raw = cast("asyncio.Transport", transport)  # uvloop's has another base class
        if not self._handler.accept(raw):
            raw.abort()
            self._handler.handshake_failed()
            return
        raw.pause_reading()  # until the next protocol reads
        task = asyncio.get_running_loop().create_task(self._run(raw))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, raw: asyncio.Transport) -> None:
        wire: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        try:
            if self._gone:
                raise ConnectionResetError
            self._begun = True
            if self._unread:
                loop.call_soon(_feed, raw, self._unread)  # as soon as TLS is the protocol, before it reads
            made = await loop.start_tls(
                raw,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=self._shutdown,
            )
            if made is not None and (self._early or not made.is_closing()):
                wire = made  # (uvloop returns one also if the connection was lost in the handshake)
        except OSError:
            pass  # not TLS, a version or certificate that the client refuses, too slow, or gone; counted below
        finally:
            if wire is None:
                raw.abort()
                self._handler.handshake_failed()
        if wire is None:
            return
        wire.set_write_buffer_limits(_BUFFERED_BYTES)
        wire.set_protocol(self._handler)
        self._handler.connection_made(wire)
        early, self._early = self._early or [], None
        for event in early:
            event()

    def _forward(self, event: Callable[[], Any]) -> None:
        if self._early is None:
            event()
        else:
            self._early.append(event)

    def data_received(self, data: bytes) -> None:
        if self._begun:
            self._forward(partial(self._handler.data_received, data))
        else:
            self._unread += data

    def eof_received(self) -> None:
        self._forward(self._handler.eof_received)
        self._gone = not self._begun

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forward(partial(self._handler.connection_lost, exc))
        self._gone = not self._begun


def _feed(raw: asyncio.Transport, data: bytes) -> None:
    """Give data to the protocol of TLS."""
    protocol = cast("asyncio.BufferedProtocol", raw.get_protocol())
    while data:
        room = memoryview(protocol.get_buffer(len(data)))
        taken = min(len(room), len(data))
        room[:taken] = data[:taken]
        protocol.buffer_updated(taken)
        data = data[taken:]
