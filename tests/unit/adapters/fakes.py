"""Shared by the unit tests of all adapters: a transport that returns responses from a list."""

from typing import Any

import msgspec
from multidict import CIMultiDict

from gateway.ports.transport import Call, Transport, TransportFailure, UpstreamRequest, UpstreamResponse

CALL = Call(deadline=float("inf"))


class FakeTransport(Transport):
    """Records requests, and returns the given responses or raises the given failures in order."""

    def __init__(self, *answers: UpstreamResponse | TransportFailure) -> None:
        self.answers = list(answers)
        self.sent: list[UpstreamRequest] = []
        self.calls: list[Call] = []

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        self.sent.append(request)
        self.calls.append(call)
        response = self.answers.pop(0)
        if isinstance(response, TransportFailure):
            raise response
        return response

    async def close(self) -> None:
        pass


def answer(status: int, body: Any, headers: dict[str, str] | None = None, **named: str) -> UpstreamResponse:
    """A response with a JSON body, or with the given bytes. Headers are given by name, or as ``like_this="…"``."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    sent = CIMultiDict(headers or {})
    sent.update({name.replace("_", "-"): value for name, value in named.items()})
    return UpstreamResponse(status, sent, raw)


def call_in_time() -> Call:
    """A new call, for a test that reads what is recorded on it."""
    return Call(deadline=float("inf"))
