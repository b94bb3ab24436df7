"""Classes of work have separate slots, and no call waits beyond its deadline."""

import asyncio

import pytest

from gateway.domain.values import Operation, WorkClass
from gateway.ports.policies import BreakerSettings
from gateway.ports.transport import Phase, TransportFailure
from gateway.upstream.policies.breaker import Circuit
from gateway.upstream.policies.bulkhead import Bulkhead, SlotPool
from tests.unit.upstream.policies.simulation import LoopClock, ScriptedTransport, call, outcome_of, request, simulated


class Room:
    """A bulkhead of 2 slots and a queue of 3 per lane, for a provider that takes ``seconds`` per call."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.inner = ScriptedTransport(seconds=seconds)
        self.lanes = {lane: SlotPool(2, 3) for lane in [*WorkClass, "settling"]}
        self.circuits = {work: Circuit(BreakerSettings(minimum=1), LoopClock()) for work in WorkClass}
        self.rejected: list[str] = []
        self.transport = Bulkhead(self.inner, self.lanes, self.circuits, LoopClock(), self.rejected.append)

    def free(self) -> bool:
        """Whether every slot was released."""
        return not any(places.in_flight or places.waiting for places in self.lanes.values())


@simulated
async def test_calls_beyond_the_slots_wait_and_beyond_the_queue_are_refused() -> None:
    room = Room()
    began = asyncio.get_running_loop().time()
    outcomes = await asyncio.gather(*(outcome_of(room.transport, request(), call()) for _ in range(7)))
    assert outcomes == ["200"] * 5 + ["overloaded"] * 2
    assert [moment - began for moment, _ in room.inner.sent] == [0, 0, 1, 1, 2]
    assert room.inner.most_in_flight == 2
    assert room.rejected == ["read", "read"]
    assert room.free()


@simulated
async def test_a_refusal_has_retry_after_and_the_phase_queued() -> None:
    room = Room()
    tasks = [asyncio.create_task(room.transport.send(request(), call())) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(TransportFailure) as caught:
        await room.transport.send(request(), call())
    refused = caught.value
    assert (refused.reason, refused.phase, refused.retry_after) == ("overloaded", Phase.QUEUED, 1)
    assert refused.operation is Operation.GET
    await asyncio.gather(*tasks)


@simulated
async def test_a_call_that_waited_until_its_deadline_is_overloaded() -> None:
    room = Room(seconds=100)
    holding = [asyncio.create_task(room.transport.send(request(), call())) for _ in range(2)]
    await asyncio.sleep(0)
    on = call(2.5)
    assert await outcome_of(room.transport, request(), on) == "overloaded"
    assert on.queued == 2.5
    assert await outcome_of(room.transport, request(), call(0)) == "overloaded"
    assert len(room.inner.sent) == 2
    await asyncio.gather(*holding)
    assert room.free()


@simulated
async def test_the_time_in_the_queue_is_recorded() -> None:
    room = Room()
    calls = [call() for _ in range(5)]
    await asyncio.gather(*(room.transport.send(request(), on) for on in calls))
    assert [on.queued for on in calls] == [0, 0, 1, 1, 2]


@simulated
async def test_every_class_has_its_own_slots() -> None:
    room = Room(seconds=60)
    flood = [asyncio.create_task(outcome_of(room.transport, request(Operation.CREATE), call())) for _ in range(50)]
    await asyncio.sleep(0)
    for operation in (Operation.STOP, Operation.START, Operation.GET):
        on = call(90)
        assert await outcome_of(room.transport, request(operation), on) == "200"
        assert on.queued == 0
    await asyncio.gather(*flood)
    assert room.free()


@simulated
async def test_settling_reads_do_not_wait_behind_other_reads() -> None:
    room = Room(seconds=5)
    flood = [asyncio.create_task(outcome_of(room.transport, request(), call())) for _ in range(50)]
    await asyncio.sleep(0)
    on = call(settling=True)
    assert await outcome_of(room.transport, request(), on) == "200"
    assert on.queued == 0
    await asyncio.gather(*flood)


@simulated
async def test_a_reservation_uses_one_slot_for_all_calls_inside() -> None:
    room = Room()
    creates = room.lanes[WorkClass.CREATE]
    on = call()
    async with room.transport.reserve(Operation.CREATE, on):
        assert creates.in_flight == 1
        for _ in range(2):
            async with room.transport.reserve(Operation.CREATE, on):
                await room.transport.send(request(Operation.CREATE), on)
            assert creates.in_flight == 1
        sending = asyncio.create_task(room.transport.send(request(Operation.CREATE), call()))
        reading = asyncio.create_task(room.transport.send(request(), on))
        await asyncio.sleep(0)
        assert (creates.in_flight, room.lanes[WorkClass.READ].in_flight) == (2, 1)
        await asyncio.gather(sending, reading)
    assert room.free()


@simulated
async def test_a_reserved_call_does_not_wait_and_a_reservation_waits_like_a_call() -> None:
    room = Room()
    first, second, third = call(), call(), call(0.5)
    async with room.transport.reserve(Operation.CREATE, first), room.transport.reserve(Operation.CREATE, second):
        with pytest.raises(TransportFailure, match="overloaded"):
            async with room.transport.reserve(Operation.CREATE, third):
                pytest.fail("there was no place")
        await room.transport.send(request(Operation.CREATE), first)
        assert (first.queued, third.queued) == (0, 0.5)
    assert room.free()


@simulated
async def test_an_open_breaker_refuses_new_and_waiting_calls() -> None:
    room = Room(seconds=10)
    circuit, reads = room.circuits[WorkClass.READ], room.lanes[WorkClass.READ]
    circuit.changed = lambda _state: reads.reject_waiting()
    holding = [asyncio.create_task(outcome_of(room.transport, request(), call())) for _ in range(2)]
    waiting = [asyncio.create_task(outcome_of(room.transport, request(), call())) for _ in range(3)]
    await asyncio.sleep(1)
    circuit.failed(circuit.generation)
    assert await outcome_of(room.transport, request(), call()) == "circuit_open"
    assert await asyncio.gather(*waiting) == ["circuit_open"] * 3
    assert room.rejected == []
    assert await asyncio.gather(*holding) == ["200"] * 2
    assert room.free()


@simulated
async def test_a_cancelled_call_releases_its_slot() -> None:
    room = Room()
    tasks = [asyncio.create_task(room.transport.send(request(), call())) for _ in range(5)]
    await asyncio.sleep(0.5)
    for task in (tasks[0], tasks[3]):
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [True, False, False, True, False]
    assert room.free()


@simulated
async def test_the_status_shows_each_class() -> None:
    room = Room()
    tasks = [asyncio.create_task(room.transport.send(request(Operation.STOP), call())) for _ in range(3)]
    await asyncio.sleep(0)
    status = room.transport.status()[WorkClass.RELEASE]
    assert (status.in_flight, status.max_in_flight, status.waiting, status.max_waiting) == (2, 2, 1, 3)
    await asyncio.gather(*tasks)
