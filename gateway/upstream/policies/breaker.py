"""Gives a class of work at a provider a rest when it fails too often, so that its callers hear at once."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from gateway.domain.operations import TRAITS, Operation
from gateway.domain.values import WorkClass
from gateway.ports.transport import (
    Call,
    Phase,
    Transport,
    TransportFailure,
    UpstreamRequest,
    UpstreamResponse,
    WorkStatus,
)
from gateway.upstream.policies.circuit import Circuit, State
from gateway.upstream.wrapping import WrappingTransport

_SICK: Final = frozenset({"refused", "dns", "tls", "timeout", "disconnected", "cut_short", "unreadable"})
"""Failures that are the provider's or the network's; the others are about what was asked, or the gateway's own."""


class Breaker(WrappingTransport):
    """One circuit per class of work. Raises :class:`TransportFailure` (``circuit_open``) while it is open.

    A read on the way to something else counts there when it fails, for then nothing comes of it. That it succeeds tells
    nothing about what is to follow.
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
            if isinstance(exc, TransportFailure) and exc.reason in _SICK and exc.phase > Phase.QUEUED:
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
    """Go through. Raises :class:`TransportFailure` when the circuit is open."""
    refused = circuit.enter()
    if refused is not None:
        raise circuit_open(operation, refused)


def circuit_open(operation: Operation, retry_after: float) -> TransportFailure:
    """What a caller hears whose call does not go through."""
    return TransportFailure("circuit_open", Phase.QUEUED, operation=operation, retry_after=retry_after)
