"""A WebSocket through the gateway: after the handshake, bytes are forwarded both ways as they arrive.

Frames are not parsed, so messages of any size, pings, close codes and extensions work end to end. The gateway buffers
only a few chunks per direction: a slow reader slows down the sender.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import StreamReader, web
from aiohttp.http import StreamWriter

from gateway.http.bodies import ClientAborted

_BUFFER_BYTES: Final = 1 << 16


class _Inlet:
    """Receives the bytes of an upgraded connection from aiohttp. It has the interface of aiohttp's WebSocket parser."""

    def __init__(self, stream: StreamReader) -> None:
        self._stream = stream

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._stream.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self._stream.feed_eof()


async def tunnel(request: web.Request, provider: Any, out: web.StreamResponse, moved: Callable[[], None]) -> None:
    """Forward all bytes until either side has closed.

    ``provider`` is aiohttp's client protocol of the upgraded connection; ``out`` is the 101 that the caller received.

    Raises :class:`ClientAborted` or an aiohttp error when a side disconnected without closing.
    """
    loop = asyncio.get_running_loop()
    caller = cast("Any", request.protocol)
    from_provider = StreamReader(provider, _BUFFER_BYTES, loop=loop)
    from_caller = StreamReader(caller, _BUFFER_BYTES, loop=loop)

    async def to_caller(data: bytes) -> None:
        try:
            await out.write(data)
        except ConnectionError as exc:
            raise ClientAborted from exc

    provider.set_parser(_Inlet(from_provider), from_provider)
    caller.set_parser(_Inlet(from_caller))
    pumps = [
        asyncio.create_task(_pump(from_provider, to_caller, moved)),
        asyncio.create_task(_pump(from_caller, StreamWriter(provider, loop).write, moved)),
    ]
    try:
        done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
    failures = [exc for pump in done if (exc := pump.exception()) is not None]
    if len(failures) == len(done):
        raise failures[0]


async def _pump(source: StreamReader, write: Callable[[bytes], Awaitable[None]], moved: Callable[[], None]) -> None:
    while data := await source.readany():
        moved()
        await write(data)
