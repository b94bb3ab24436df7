"""Every attempt ends in time, even if the transport does not end by itself."""

import asyncio

import pytest

from gateway.domain.values import Operation
from gateway.ports.transport import Attempt, Call, Phase, Transport, TransportFailure, UpstreamRequest, UpstreamResponse
from gateway.upstream.policies.deadline import GRACE, Deadline
from tests.unit.upstream.policies.simulation import LoopClock, call, request, simulated


class Endless(Transport):
    """Never responds and ignores the deadline. ``noted`` are the attempts that it records when it ends."""

    def __init__(self, *noted: Attempt) -> None:
        self.calls: list[Call] = []
        self._noted = noted

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        self.calls.append(call)
        try:
            await asyncio.Event().wait()
        finally:
            call.attempts += self._noted
        raise AssertionError(f"{request.operation} ended")

    async def close(self) -> None:
        return None


def limit(_operation: Operation) -> float:
    """The limit of a read on its own."""
    return 20


async def ended(inner: Endless, operation: Operation, seconds: float) -> tuple[float, TransportFailure, Call]:
    on, began = call(seconds), asyncio.get_running_loop().time()
    with pytest.raises(TransportFailure) as caught:
        await Deadline(inner, 0.6, LoopClock(), limit).send(request(operation), on)
    return asyncio.get_running_loop().time() - began, caught.value, on


@simulated
async def test_an_attempt_of_a_read_leaves_time_for_another() -> None:
    inner = Endless()
    took, failure, on = await ended(inner, Operation.LIST, 10)
    assert took == pytest.approx(6 + GRACE)
    assert inner.calls[0].deadline == pytest.approx(on.deadline - 4)
    assert (failure.reason, failure.operation) == ("timeout", Operation.LIST)


@simulated
async def test_a_read_within_a_start_has_the_limit_of_a_read() -> None:
    took, _, _ = await ended(Endless(), Operation.GET, 240)
    assert took == pytest.approx(12 + GRACE)


@simulated
async def test_a_mutation_has_the_whole_deadline() -> None:
    inner = Endless()
    took, failure, on = await ended(inner, Operation.CREATE, 10)
    assert took == pytest.approx(10 + GRACE)
    assert inner.calls[0].deadline == pytest.approx(on.deadline)
    assert failure.reason == "timeout"


@simulated
async def test_without_a_recorded_attempt_the_phase_is_sent() -> None:
    _, failure, _ = await ended(Endless(), Operation.CREATE, 1)
    assert failure.phase is Phase.SENT


@simulated
async def test_the_recorded_phase_of_an_attempt_is_used() -> None:
    noted = Attempt("p", Operation.CREATE, "cancelled", 1, Phase.CONNECTING)
    _, failure, on = await ended(Endless(noted), Operation.CREATE, 1)
    assert failure.phase is Phase.CONNECTING
    assert on.attempts == [noted]


@simulated
async def test_nothing_is_sent_after_the_deadline() -> None:
    for seconds in (0, -1):
        inner = Endless()
        _, failure, _ = await ended(inner, Operation.GET, seconds)
        assert (failure.reason, failure.phase, inner.calls) == ("timeout", Phase.QUEUED, [])


@simulated
async def test_attempts_and_date_of_the_inner_call_are_copied() -> None:
    class Dated(Endless):
        async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
            call.provider_date = "Sun, 22 Nov 2026 03:00:00 GMT"
            call.attempts.append(Attempt("p", request.operation, "200", 0.1, Phase.ANSWERED))
            return UpstreamResponse(200, {}, b"")

    on = call(request_id="r-1", traceparent="t", settling=True)
    await Deadline(Dated(), 0.6, LoopClock(), limit).send(request(), on)
    assert on.provider_date == "Sun, 22 Nov 2026 03:00:00 GMT"
    assert len(on.attempts) == 1


@simulated
async def test_a_cancelled_caller_stays_cancelled() -> None:
    inner = Endless()
    task = asyncio.create_task(Deadline(inner, 0.6, LoopClock(), limit).send(request(), call()))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@simulated
async def test_a_transport_with_ends_in_time_gets_no_second_timeout() -> None:
    """The transport here does not keep that promise, so no other timeout can be the one that ends it."""

    class Promising(Transport):
        ends_in_time = True

        async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
            await asyncio.sleep(call.deadline - asyncio.get_running_loop().time() + 60)
            return UpstreamResponse(200, {"operation": request.operation}, b"")

        async def close(self) -> None:
            return None

    deadline = Deadline(Promising(), 0.6, LoopClock(), limit)
    assert deadline.ends_in_time
    assert (await deadline.send(request(Operation.GET), call(10))).status == 200
