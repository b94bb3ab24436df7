"""The servers behind the emulated sandboxes: a small one for each, or a real one in a process of its own.

A server begins with its sandbox, runs on while that is paused, and ends with it. A start does not wait for it.

The small one has what clients and proxies need, and no agent. ``/api/health`` and ``/api/ready`` are public. Everything
else needs the sandbox's token as ``Bearer``, and a WebSocket takes a ticket of ``POST /api/ws/ticket`` instead, once,
within 30 seconds. ``/api/echo`` returns the body; ``PUT /api/files/upload`` counts it; ``GET /api/events`` sends as
many server-sent events as its ``count``; ``/api/ws`` and ``/api/ws/events`` return every message.
"""

import asyncio
import hashlib
import json
import logging
import os
import secrets
import shlex
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMsgType, web

from adapters.durable.emulator.world import Instance
from gateway.testing.processes import Socket, first, listening_socket, own_folder, watched

UNAUTHORIZED: Final = 4401
"""The close code of a WebSocket without valid credentials."""

_PUBLIC: Final = frozenset({"/api/health", "/api/ready"})
_SOCKETS: Final = frozenset({"/api/ws", "/api/ws/events"})
_TICKET_SECONDS: Final = 30
_MOST_EVENTS: Final = 1000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RuntimeServer:
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


SMALL: Final = "small"
"""The option that stands for the small server."""

_LOG: Final = logging.getLogger(__name__)
_HOST: Final = "127.0.0.1"
_SHUTDOWN: Final = 0.5  # seconds for what is in flight
_BUSY: Final = 0.1  # seconds until a port that is taken is tried again


@dataclass(slots=True)
class _Sandbox:
    stopped: asyncio.Event
    task: "asyncio.Task[None]"


class FarEnds:
    """Starts and ends servers. ``command`` starts a real one; it gets ``--host`` and ``--port``, and the token in
    ``DREADNODE_RUNTIME_TOKEN``. Raises ``ValueError`` for a command that does not exist."""

    def __init__(self, command: str) -> None:
        program, *arguments = [""] if command == SMALL else shlex.split(command) or [""]
        found = shutil.which(program)
        if found is None and command != SMALL:
            raise ValueError(f"there is no program {program!r} for the runtime server")
        self._command = [] if found is None else [str(Path(found).absolute()), *arguments]
        self._sandboxes: dict[str, _Sandbox] = {}
        self._folder = Path()

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """End all servers at the end of the emulator."""
        async with AsyncExitStack() as stack:
            if self._command:
                self._folder = await stack.enter_async_context(own_folder("sandboxes-"))
            yield
            ending = [sandbox.task for sandbox in self._sandboxes.values()]
            self.end_all()
            await asyncio.gather(*ending)

    def start(self, instance: Instance) -> None:
        """Start the server of an instance, and set its address. One that had an address in an earlier process keeps
        it."""
        listening = None
        if instance.address is None:
            listening = listening_socket()
            instance.address = f"http://{_HOST}:{listening.getsockname()[1]}"
        stopped = asyncio.Event()
        task = asyncio.create_task(self._run(instance, listening, stopped))
        self._sandboxes[instance.sandbox_id] = _Sandbox(stopped, task)
        task.add_done_callback(lambda _: self._sandboxes.pop(instance.sandbox_id, None))

    def end(self, instance: Instance) -> None:
        if (sandbox := self._sandboxes.get(instance.sandbox_id)) is not None:
            sandbox.stopped.set()

    def end_all(self) -> None:
        for sandbox in self._sandboxes.values():
            sandbox.stopped.set()

    async def _run(self, instance: Instance, listening: Socket | None, stopped: asyncio.Event) -> None:
        port = urlsplit(instance.address or "").port or 0
        while listening is None:
            try:
                listening = listening_socket(port)
            except OSError:  # a connection of another process may have the port for a moment
                await first(stopped.wait(), asyncio.sleep(_BUSY))
                if stopped.is_set():
                    return
        if self._command:
            listening.close()  # the program binds the port itself
            await self._run_process(instance, port, stopped)
            return
        runner = web.AppRunner(RuntimeServer(instance.token).application(), access_log=None, shutdown_timeout=_SHUTDOWN)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            await stopped.wait()
        finally:
            await runner.cleanup()

    async def _run_process(self, instance: Instance, port: int, stopped: asyncio.Event) -> None:
        folder = self._folder / instance.sandbox_id
        folder.mkdir()
        log = folder.with_suffix(".log")
        command = [*self._command, "--host", _HOST, "--port", str(port)]
        environment = {**os.environ, "DREADNODE_RUNTIME_TOKEN": instance.token}
        try:
            with log.open("wb") as output:
                async with watched(command, stdout=output, stderr=output, env=environment, folder=folder) as process:
                    await first(process.wait(), stopped.wait())
            if not stopped.is_set():
                said = log.read_text(errors="replace")[-500:]
                _LOG.warning("the runtime server ended with the code %s: %s", process.returncode, said)
        except OSError as exc:
            _LOG.warning("the runtime server did not start: %s", exc)
