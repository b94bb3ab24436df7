"""A minimal TCP load balancer: round robin over the gateways whose ``/readyz`` is 200."""

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
"""Seconds between two readiness checks."""

_CHUNK: Final = 1 << 16


class Balancer:
    """Checks ``/readyz`` of each gateway at its last known address, and sends new connections only to those whose
    status is 200. Open connections are kept. ``sent`` counts connections by address. Use as an async context
    manager."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas
        self._addresses: list[str] = ["" for _ in replicas]
        self._ready: list[str] = []
        self._connections = 0
        self._watch = Watch()
        self._pumps: set[asyncio.Task[None]] = set()
        self.sent: Counter[str] = Counter()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._checks = asyncio.create_task(self._check())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._checks.cancel()
        self._server.close()
        for task in self._pumps:
            task.cancel()
        await asyncio.gather(self._checks, *self._pumps, return_exceptions=True)

    async def until_ready(self, count: int) -> None:
        """Return when exactly ``count`` gateways are ready."""
        await self._watch.until(lambda: len(self._ready) == count)

    async def _check(self) -> None:
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
            writer.transport.abort()  # asyncio.streams would log a cancelled task
        finally:
            self._pumps.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._ready:
            return
        self._connections += 1
        url = self._ready[self._connections % len(self._ready)]
        self.sent[url] += 1
        parts = urlsplit(url)
        upstream_reader, upstream_writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            back = asyncio.create_task(_pump(upstream_reader, writer))
            forth = asyncio.create_task(_pump(reader, upstream_writer))
            try:
                await asyncio.wait({back, forth}, return_when=asyncio.FIRST_COMPLETED)
                if forth.done():
                    await back
            finally:
                for pump in (back, forth):
                    pump.cancel()
                await asyncio.gather(back, forth, return_exceptions=True)
        finally:
            upstream_writer.close()


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
