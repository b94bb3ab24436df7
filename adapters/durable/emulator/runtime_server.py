"""A small server of a runtime, where no real one is started: what clients and proxies need of one, and no agent.

``/api/health`` and ``/api/ready`` are public. Everything else needs the sandbox's token as ``Bearer``, and a WebSocket
takes a ticket of ``POST /api/ws/ticket`` instead, once, within 30 seconds. ``/api/echo`` returns the body; ``PUT
/api/files/upload`` counts it; ``GET /api/events`` sends as many server-sent events as its ``count``; ``/api/ws`` and
``/api/ws/events`` return every message.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

UNAUTHORIZED: Final = 4401
"""The close code of a WebSocket without valid credentials."""

_PUBLIC: Final = frozenset({"/api/health", "/api/ready"})
_SOCKETS: Final = frozenset({"/api/ws", "/api/ws/events"})
_TICKET_SECONDS: Final = 30
_MOST_EVENTS: Final = 1000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RuntimeServer:
    """The server of one sandbox."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._tickets: dict[str, float] = {}
        self._sockets: set[web.WebSocketResponse] = set()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._authenticated])
        for path in _PUBLIC:
            app.router.add_get(path, self._health)
        app.router.add_route("*", "/api/echo", self._echo)
        app.router.add_put("/api/files/upload", self._upload)
        app.router.add_get("/api/events", self._events)
        app.router.add_post("/api/ws/ticket", self._ticket)
        for path in _SOCKETS:
            app.router.add_get(path, self._socket)
        app.on_shutdown.append(self._close)
        return app

    @web.middleware
    async def _authenticated(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        known = scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), self._token.encode())
        if known or request.path in _PUBLIC or (request.path in _SOCKETS and self._redeem(request)):
            return await handler(request)
        if request.path in _SOCKETS:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.close(code=UNAUTHORIZED, message=b"unauthorized")
            return socket
        return web.json_response({"detail": "Unauthorized"}, status=401)

    def _redeem(self, request: web.Request) -> bool:
        return self._tickets.pop(request.query.get("ticket", ""), 0.0) > time.monotonic()

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "stage": "ready"})

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": request.headers.get("Content-Type", "text/plain")})
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        return response

    async def _upload(self, request: web.Request) -> web.Response:
        size, digest = 0, hashlib.sha256()
        async for piece in request.content.iter_any():
            size += len(piece)
            digest.update(piece)
        return web.json_response({"size": size, "sha256": digest.hexdigest()})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        count = request.query.get("count", "1")
        if not (count.isdecimal() and count.isascii() and int(count) <= _MOST_EVENTS):
            return web.json_response({"detail": f"count is a number up to {_MOST_EVENTS}"}, status=422)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(int(count)):
            await response.write(f"id: {number}\ndata: {json.dumps({'number': number})}\n\n".encode())
        return response

    async def _ticket(self, _request: web.Request) -> web.Response:
        ticket = secrets.token_urlsafe(24)
        self._tickets[ticket] = time.monotonic() + _TICKET_SECONDS
        return web.json_response({"ticket": ticket, "expires_at": time.time() + _TICKET_SECONDS})

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
        finally:
            self._sockets.discard(socket)
        return socket

    async def _close(self, _app: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the sandbox has ended")
