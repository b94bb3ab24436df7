"""Circuit breaker per provider and class of work: fails fast while open."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from gateway.domain.values import TRAITS, Operation, WorkClass
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
from gateway.upstream.policies.breaker_state import Circuit, State

_PROVIDER_FAULTS: Final = frozenset({"refused", "dns", "tls", "timeout", "disconnected", "cut_short", "unreadable"})
"""Failures of the provider or the network; the others concern the request itself, or are the gateway's own."""


class Breaker(WrappingTransport):
    """One circuit per class of work. Raises :class:`TransportFailure` (``circuit_open``) while it is open.

    A read that is part of another class of work (the look-up before a stop, say) counts for that class only when it
    fails, because then the whole call fails. Its success proves nothing about the request that follows.
    """

    def __init__(self, inner: Transport, circuits: Mapping[WorkClass, Circuit]) -> None:
        super().__init__(inner)
        self._circuits = circuits
        self._reserved: dict[tuple[int, WorkClass], int] = {}

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        work = call.work_of(request.operation)
        circuit = self._circuits[work]
        reserved = self._reserved.get((id(call), work)) if self._reserved else None
        if reserved is None and circuit.state is not State.CLOSED:
            enter(circuit, request.operation)
        generation = circuit.generation if reserved is None else reserved
        try:
            response = await self.inner.send(request, call)
        except BaseException as exc:
            if isinstance(exc, TransportFailure) and exc.reason in _PROVIDER_FAULTS and exc.phase > Phase.QUEUED:
                circuit.failed(generation)
            elif reserved is None:
                circuit.leave(generation)
            raise
        if response.status >= 500:
            circuit.failed(generation)
        elif work is TRAITS[request.operation].work:
            circuit.succeeded(generation)
        elif reserved is None:
            circuit.leave(generation)
        return response

    @asynccontextmanager
    async def reserve(self, operation: Operation, call: Call) -> AsyncIterator[None]:
        work = TRAITS[operation].work
        key = id(call), work
        if key in self._reserved:
            yield
            return
        circuit = self._circuits[work]
        enter(circuit, operation)
        generation = self._reserved[key] = circuit.generation
        try:
            async with self.inner.reserve(operation, call):
                yield
        finally:
            del self._reserved[key]
            circuit.leave(generation)

    def status(self) -> dict[WorkClass, WorkStatus]:
        status = super().status()
        for work, circuit in self._circuits.items():
            status[work].breaker = circuit.state.value
            status[work].retry_after = circuit.refuses_for()
        return status


def enter(circuit: Circuit, operation: Operation) -> None:
    """Enter the circuit. Raises :class:`TransportFailure` (``circuit_open``) when it is open."""
    refused = circuit.enter()
    if refused is not None:
        raise circuit_open(operation, refused)


def circuit_open(operation: Operation, retry_after: float) -> TransportFailure:
    """The failure of a call that an open circuit refuses; ``retry_after`` in seconds."""
    return TransportFailure("circuit_open", Phase.QUEUED, operation=operation, retry_after=retry_after)
