"""A transport that answers from a list, and the JSON that the browser API answers with."""

from typing import Any

import msgspec

from adapters.bctrl_browsers.adapter import BctrlBrowsersAdapter
from adapters.bctrl_browsers.settings import BctrlBrowsersSettings
from gateway.domain.requests import CreateBrowser
from gateway.domain.validation import validate
from gateway.ports.transport import Call, Transport, TransportFailure, UpstreamRequest, UpstreamResponse

TOKEN = "browsers-token-4711"
SPACE = "sp_1"
ID = "br_4f1c2a9e"
CALL = Call(deadline=float("inf"))


class FakeTransport(Transport):
    """Records what is sent; answers in order with responses, or raises failures."""

    def __init__(self, *answers: UpstreamResponse | TransportFailure) -> None:
        self.answers = list(answers)
        self.sent: list[UpstreamRequest] = []
        self.calls: list[Call] = []

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        self.sent.append(request)
        self.calls.append(call)
        answer = self.answers.pop(0)
        if isinstance(answer, TransportFailure):
            raise answer
        return answer

    async def close(self) -> None:
        pass


def answer(status: int, body: Any, headers: dict[str, str] | None = None) -> UpstreamResponse:
    """An answer with a JSON body, or with these very bytes."""
    return UpstreamResponse(status, headers or {}, body if isinstance(body, bytes) else msgspec.json.encode(body))


def row(**members: Any) -> dict[str, Any]:
    """A browser with the members that the provider's client requires, idle."""
    return {
        "object": "browser",
        "type": "browser",
        "id": ID,
        "name": "checkout-bot",
        "spaceId": SPACE,
        "status": "idle",
        "createdAt": "2026-10-04T10:00:00Z",
        "updatedAt": "2026-10-04T10:00:05Z",
        "lastUsedAt": "2026-10-04T10:00:05Z",
        "autoUpgrade": True,
        "expireAfterIdleDays": 7,
        "extensions": ["ext_1"],
        "forceOpenShadowRoots": False,
        "gpu": False,
        "headless": True,
        "location": "auto",
        "metadata": {"team": "shop"},
        "recording": False,
        "savedState": {"status": "none"},
        "standbyAfterSeconds": 0,
        "stealth": "normal",
        "timeoutSeconds": 3600,
        "viewport": {"width": 1920, "height": 1080},
        "webRtcProxyOnly": True,
        **members,
    }


def running(status: str = "active", **members: Any) -> dict[str, Any]:
    """A browser with a current run of that status; ``members`` are the run's."""
    run = {
        "object": "run",
        "id": "run_1",
        "resourceId": ID,
        "resourceType": "browser",
        "spaceId": SPACE,
        "status": status,
        "location": "us-east",
        "control": {"holder": "agent", "since": "2026-10-04T10:00:00Z"},
        "recording": {"enabled": False},
        **members,
    }
    return row(status="running", currentRun=run)


def create(**members: Any) -> CreateBrowser:
    """A parsed create."""
    return validate(CreateBrowser, {"kind": "browser", "name": "checkout-bot", **members})


def settings(**options: Any) -> BctrlBrowsersSettings:
    """The settings of a pinned provider called ``bb``."""
    known = {"name": "bb", "api": "bctrl_browsers", "base_url": "http://bctrl.test", "token": TOKEN, "scope": SPACE}
    return BctrlBrowsersSettings.model_validate({**known, **options})


def adapter(
    *answers: UpstreamResponse | TransportFailure, **options: Any
) -> tuple[BctrlBrowsersAdapter, FakeTransport]:
    """An adapter on a transport with these answers."""
    transport = FakeTransport(*answers)
    return BctrlBrowsersAdapter(settings(**options), transport), transport
