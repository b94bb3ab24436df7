"""What the unit tests of all adapters share: a transport that answers from a list."""

from typing import Any

import msgspec
from multidict import CIMultiDict

from gateway.ports.transport import Call, Transport, TransportFailure, UpstreamRequest, UpstreamResponse

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
        answered = self.answers.pop(0)
        if isinstance(answered, TransportFailure):
            raise answered
        return answered

    async def close(self) -> None:
        pass


def answer(status: int, body: Any, headers: dict[str, str] | None = None, **named: str) -> UpstreamResponse:
    """An answer with a JSON body, or with these very bytes. Headers by their names, or ``like_this="…"``."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    sent = CIMultiDict(headers or {})
    sent.update({name.replace("_", "-"): value for name, value in named.items()})
    return UpstreamResponse(status, sent, raw)


def call_in_time() -> Call:
    """A call of its own, for a test that looks at what is noted on it."""
    return Call(deadline=float("inf"))
