"""A journal of the connections to real browsers: a relay in front of their WebSockets."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from gateway.testing.processes import first


class Journal:
    """``connections`` are the runs that were connected to, in their order. ``url`` is the relay's own address."""

    def __init__(self) -> None:
        self.url = ""
        self.connections: list[str] = []
        self._places: dict[str, str] = {}

    def in_front_of(self, run: str, address: str) -> str:
        """The address through the relay of a run with this address. A browser that does not listen yet has none."""
        if not address:
            return ""
        place = urlsplit(address)
        self._places[run] = f"ws://{place.netloc}"
        return f"{self.url.replace('http', 'ws', 1)}/{run}{place.path}"

    def application(self) -> web.Application:
        """The relay."""
        app = web.Application()
        app.router.add_get("/{run}{path:/.*}", self._relay)
        return app

    async def _relay(self, request: web.Request) -> web.WebSocketResponse:
        run = request.match_info["run"]
        self.connections.append(run)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self._places[run] + request.match_info["path"], max_msg_size=0) as far,
        ):
            near = web.WebSocketResponse(max_msg_size=0)
            await near.prepare(request)
            await first(_copy(near, far), _copy(far, near))
            await asyncio.gather(near.close(), far.close())
            return near


async def _copy(source: Any, target: Any) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        else:
            await target.send_bytes(message.data)
