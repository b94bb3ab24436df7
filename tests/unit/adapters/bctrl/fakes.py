"""A transport that answers from a list, and the JSON that bctrl answers with."""

from typing import Any

import msgspec

from adapters.bctrl.adapter import BctrlAdapter
from adapters.bctrl.settings import BctrlSettings
from gateway.ports.transport import Call, Transport, TransportFailure, UpstreamRequest, UpstreamResponse

TOKEN = "bctrl-token-4711"
WORKSPACE = "7d0c5a4e-93b1-4f0a-8c62-5e1b2a9f6d34"
UUID = "2489e9ad-2ee2-4e00-89ec-32d5f69181c0"
OTHER = "99999999-2ee2-4e00-89ec-32d5f69181c0"


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
    """A runtime with all required members and nothing else."""
    return {
        "id": UUID,
        "workspaceId": WORKSPACE,
        "alias": "checkout-bot",
        "kind": "browser",
        "status": "active",
        "driver": "playwright",
        "createdAt": "2026-03-01T10:00:00Z",
        "updatedAt": "2026-03-01T10:00:05Z",
        **members,
    }


def settings(**options: Any) -> BctrlSettings:
    """The settings of a pinned provider called ``bc``."""
    known = {"name": "bc", "api": "bctrl", "base_url": "http://bctrl.test", "token": TOKEN, "scope": WORKSPACE}
    return BctrlSettings.model_validate({**known, **options})


def adapter(*answers: UpstreamResponse | TransportFailure, **options: Any) -> tuple[BctrlAdapter, FakeTransport]:
    """An adapter on a transport with these answers."""
    transport = FakeTransport(*answers)
    return BctrlAdapter(settings(**options), transport), transport


CALL = Call(deadline=float("inf"))
