"""Bounds the concurrent calls to a provider per class of work, so that no class can use up the slots of another."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from gateway.domain.values import TRAITS, Operation, WorkClass
from gateway.ports.clock import Clock
from gateway.ports.policies import SETTLING
from gateway.ports.transport import (
    Call,
    Phase,
    Transport,
    TransportFailure,
    UpstreamRequest,
    UpstreamResponse,
    WorkStatus,
    WrappingTransport,
)
from gateway.upstream.policies.breaker import circuit_open
from gateway.upstream.policies.breaker_state import Circuit
from gateway.upstream.policies.bulkhead_slots import SlotPool, Wait

RETRY_AFTER: Final = 1.0
"""Seconds to suggest to a refused caller; when a slot will be free cannot be known."""


class Bulkhead(WrappingTransport):
    """A number of slots per lane: a class of work, or settling reads. Raises :class:`TransportFailure`
    (``overloaded``) when all slots are in use and the queue is full, and when a call waited until its deadline.

    No call waits while the circuit of its class is open: it fails at once with ``circuit_open``. ``rejected`` is called
    with the lane of each call that failed with ``overloaded``.
    """

    def __init__(
        self,
        inner: Transport,
        lanes: Mapping[str, SlotPool],
        circuits: Mapping[WorkClass, Circuit],
        clock: Clock,
        rejected: Callable[[str], None],
    ) -> None:
        super().__init__(inner)
        self._lanes = lanes
        self._settling = lanes[SETTLING]
        self._circuits = circuits
        self._clock = clock
        self._rejected = rejected
        self._reserved: set[tuple[int, int]] = set()

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        slots = self._slots(request.operation, call)
        if self._reserved and (id(call), id(slots)) in self._reserved:
            return await self.inner.send(request, call)
        if not slots.try_acquire():
            await self._wait(slots, request.operation, call)
        try:
            return await self.inner.send(request, call)
        finally:
            slots.release()

    @asynccontextmanager
    async def reserve(self, operation: Operation, call: Call) -> AsyncIterator[None]:
        slots = self._slots(operation, call)
        key = id(call), id(slots)
        if key in self._reserved:
            yield
            return
        if not slots.try_acquire():
            await self._wait(slots, operation, call)
        self._reserved.add(key)
        try:
            async with self.inner.reserve(operation, call):
                yield
        finally:
            self._reserved.remove(key)
            slots.release()

    def _slots(self, operation: Operation, call: Call) -> SlotPool:
        if call.settling and TRAITS[operation].work is WorkClass.READ:
            return self._settling
        return self._lanes[call.work_of(operation)]

    async def _wait(self, slots: SlotPool, operation: Operation, call: Call) -> None:
        circuit = self._circuits[call.work_of(operation)]
        refused = circuit.refuses_for()
        if refused is not None:
            raise circuit_open(operation, refused)
        began = self._clock.monotonic()
        if slots.waiting < slots.max_waiting and began < call.deadline:
            try:
                ended = await slots.wait(call.deadline - began)
            finally:
                call.queued += self._clock.monotonic() - began
            if ended is Wait.ACQUIRED:
                return
            if ended is Wait.REJECTED:
                raise circuit_open(operation, circuit.refuses_for() or 0.0)
        self._rejected(self._lane(slots))
        raise TransportFailure("overloaded", Phase.QUEUED, operation=operation, retry_after=RETRY_AFTER)

    def _lane(self, slots: SlotPool) -> str:
        return next(lane for lane, pool in self._lanes.items() if pool is slots)

    def status(self) -> dict[WorkClass, WorkStatus]:
        status = super().status()
        for work, shown in status.items():
            slots = self._lanes[work]
            shown.in_flight, shown.max_in_flight = slots.in_flight, slots.limit
            shown.waiting, shown.max_waiting = slots.waiting, slots.max_waiting
        return status
