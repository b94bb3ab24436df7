"""Servers of runtimes: one that speaks as Chromium does as far as the data plane is concerned, and a durable one."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import WSMsgType, web

BROWSER: Final = "/devtools/browser/b-4711"


@dataclass(slots=True)
class BrowserServer:
    """Discovery documents and WebSockets below ``/devtools/`` that echo. ``seen`` are the requests' heads."""

    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._any)
        return app

    async def _any(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.raw_path, dict(request.headers)))
        path, host = request.path.rstrip("/"), request.headers["Host"]
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        target = {
            "id": "p1",
            "webSocketDebuggerUrl": f"ws://{host}/devtools/page/p1",
            "devtoolsFrontendUrl": f"/devtools/inspector.html?ws={host}/devtools/page/p1",
        }
        if path == "/json/version":
            return web.json_response({"Browser": "Fake/1", "webSocketDebuggerUrl": f"ws://{host}{BROWSER}"})
        if path in {"/json", "/json/list"}:
            return web.json_response([target])
        if path == "/json/new" and request.method == "PUT":
            return web.json_response(target)
        if path == "/session" and request.method == "POST":
            options = {"debuggerAddress": "localhost:9222"}
            capabilities = {"webSocketUrl": f"ws://{host}/session/s1", "goog:chromeOptions": options}
            return web.json_response({"value": {"sessionId": "s1", "capabilities": capabilities}})
        if path == "/redirect":
            place = {"here": f"http://{host}/json/version"}.get(request.query_string, "https://elsewhere.example/")
            return web.Response(status=302, headers={"Location": place})
        return web.Response(status=404, text=f"nothing at {path}")

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, protocols=["bctrl.terminal.v1"])
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data.startswith("close "):
                await socket.close(code=int(message.data.split()[1]), message=b"as asked")
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket


def documents(body: str) -> Any:
    """A JSON body."""
    return json.loads(body)
