"""A load balancer as small as can be: TCP, in turn, over those that say they are ready."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp

from gateway.testing.waiting import Watch
from tests.faults.replicas import Replica

EVERY: Final = 0.05
"""Seconds between two questions for readiness."""

_CHUNK: Final = 1 << 16


class Balancer:
    """Asks each gateway at its last known address for ``/readyz``, and sends no new connection to one that does not
    answer 200. Open connections go on. ``sent`` counts connections by address. Use as an async context manager."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas
        self._addresses: list[str] = ["" for _ in replicas]
        self._ready: list[str] = []
        self._turn = 0
        self._watch = Watch()
        self._pumps: set[asyncio.Task[None]] = set()
        self.sent: Counter[str] = Counter()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._asking = asyncio.create_task(self._ask())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._asking.cancel()
        self._server.close()
        for task in self._pumps:
            task.cancel()
        await asyncio.gather(self._asking, *self._pumps, return_exceptions=True)

    async def until_ready(self, count: int) -> None:
        """Return when exactly so many are ready."""
        await self._watch.until(lambda: len(self._ready) == count)

    async def _ask(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            while True:
                self._addresses = [r.url or known for r, known in zip(self._replicas, self._addresses, strict=True)]
                self._ready = [url for url in self._addresses if await _is_ready(session, url)]
                self._watch.changed()
                await asyncio.sleep(EVERY)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()  # (cancelled at the end: the streams' callback would log it)
        finally:
            self._pumps.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._ready:
            return
        self._turn += 1
        url = self._ready[self._turn % len(self._ready)]
        self.sent[url] += 1
        parts = urlsplit(url)
        there, to = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            back = asyncio.create_task(_pump(there, writer))
            forth = asyncio.create_task(_pump(reader, to))
            try:
                await asyncio.wait({back, forth}, return_when=asyncio.FIRST_COMPLETED)
                if forth.done():
                    await back
            finally:
                for pump in (back, forth):
                    pump.cancel()
                await asyncio.gather(back, forth, return_exceptions=True)
        finally:
            to.close()


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    if not url:
        return False
    try:
        async with session.get(url + "/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
