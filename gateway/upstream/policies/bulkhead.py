"""Bounds the concurrent calls to a provider per class of work, so that no class can use up the slots of another."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
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
from gateway.upstream.policies.breaker import Circuit, circuit_open


class Wait(Enum):
    """How a wait in the queue ended."""

    ACQUIRED = "acquired"  # with a slot
    TIMED_OUT = "timed_out"
    REJECTED = "rejected"  # the queue was emptied by ``reject_waiting``


@dataclass(slots=True, eq=False, repr=False)
class SlotPool:
    """First come, first served. Every acquired slot has to be released, whatever happens. One event loop uses the pool;
    there are no locks."""

    limit: int
    max_waiting: int
    in_flight: int = 0
    _queue: deque[asyncio.Future[Wait]] = field(default_factory=deque)

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return len(self._queue)

    def try_acquire(self) -> bool:
        """Take a free slot; False when all are taken."""
        if self.in_flight < self.limit:  # (then the queue is empty: a released slot goes to the queue first)
            self.in_flight += 1
            return True
        return False

    async def wait(self, seconds: float) -> Wait:
        """Wait in the queue for up to ``seconds``. The caller checks first that the queue has room
        (:attr:`max_waiting`). Only :attr:`Wait.ACQUIRED` means that there is a slot to release."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Wait] = loop.create_future()
        self._queue.append(turn)
        timer = loop.call_later(seconds, self._time_out, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                if turn in self._queue:
                    self._queue.remove(turn)
            elif turn.result() is Wait.ACQUIRED:  # the slot was assigned at the moment of the cancellation
                self.release()
            raise
        finally:
            timer.cancel()

    def _time_out(self, turn: asyncio.Future[Wait]) -> None:
        if not turn.done():
            self._queue.remove(turn)
            turn.set_result(Wait.TIMED_OUT)

    def release(self) -> None:
        """Pass the slot to the first in the queue, or free it."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(Wait.ACQUIRED)
                return
        self.in_flight -= 1

    def reject_waiting(self) -> None:
        """Empty the queue: every wait in it ends with :attr:`Wait.REJECTED`."""
        queue, self._queue = self._queue, deque()
        for turn in queue:
            if not turn.done():
                turn.set_result(Wait.REJECTED)


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
