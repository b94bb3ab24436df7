"""How the emulator starts Chromium, and answers its proxy's requests for credentials, which its arguments cannot
contain, over CDP."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FIXED: Final = (
    "--headless=new",
    "--remote-debugging-port=0",  # on loopback; the port is in PORT_FILE
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--password-store=basic",
)
_LISTENS: Final = re.compile(r"(\d+)\n(/devtools/browser/[\w-]+)")
PORT_FILE: Final = "DevToolsActivePort"
"""The file in the profile folder in which Chromium writes its port and the path of its WebSocket."""


def address_in(port_file: str) -> str | None:
    """The address of the browser's WebSocket; None while Chromium has not written the file to its end."""
    found = _LISTENS.match(port_file)
    return None if found is None else f"ws://127.0.0.1:{found[1]}{found[2]}"


def find(choice: str) -> str | None:
    """The executable for ``auto``, ``none`` or a path; None for no browser."""
    if choice == "none":
        return None
    return next(filter(None, map(shutil.which, _NAMES)), None) if choice == "auto" else choice


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy of a browser, in the form of ``--proxy-server``."""

    server: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def proxy_of(given: Any) -> Proxy | None:
    """The proxy in a browser's settings; None without one, and for a saved or managed one, which only the provider
    has."""
    if isinstance(given, str):
        given = {"url": given}
    if not isinstance(given, Mapping):
        return None
    username, password = given.get("username"), given.get("password")
    if "url" in given:
        url = urlsplit(given["url"])
        if url.username is not None:
            username, password = unquote(url.username), unquote(url.password or "")
        return Proxy(f"{url.scheme}://{url.netloc.rpartition('@')[2]}", username, password)
    if "host" in given:
        return Proxy(f"{given['protocol']}://{given['host']}:{given['port']}", username, password)
    return None


def arguments(executable: str, folder: Path, config: Mapping[str, Any], *, as_root: bool) -> Sequence[str]:
    """The command for a browser with these settings and this profile folder."""
    command = [executable, *_FIXED, f"--user-data-dir={folder}"]
    if as_root:
        command.append("--no-sandbox")  # Chromium refuses to start as root with its sandbox
    if "viewport" in config:
        command.append(f"--window-size={config['viewport']['width']},{config['viewport']['height']}")
    if (proxy := proxy_of(config.get("proxy"))) is not None:
        # Without the second argument, requests to loopback addresses would not go through the proxy.
        command += [f"--proxy-server={proxy.server}", "--proxy-bypass-list=<-loopback>"]
    return [*command, "about:blank"]


def unsupported(config: Mapping[str, Any]) -> str | None:
    """What of a browser's settings the emulator accepts without effect, as a sentence for a warning; None for
    nothing."""
    found = []
    if config.get("extensions"):
        found.append(f"the extensions {', '.join(config['extensions'])}")
    if config.get("proxy") is not None and proxy_of(config["proxy"]) is None:
        found.append("its proxy, which is saved or managed")
    return f"Without effect in the emulator: {' and '.join(found)}." if found else None


_ATTACH: Final = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}


@asynccontextmanager
async def logging_in(address: str, proxy: Proxy | None) -> AsyncIterator[None]:
    """Answer for all pages of the browser at the WebSocket ``address`` while the context is open."""
    if proxy is None or proxy.username is None:
        yield
        return
    async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
        login = _Login(socket, proxy)
        await login.send("Target.setAutoAttach", _ATTACH)
        task = asyncio.create_task(login.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class _Login:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse, proxy: Proxy) -> None:
        self._socket = socket
        self._answer = {"username": proxy.username, "password": proxy.password or ""}
        self._answered: set[tuple[str, str]] = set()
        self._ids = count(1)

    async def send(self, method: str, params: dict[str, Any], session: str | None = None) -> None:
        message = {"id": next(self._ids), "method": method, "params": params}
        await self._socket.send_json(message if session is None else {**message, "sessionId": session})

    async def run(self) -> None:
        """React to new pages and to requests for credentials until the browser ends."""
        async for message in self._socket:
            event = message.json()
            params = event.get("params", {})
            if event.get("method") == "Target.attachedToTarget":
                session = params["sessionId"]
                # A target that has no such methods answers with an error, which needs no reaction.
                await self.send("Fetch.enable", {"handleAuthRequests": True}, session)
                await self.send("Target.setAutoAttach", _ATTACH, session)
                await self.send("Runtime.runIfWaitingForDebugger", {}, session)
            elif event.get("method") == "Fetch.requestPaused":  # CDP asks for credentials only where requests pause
                await self.send("Fetch.continueRequest", {"requestId": params["requestId"]}, event["sessionId"])
            elif event.get("method") == "Fetch.authRequired":
                response = self._response((event["sessionId"], params["requestId"]), params["authChallenge"])
                sent = {"requestId": params["requestId"], "authChallengeResponse": response}
                await self.send("Fetch.continueWithAuth", sent, event["sessionId"])

    def _response(self, request: tuple[str, str], challenge: dict[str, Any]) -> dict[str, Any]:
        if challenge.get("source") != "Proxy":
            return {"response": "Default"}
        if request in self._answered:  # the proxy has refused these credentials
            return {"response": "CancelAuth"}
        self._answered.add(request)
        return {"response": "ProvideCredentials", **self._answer}
