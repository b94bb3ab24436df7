"""A WebSocket through the gateway: after the handshake, bytes are forwarded both ways as they arrive.

Messages are not parsed, so messages of any size, pings, close codes and extensions work end to end. The gateway buffers
only a few chunks per direction: a slow reader slows down the sender. It follows the heads of frames, so that it can
send frames of its own between two frames: pings to the caller, and a close frame at the end.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from aiohttp import StreamReader, web

from gateway.http.bodies import ClientAborted
from gateway.http.websocket_frames import GOING_AWAY, INTERNAL_ERROR, FrameFollower, PongFilter, close_frame

_BUFFER_BYTES: Final = 1 << 16
_CLOSING_SECONDS: Final = 1.0
"""How long an end waits: for the frame in progress, for the close frames of both sides, for last bytes to be read."""

Write = Callable[[bytes], Awaitable[None]]


class End(NamedTuple):
    """Why the gateway ends a WebSocket: code and reason of its close frame."""

    code: int
    reason: str


_IDLE: Final = End(GOING_AWAY, "nothing was sent for too long")
_SHUTDOWN: Final = End(GOING_AWAY, "the gateway is shutting down")


@dataclass(slots=True, eq=False, repr=False)
class Watch:
    """Follows one connection through the gateway. Override what else is to be known of it.

    ``moved`` is called for every piece in either direction that is passed on, so not for pongs that stay here.
    ``ping_interval``: seconds between the gateway's own pings to the caller; None: it sends none. ``end``: set before
    the task is cancelled, why it is.
    """

    moved: Callable[[], object] = lambda: None
    ping_interval: float | None = None
    end: End | None = None
    idle: End = _IDLE
    shutdown: End = _SHUTDOWN

    def received(self, size: int) -> None:
        """Bytes of the provider are passed on."""

    def sent(self, size: int) -> None:
        """Bytes of the caller are passed on."""

    async def provider_gone(self) -> End:
        """Why the provider's side has ended without a close frame."""
        return End(INTERNAL_ERROR, "the provider ended the connection")


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

    def __init__(self, source: AsyncIterator[bytes], write: Write, moved: Callable[[int], None]) -> None:
        self.frames = FrameFollower()
        self.pongs = PongFilter(self.frames)
        self.ended = False
        self._last: bytes | None = None
        self._inserted: bytes | None = None
        self._source = source
        self._write = write
        self._moved = moved

    async def pump(self) -> None:
        """Forward until the source ends; after the end, until it has closed."""
        async for data in self._source:
            await self._forward(data)
            if self.ended and self.frames.closed:
                return

    async def end(self, frame: bytes) -> None:
        """Write ``frame`` as the last one, as soon as the frame that is being forwarded is complete."""
        self._last = frame
        if self.frames.between or self.pongs.holds:
            await self._end(frame)

    async def insert(self, frame: bytes) -> None:
        """Write ``frame`` as soon as the message that is being forwarded is complete, unless another one waits for
        that, or the end has begun."""
        if self.frames.closed or self._last is not None or self._inserted is not None:
            return
        if self._takes_inserted():
            await self._write(frame)
        else:
            self._inserted = frame

    def _takes_inserted(self) -> bool:
        return self.frames.between and not self.frames.in_message

    async def _forward(self, data: bytes) -> None:
        if self.ended:
            self.frames.follow(data)
        elif self._last is None and self._inserted is None:
            if self.pongs.waits:
                data = self.pongs.passed(data)
            else:
                self.frames.follow(data)
            if data:
                self._moved(len(data))
                await self._write(data)
        else:
            size, inserted = self._next_place(data), b""
            if self._inserted is not None and self._takes_inserted():
                inserted, self._inserted = self._inserted, None
            self._moved(size)
            await self._write(data[:size] + inserted)
            if self._last is not None and self.frames.between:
                await self._end(self._last)
            if size < len(data):
                await self._forward(data[size:])

    def _next_place(self, data: bytes) -> int:
        """Follow ``data`` up to where a frame of the gateway can be written; its size, if there is no such place."""
        position = 0
        while position < len(data):
            position = self.frames.follow_frame(data, position)
            if self.frames.between and (self._last is not None or not self.frames.in_message):
                break
        return position

    async def _end(self, frame: bytes) -> None:
        if not self.ended:
            self.ended = True
            if not self.frames.closed:
                await self._write(frame)


class Tunnel:
    """A WebSocket between a caller and a provider.

    ``out`` is the 101 that the caller has received; ``from_provider`` yields what the provider sends and ends with it;
    ``to_provider`` sends to it and waits while it does not read.
    """

    def __init__(
        self,
        request: web.Request,
        out: web.StreamResponse,
        from_provider: AsyncIterator[bytes],
        to_provider: Write,
        watch: Watch,
    ) -> None:
        async def to_caller(data: bytes) -> None:
            try:
                await out.write(data)
            except ConnectionError as exc:
                raise ClientAborted from exc

        def received(size: int) -> None:
            watch.moved()
            watch.received(size)

        def sent(size: int) -> None:
            watch.moved()
            watch.sent(size)

        caller = cast("Any", request.protocol)
        from_caller = StreamReader(caller, _BUFFER_BYTES, loop=asyncio.get_running_loop())
        self._watch = watch
        self._inlet = _Inlet(from_caller)
        self._down = _Direction(from_provider, to_caller, received)
        self._up = _Direction(_pieces(from_caller), to_provider, sent)
        caller.set_parser(self._inlet)
        self._downwards = asyncio.create_task(self._down.pump())
        self._upwards = asyncio.create_task(self._up.pump())

    @property
    def is_closed(self) -> bool:
        """Whether the last that the caller received is a close frame."""
        return self._down.ended or self._down.frames.closed

    async def run(self, why: Callable[[], End]) -> None:
        """Forward until either side has closed. A caller whose provider is gone without a close frame gets one.

        When the task is cancelled, both sides get the close frame of ``why()``. Raises :class:`ClientAborted`, or what
        the provider's side raises, when a side is gone without having closed.
        """
        interval = self._watch.ping_interval
        pinging = None if interval is None else asyncio.create_task(self._ping(interval))
        tasks = [task for task in (self._downwards, self._upwards, pinging) if task is not None]
        try:
            await self._forward()
        except asyncio.CancelledError:
            await self.close(why())
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ping(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            await self._down.insert(self._up.pongs.ping())

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
            await self.close(await self._watch.provider_gone())
        if failure is not None:
            raise failure

    async def close(self, end: End) -> None:
        """End both sides with a close frame, and wait until they have closed too. A side on which a frame is in
        progress gets none if that is not complete within a second."""
        ends = [asyncio.create_task(self._down.end(close_frame(*end, mask=False)))]
        if self._downwards.done():
            self._up.ended = True
        else:
            ends.append(asyncio.create_task(self._up.end(close_frame(*end, mask=True))))
        pumps = ((self._down, self._downwards), (self._up, self._upwards))
        try:
            open_pumps = [pump for direction, pump in pumps if not direction.frames.closed]
            await asyncio.wait([*ends, *open_pumps], timeout=_CLOSING_SECONDS)
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


async def _pieces(source: StreamReader) -> AsyncIterator[bytes]:
    while data := await source.readany():
        yield data
