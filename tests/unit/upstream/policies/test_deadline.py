"""Every try ends in time, also one whose transport would go on."""

import asyncio

import pytest

from gateway.domain.operations import Operation
from gateway.ports.transport import (
    Attempt,
    Call,
    Phase,
    Transport,
    TransportFailure,
    UpstreamRequest,
    UpstreamResponse,
)
from gateway.upstream.policies.deadline import GRACE, Deadline
from tests.unit.upstream.policies.simulation import LoopClock, call, request, simulated


class Endless(Transport):
    """Never answers and heeds no deadline. What it has noted by the end is ``noted``."""

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
    """What a read has alone."""
    return 20


async def ended(inner: Endless, operation: Operation, seconds: float) -> tuple[float, TransportFailure, Call]:
    on, began = call(seconds), asyncio.get_running_loop().time()
    with pytest.raises(TransportFailure) as caught:
        await Deadline(inner, 0.6, LoopClock(), limit).send(request(operation), on)
    return asyncio.get_running_loop().time() - began, caught.value, on


@simulated
async def test_a_try_of_a_read_leaves_time_for_another() -> None:
    inner = Endless()
    took, failure, on = await ended(inner, Operation.LIST, 10)
    assert took == pytest.approx(6 + GRACE)
    assert inner.calls[0].deadline == pytest.approx(on.deadline - 4)
    assert (failure.reason, failure.operation) == ("timeout", Operation.LIST)


@simulated
async def test_a_read_on_the_way_to_a_start_ends_as_soon_as_one_alone() -> None:
    took, _, _ = await ended(Endless(), Operation.GET, 240)
    assert took == pytest.approx(12 + GRACE)


@simulated
async def test_a_call_that_changes_something_has_all_the_time() -> None:
    inner = Endless()
    took, failure, on = await ended(inner, Operation.CREATE, 10)
    assert took == pytest.approx(10 + GRACE)
    assert inner.calls[0].deadline == pytest.approx(on.deadline)
    assert failure.reason == "timeout"


@simulated
async def test_a_transport_that_does_not_say_how_far_it_got_may_have_sent_everything() -> None:
    _, failure, _ = await ended(Endless(), Operation.CREATE, 1)
    assert failure.phase is Phase.SENT


@simulated
async def test_a_transport_that_does_is_believed() -> None:
    noted = Attempt("p", Operation.CREATE, "cancelled", 1, Phase.CONNECTING)
    _, failure, on = await ended(Endless(noted), Operation.CREATE, 1)
    assert failure.phase is Phase.CONNECTING
    assert on.attempts == [noted]


@simulated
async def test_nothing_is_sent_when_the_time_is_over() -> None:
    for seconds in (0, -1):
        inner = Endless()
        _, failure, _ = await ended(inner, Operation.GET, seconds)
        assert (failure.reason, failure.phase, inner.calls) == ("timeout", Phase.QUEUED, [])


@simulated
async def test_what_the_transport_learns_of_a_call_is_kept() -> None:
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
async def test_who_cancels_the_caller_sees_it_cancelled() -> None:
    inner = Endless()
    task = asyncio.create_task(Deadline(inner, 0.6, LoopClock(), limit).send(request(), call()))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@simulated
async def test_a_transport_that_promises_to_end_in_time_is_not_timed_a_second_time() -> None:
    """Nothing else ends it: this one breaks its promise, and goes on."""

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
