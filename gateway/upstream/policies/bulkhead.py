"""Bounds how much goes on at a provider at once, per class of work, so that one class never uses up another's room."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from gateway.domain.operations import TRAITS, Operation
from gateway.domain.values import WorkClass
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
)
from gateway.upstream.policies.breaker import circuit_open
from gateway.upstream.policies.circuit import Circuit
from gateway.upstream.policies.slots import SlotPool, Wait
from gateway.upstream.wrapping import WrappingTransport

RETRY_AFTER: Final = 1.0
"""Seconds after which a place may be free, where nobody can know."""


class Bulkhead(WrappingTransport):
    """A number of places per lane: a class of work, or settling reads. Beyond them and the row of those that wait, and
    for who waits until the deadline, raises :class:`TransportFailure` (``overloaded``).

    Nobody waits where the circuit of that class is open: those hear ``circuit_open`` at once. ``rejected`` hears the
    lane of each call that was refused as too many.
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
        places = self._places(request.operation, call)
        if self._reserved and (id(call), id(places)) in self._reserved:
            return await self.inner.send(request, call)
        if not places.take():
            await self._wait(places, request.operation, call)
        try:
            return await self.inner.send(request, call)
        finally:
            places.give_back()

    @asynccontextmanager
    async def reserve(self, operation: Operation, call: Call) -> AsyncIterator[None]:
        places = self._places(operation, call)
        key = id(call), id(places)
        if key in self._reserved:
            yield
            return
        if not places.take():
            await self._wait(places, operation, call)
        self._reserved.add(key)
        try:
            async with self.inner.reserve(operation, call):
                yield
        finally:
            self._reserved.remove(key)
            places.give_back()

    def _places(self, operation: Operation, call: Call) -> SlotPool:
        if call.settling and TRAITS[operation].work is WorkClass.READ:
            return self._settling
        return self._lanes[call.work_of(operation)]

    async def _wait(self, places: SlotPool, operation: Operation, call: Call) -> None:
        circuit = self._circuits[call.work_of(operation)]
        refused = circuit.refuses_for()
        if refused is not None:
            raise circuit_open(operation, refused)
        began = self._clock.monotonic()
        if places.waiting < places.most_waiting and began < call.deadline:
            try:
                turn = await places.wait(call.deadline - began)
            finally:
                call.queued += self._clock.monotonic() - began
            if turn is Wait.ACQUIRED:
                return
            if turn is Wait.TURNED_AWAY:
                raise circuit_open(operation, circuit.refuses_for() or 0.0)
        self._rejected(self._lane(places))
        raise TransportFailure("overloaded", Phase.QUEUED, operation=operation, retry_after=RETRY_AFTER)

    def _lane(self, places: SlotPool) -> str:
        return next(lane for lane, its in self._lanes.items() if its is places)

    def status(self) -> dict[WorkClass, WorkStatus]:
        status = super().status()
        for work, told in status.items():
            places = self._lanes[work]
            told.in_flight, told.max_in_flight = places.in_flight, places.limit
            told.waiting, told.max_waiting = places.waiting, places.most_waiting
        return status
