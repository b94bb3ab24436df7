"""A proxy's requests for credentials, from a fake browser that speaks as much CDP as this needs."""

import asyncio
from typing import Any

from aiohttp import web

from adapters.bctrl_browsers.emulator.chromium import Proxy, logging_in
from gateway.testing.processes import running

PROXY = Proxy("http://p.test:1", "user", "word")
PAGE = {"method": "Target.attachedToTarget", "params": {"sessionId": "s1"}}


def asked(request: str, source: str, session: str = "s1") -> dict[str, Any]:
    params = {"requestId": request, "authChallenge": {"source": source}}
    return {"method": "Fetch.authRequired", "params": params, "sessionId": session}


async def test_credentials_are_given_once_to_the_proxy_and_to_nothing_else() -> None:
    async def browser(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        seen.append(await socket.receive_json())
        await socket.send_json({"id": 1, "result": {}})
        await socket.send_json(PAGE)
        seen.extend([await socket.receive_json() for _ in range(3)])
        await socket.send_json({"method": "Fetch.requestPaused", "params": {"requestId": "r0"}, "sessionId": "s1"})
        assert (await socket.receive_json())["method"] == "Fetch.continueRequest"
        for event in (asked("r1", "Proxy"), asked("r1", "Proxy"), asked("r2", "Server"), asked("r1", "Proxy", "s2")):
            await socket.send_json(event)
            seen.append(await socket.receive_json())
        finished.set_result(None)
        await socket.receive()
        return socket

    seen: list[Any] = []
    finished = asyncio.get_running_loop().create_future()
    app = web.Application()
    app.router.add_get("/devtools", browser)
    async with running(app) as url, logging_in(f"{url.replace('http', 'ws')}/devtools", PROXY):
        await finished
    attach, *prepared = [(one["method"], one.get("sessionId")) for one in seen[:4]]
    assert attach == ("Target.setAutoAttach", None)
    assert prepared == [
        ("Fetch.enable", "s1"),
        ("Target.setAutoAttach", "s1"),
        ("Runtime.runIfWaitingForDebugger", "s1"),
    ]
    assert [(one["params"]["requestId"], one["params"]["authChallengeResponse"]) for one in seen[4:]] == [
        ("r1", {"response": "ProvideCredentials", "username": "user", "password": "word"}),
        ("r1", {"response": "CancelAuth"}),
        ("r2", {"response": "Default"}),
        ("r1", {"response": "ProvideCredentials", "username": "user", "password": "word"}),
    ]


async def test_browser_without_credentials_is_not_connected_to() -> None:
    async with logging_in("ws://127.0.0.1:1/devtools", Proxy("http://p.test:1")), logging_in("ws://127.0.0.1:1/", None):
        pass
