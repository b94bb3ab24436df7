"""The address at which an emulator of the demo listens, and can refuse connections."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

from gateway.testing.faults import Faults


class Listener:
    """Accepts connections for a runner, except while a fault refuses them. A context manager."""

    def __init__(
        self, runner: web.AppRunner, faults: Faults, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._runner = runner
        self._faults = faults
        self._sleep = sleep
        self._host, self._port = runner.addresses[0][:2]
        self._end: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._end is not None:
            self._end.cancel()

    async def heed(self) -> None:
        """Refuse or accept connections as the faults say now, and again when that ends. Connections that are open end
        with a refusal, so that it concerns callers with idle ones, too. Raises ``OSError`` if the port is taken."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
        seconds = self._faults.refusing()
        if seconds == 0 and not self._runner.sites:
            await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        elif seconds > 0:
            for site in list(self._runner.sites):
                await site.stop()
            for connection in self._runner.server.connections if self._runner.server else ():
                if connection.transport is not None:
                    connection.transport.abort()
        if 0 < seconds < math.inf:
            self._end = asyncio.create_task(self._heed_later(seconds))

    async def _heed_later(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._end = None
        await self.heed()
