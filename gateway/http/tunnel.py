"""A WebSocket through the gateway: after the handshake, bytes are forwarded both ways as they arrive.

Frames are not parsed, so messages of any size, pings, close codes and extensions work end to end. The gateway buffers
only a few chunks per direction: a slow reader slows down the sender.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import StreamReader, web

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


async def tunnel(
    request: web.Request,
    out: web.StreamResponse,
    from_provider: AsyncIterator[bytes],
    to_provider: Callable[[bytes], Awaitable[None]],
    moved: Callable[[], None],
) -> None:
    """Pass all bytes on, until either side has closed.

    ``out`` is the 101 that the caller has received; ``from_provider`` yields what the provider sends and ends with it;
    ``to_provider`` sends to it and waits while it does not read; ``moved`` is called for every piece.

    Raises :class:`ClientAborted`, or what the provider's side raises, when a side is gone without having closed.
    """
    caller = cast("Any", request.protocol)
    from_caller = StreamReader(caller, _BUFFER_BYTES, loop=asyncio.get_running_loop())

    async def to_caller(data: bytes) -> None:
        try:
            await out.write(data)
        except ConnectionError as exc:
            raise ClientAborted from exc

    caller.set_parser(_Inlet(from_caller))
    pumps = [
        asyncio.create_task(_pump(from_provider, to_caller, moved)),
        asyncio.create_task(_pump(_pieces(from_caller), to_provider, moved)),
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


async def _pieces(source: StreamReader) -> AsyncIterator[bytes]:
    while data := await source.readany():
        yield data


async def _pump(
    source: AsyncIterator[bytes], write: Callable[[bytes], Awaitable[None]], moved: Callable[[], None]
) -> None:
    async for data in source:
        moved()
        await write(data)
