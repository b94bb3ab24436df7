"""Simulated time, which advances only while the event loop is idle, and a scripted transport."""

import asyncio
import functools
import selectors
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.values import Operation
from gateway.ports.clock import Clock
from gateway.ports.transport import Attempt, Call, Phase, Transport, TransportFailure, UpstreamRequest, UpstreamResponse


class _Selector(selectors.DefaultSelector):
    """Does not wait; advances the time by the timeout instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("deadlock: no event and no timer is pending")
            self.now += max(timeout, 0)
        return events


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer."""

    def __init__(self) -> None:
        self._simulated = _Selector()
        super().__init__(self._simulated)

    def time(self) -> float:
        return self._simulated.now


class LoopClock(Clock):
    """The time of the running event loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def simulated(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async test in simulated time."""

    @functools.wraps(test)
    def run(*arguments: Any, **options: Any) -> None:
        async def run_test() -> None:
            await test(*arguments, **options)

        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            runner.run(run_test())

    return run


@dataclass
class ScriptedTransport(Transport):
    """Each send takes ``seconds`` and ends with the next of ``outcomes``: a status, a response, a failure, or 200 when
    none is left. ``sent`` are the requests with their times."""

    outcomes: Sequence[int | TransportFailure | UpstreamResponse] = ()
    seconds: float = 0.0
    sent: list[tuple[float, UpstreamRequest]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        number = len(self.sent)
        self.sent.append((asyncio.get_running_loop().time(), request))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.in_flight -= 1
        outcome = self.outcomes[number] if number < len(self.outcomes) else 200
        if isinstance(outcome, TransportFailure):
            call.attempts.append(Attempt("p", request.operation, outcome.reason, self.seconds, outcome.phase))
            raise outcome
        response = outcome if isinstance(outcome, UpstreamResponse) else UpstreamResponse(outcome, {}, b"{}")
        call.attempts.append(Attempt("p", request.operation, str(response.status), self.seconds, Phase.ANSWERED))
        return response

    async def close(self) -> None:
        return None


def call(seconds: float = 30.0, **options: Any) -> Call:
    """A call with a deadline in ``seconds``."""
    return Call(asyncio.get_running_loop().time() + seconds, **options)


def request(operation: Operation = Operation.GET) -> UpstreamRequest:
    """A request of an operation."""
    return UpstreamRequest(operation, "GET", "/things")


async def outcome_of(transport: Transport, asked: UpstreamRequest, on: Call) -> str:
    """The status of the response to a request, or the reason of its failure."""
    try:
        return str((await transport.send(asked, on)).status)
    except TransportFailure as failure:
        return failure.reason
