"""A WebSocket through the gateway: after the handshake, bytes are forwarded both ways as they arrive.

Messages are not parsed, so messages of any size, pings, close codes and extensions work end to end. The gateway buffers
only a few chunks per direction: a slow reader slows down the sender. It follows the heads of frames, so that it can end
a WebSocket with a close frame of its own between two frames.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import StreamReader, web

from gateway.http.bodies import ClientAborted
from gateway.http.websocket_frames import GOING_AWAY, INTERNAL_ERROR, FrameFollower, close_frame

_BUFFER_BYTES: Final = 1 << 16
_CLOSING_SECONDS: Final = 1.0
"""How long an end waits: for the frame in progress, for the close frames of both sides, for last bytes to be read."""

_IDLE: Final = "nothing was sent for too long"
_SHUTTING_DOWN: Final = "the gateway is shutting down"
_PROVIDER_GONE: Final = "the provider ended the connection"

Write = Callable[[bytes], Awaitable[None]]


class _Inlet:
    """Receives the bytes of an upgraded connection from aiohttp. It has the interface of aiohttp's WebSocket parser.
    ``lost`` is done when the connection is lost."""

    def __init__(self, stream: StreamReader) -> None:
        self._stream = stream
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._stream.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self._stream.feed_eof()
        if not self.lost.done():
            self.lost.set_result(None)


class _Direction:
    """Forwards one direction. ``ended``: nothing is written any more, and what arrives is dropped."""

    def __init__(self, source: AsyncIterator[bytes], write: Write, moved: Callable[[], None]) -> None:
        self.frames = FrameFollower()
        self.ended = False
        self._last: bytes | None = None
        self._source = source
        self._write = write
        self._moved = moved

    async def pump(self) -> None:
        """Forward until the source ends; after the end, until it has closed."""
        async for data in self._source:
            self._moved()
            await self._forward(data)
            if self.ended and self.frames.closed:
                return

    async def end(self, frame: bytes) -> None:
        """Write ``frame`` as the last one, as soon as the frame that is being forwarded is complete."""
        self._last = frame
        if self.frames.between:
            await self._end(frame)

    async def _forward(self, data: bytes) -> None:
        if not self.ended and self._last is None:
            self.frames.follow(data)
            await self._write(data)
            return
        if not self.ended and self._last is not None:
            size = self.frames.follow_frame(data)
            await self._write(data[:size])
            data = data[size:]
            if self.frames.between:
                await self._end(self._last)
        self.frames.follow(data)

    async def _end(self, frame: bytes) -> None:
        if not self.ended:
            self.ended = True
            if not self.frames.closed:
                await self._write(frame)


class Tunnel:
    """A WebSocket between a caller and a provider.

    ``out`` is the 101 that the caller has received; ``from_provider`` yields what the provider sends and ends with it;
    ``to_provider`` sends to it and waits while it does not read; ``moved`` is called for every piece.
    """

    def __init__(
        self,
        request: web.Request,
        out: web.StreamResponse,
        from_provider: AsyncIterator[bytes],
        to_provider: Write,
        moved: Callable[[], None],
    ) -> None:
        async def to_caller(data: bytes) -> None:
            try:
                await out.write(data)
            except ConnectionError as exc:
                raise ClientAborted from exc

        caller = cast("Any", request.protocol)
        from_caller = StreamReader(caller, _BUFFER_BYTES, loop=asyncio.get_running_loop())
        self._inlet = _Inlet(from_caller)
        self._down = _Direction(from_provider, to_caller, moved)
        self._up = _Direction(_pieces(from_caller), to_provider, moved)
        caller.set_parser(self._inlet)
        self._downwards = asyncio.create_task(self._down.pump())
        self._upwards = asyncio.create_task(self._up.pump())

    @property
    def is_closed(self) -> bool:
        """Whether the last that the caller received is a close frame."""
        return self._down.ended or self._down.frames.closed

    async def run(self, is_idle: Callable[[], bool]) -> None:
        """Forward until either side has closed. A caller whose provider is gone without a close frame gets one.

        When the task is cancelled, because the tunnel ``is_idle()`` or the gateway shuts down, both sides get one.
        Raises :class:`ClientAborted`, or what the provider's side raises, when a side is gone without having closed.
        """
        try:
            await self._forward()
        except asyncio.CancelledError:
            await self.close(GOING_AWAY, _IDLE if is_idle() else _SHUTTING_DOWN)
            raise
        finally:
            for pump in (self._downwards, self._upwards):
                pump.cancel()
            await asyncio.gather(self._downwards, self._upwards, return_exceptions=True)

    async def _forward(self) -> None:
        down, up, lost = self._downwards, self._upwards, self._inlet.lost
        await asyncio.wait({down, up, lost}, return_when=asyncio.FIRST_COMPLETED)
        if lost.done() and not up.done() and not down.done():
            await asyncio.wait({up}, timeout=_CLOSING_SECONDS)
            return
        if up.done() and up.exception() is None:
            return
        if not down.done():  # writing to the provider failed; its last bytes may not have been read yet
            await asyncio.wait({down}, timeout=_CLOSING_SECONDS)
        failure = down.exception() if down.done() else up.exception()
        if isinstance(failure, ClientAborted):
            raise failure
        if not self._up.frames.closed and not self._down.frames.closed:
            await self.close(INTERNAL_ERROR, _PROVIDER_GONE)
        if failure is not None:
            raise failure

    async def close(self, code: int, reason: str) -> None:
        """End both sides with a close frame, and wait until they have closed too. A side on which a frame is in
        progress gets none if that is not complete within a second."""
        ends = [asyncio.create_task(self._down.end(close_frame(code, reason, mask=False)))]
        if self._downwards.done():
            self._up.ended = True
        else:
            ends.append(asyncio.create_task(self._up.end(close_frame(code, reason, mask=True))))
        pumps = ((self._down, self._downwards), (self._up, self._upwards))
        try:
            open_pumps = [pump for direction, pump in pumps if not direction.frames.closed]
            await asyncio.wait([*ends, *open_pumps], timeout=_CLOSING_SECONDS)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


async def _pieces(source: StreamReader) -> AsyncIterator[bytes]:
    while data := await source.readany():
        yield data
