"""Clients that hold connections to the servers of durable runtimes through the data plane."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from gateway.testing.waiting import Watch

MAY_PASS: Final = frozenset({409, 429, 502, 503, 504})
"""The statuses after which a client connects again. No other one may occur."""

_BETWEEN: Final = 0.2


class Holder:
    """A client of one runtime's server. When its connection ends, it connects again to the same address with the same
    token. ``ends`` are the close codes of its connections, ``refused`` counts the statuses of refused handshakes."""

    def __init__(self, client: aiohttp.ClientSession, runtime_id: str, url: str, token: str) -> None:
        self.runtime_id = runtime_id
        self.ends: list[int | None] = []
        self.refused: Counter[int] = Counter()
        self.connected = False
        self.watch = Watch()
        self._client = client
        self._url = f"{url}/api/ws"
        self._headers = {"Authorization": f"Bearer {token}"}

    async def run(self) -> None:
        """Hold connections until this is cancelled. Raises ``aiohttp.WSServerHandshakeError`` for a final refusal."""
        while True:
            try:
                await self._hold()
            except aiohttp.WSServerHandshakeError as exc:
                self.refused[exc.status] += 1
                if exc.status not in MAY_PASS:
                    raise
            await asyncio.sleep(_BETWEEN)

    async def _hold(self) -> None:
        """One connection, until it ends."""
        async with self._client.ws_connect(self._url, headers=self._headers) as socket:
            await socket.send_str(self.runtime_id)
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                assert message.data == self.runtime_id
                self._changed(connected=True)
                message = await socket.receive()
            assert message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
        self.ends.append(socket.close_code)
        self._changed(connected=False)

    def _changed(self, *, connected: bool) -> None:
        self.connected = connected
        self.watch.changed()


@asynccontextmanager
async def holding(holders: Sequence[Holder]) -> AsyncIterator[None]:
    """Hold connections meanwhile, each of which is established at the beginning."""
    tasks = [asyncio.create_task(holder.run()) for holder in holders]
    try:
        await all_connected(holders)
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [one for one in ended if isinstance(one, Exception)]
    assert not failed, failed


async def all_connected(holders: Sequence[Holder], within: float = 60) -> None:
    """Return once every client is connected."""
    async with asyncio.timeout(within):
        for holder in holders:
            await holder.watch.until(lambda: holder.connected)  # noqa: B023 (it is awaited here)
