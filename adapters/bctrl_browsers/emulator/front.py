"""The emulator's WebDriver: chromedriver, attached to the browser whose credential is in the path. Where there is no
Chromium, a stub that says so."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import aiohttp
from aiohttp import hdrs, web

from adapters.bctrl_browsers.emulator.world import Browser
from gateway.testing.processes import first, running, watched

_READY: Final = b"successfully on port "
_STARTUP: Final = 30  # seconds
_OPTIONS: Final = "goog:chromeOptions"
_SENT: Final = (hdrs.CONTENT_TYPE, hdrs.ACCEPT)
STUB: Final = "A stub answers for browsers, because the emulator has no Chromium to run."


class Front:
    """A server on loopback. ``browser_of`` finds the running browser of a credential."""

    def __init__(self, browser_of: Callable[[str], Browser | None]) -> None:
        self.url = ""
        self._browser_of = browser_of
        self._lock = asyncio.Lock()
        self._driver: str | None = None
        self._stack = AsyncExitStack()
        self._client: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{credential}{path:.*}", self._handle)
        async with self._stack, running(app) as self.url, aiohttp.ClientSession() as self._client:
            yield

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        browser = self._browser_of(request.match_info["credential"])
        if browser is None or browser.run is None or browser.run.far_end is None:
            return _error(404, "invalid session id", "No running browser has this address.")
        chromium, path = browser.run.far_end, request.match_info["path"]
        if chromium.task is None:
            if path.rstrip("/") == "/json/version":
                return web.json_response({"Browser": STUB, "Protocol-Version": "1.3"})
            return _error(501, "unsupported operation", STUB)
        if (driver := await self._started()) is None:
            return _error(501, "unsupported operation", "The emulator's machine has no chromedriver.")
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return await self._relay(request, driver.replace("http", "ws", 1) + path)
        return await self._forward(request, driver, path, (chromium.address or "").split("/")[2])

    async def _started(self) -> str | None:
        """The URL of chromedriver, which the first request starts; None where it is not installed."""
        async with self._lock:
            if self._driver is None and (executable := shutil.which("chromedriver")) is not None:
                command = (executable, "--port=0")
                process = await self._stack.enter_async_context(watched(command, stdout=asyncio.subprocess.PIPE))
                assert process.stdout is not None  # noqa: S101 (a pipe)
                async with asyncio.timeout(_STARTUP):
                    async for line in process.stdout:
                        if _READY in line:
                            port = line.rpartition(_READY)[2].strip(b". \n").decode()
                            self._driver = f"http://127.0.0.1:{port}"
                            break
            return self._driver

    async def _forward(self, request: web.Request, driver: str, path: str, debugger: str) -> web.Response:
        assert self._client is not None  # noqa: S101 (the server runs)
        body, new = await request.read(), request.method == "POST" and path.rstrip("/") == "/session"
        headers = {name: request.headers[name] for name in _SENT if name in request.headers}
        async with self._client.request(
            request.method,
            driver + path,
            data=_attached(body, debugger) if new else body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            answer = await response.read()
            if new:
                own = f"ws://{request.host}/{request.match_info['credential']}"
                answer = answer.replace(driver.replace("http", "ws", 1).encode(), own.encode())
            kind = {hdrs.CONTENT_TYPE: response.headers.get(hdrs.CONTENT_TYPE, "application/json; charset=utf-8")}
            return web.Response(status=response.status, body=answer, headers=kind)

    async def _relay(self, request: web.Request, url: str) -> web.WebSocketResponse:
        """A WebSocket of BiDi. It ends without a close code when the far end does."""
        assert self._client is not None  # noqa: S101 (the server runs)
        async with self._client.ws_connect(url, max_msg_size=0) as far:
            near = web.WebSocketResponse(max_msg_size=0)
            await near.prepare(request)
            await first(_copy(near, far), _copy(far, near))
            if not near.closed and request.transport is not None:
                request.transport.abort()
            return near


def _attached(body: bytes, debugger: str) -> bytes:
    """The body of a new session, with which chromedriver attaches to a browser instead of starting one. The other
    options of a start are dropped: they concern a browser that is already running."""
    try:
        capabilities = json.loads(body)["capabilities"]
        always = capabilities.setdefault("alwaysMatch", {})
        for one in (always, *capabilities.get("firstMatch", ())):
            one.pop(_OPTIONS, None)
        always[_OPTIONS] = {"debuggerAddress": debugger}
        return json.dumps({"capabilities": capabilities}).encode()
    except (ValueError, LookupError, TypeError, AttributeError):
        return body  # chromedriver words the error


async def _copy(source: Any, target: Any) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"value": {"error": code, "message": message, "stacktrace": ""}}, status=status)
