"""A TCP proxy that keeps what a server sends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class RecordingProxy:
    """Relays connections to ``port`` of this machine, once that is known. ``sent`` are the bytes of the server."""

    def __init__(self) -> None:
        self.port = 0
        self.sent = bytearray()
        self.url = ""

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(self._copy(reader, far_writer, None), self._copy(far_reader, writer, self.sent))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while part := await source.read(1 << 16):
                if kept is not None:
                    kept += part
                target.write(part)
                await target.drain()
        target.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["RecordingProxy"]:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield self
        server.close()
