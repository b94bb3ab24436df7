"""Answers a proxy's requests for credentials, which Chromium's arguments cannot contain, over CDP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final

import aiohttp

from adapters.bctrl_browsers.emulator.chromium import Proxy

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
