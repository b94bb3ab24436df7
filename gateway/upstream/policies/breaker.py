"""Circuit breaker per provider and class of work: fails fast while open.

While it is ``closed``, all calls pass and are counted. It opens when the share of failed calls within ``window`` is too
high, or when the last ``minimum`` calls all failed. While it is ``open``, no call passes. After ``rest`` seconds it is
``half_open``: a few calls pass as probes. One success closes it; one failure opens it again, for twice as long, up to
``max_rest``.

A success costs one addition and does not read the clock. A failure stores the counts at its time as a note. A few of
these notes, spread over the window, are kept, and the share is taken over the calls since the oldest one. So the window
starts at a failure, moves in steps, and is up to one step shorter than ``window``.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.domain.values import TRAITS, Operation, WorkClass
from gateway.ports.clock import Clock
from gateway.ports.policies import BreakerSettings
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

STEPS: Final = 6
"""The number of steps in which a window moves."""


class _Note(NamedTuple):
    """How many calls had failed and succeeded before the failure at the time ``at``."""

    at: float
    failed: int
    succeeded: int


class State(StrEnum):
    """Which calls pass: all, none, or a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True, eq=False, repr=False)
class Circuit:
    """The breaker of one class of work. ``changed`` is called with every new state.

    A caller keeps the ``generation`` in which it entered and passes it with the outcome: calls that began before the
    last change of state do not count.
    """

    _settings: BreakerSettings
    _clock: Clock
    state: State = State.CLOSED
    generation: int = 0
    changed: Callable[[State], None] = lambda _state: None
    _until: float = 0.0
    _failed: int = 0
    _succeeded: int = 0
    _probing: int = 0
    _notes: deque[_Note] = field(default_factory=deque)
    _succeeded_before_streak: int = 0
    _rest: float = field(init=False)
    _streak: deque[float] = field(init=False)  # times of the last failures without a success

    def __post_init__(self) -> None:
        self._rest = self._settings.rest
        self._streak = deque(maxlen=self._settings.minimum)

    def refuses_for(self) -> float | None:
        """For how many more seconds no call passes; None when the next one does."""
        if self.state is State.CLOSED:
            return None
        if self.state is State.HALF_OPEN and self._probing < self._settings.probes:
            return None
        left = self._until - self._clock.monotonic()
        return left if left > 0 else None

    def enter(self) -> float | None:
        """Admit one call and return None; or refuse it, and return for how many more seconds."""
        if self.state is State.CLOSED:
            return None
        refused = self.refuses_for()
        if refused is None:
            now = self._clock.monotonic()
            if self.state is State.OPEN:
                self._change(State.HALF_OPEN)
            if now >= self._until:  # probes that have not returned by then must not block new ones
                self._until = now + self._rest
                self._probing = 0
            self._probing += 1
        return refused

    def leave(self, generation: int) -> None:
        """A call ended without evidence about the provider's health."""
        if self.state is State.HALF_OPEN and generation == self.generation and self._probing:
            self._probing -= 1

    def succeeded(self, generation: int) -> None:
        """The provider handled the call, or refused it for a reason of its own (no failure)."""
        if generation != self.generation:
            return
        if self.state is State.CLOSED:
            self._succeeded += 1
        elif self.state is State.HALF_OPEN:
            self._rest = self._settings.rest
            self._notes.clear()
            self._streak.clear()
            self._change(State.CLOSED)

    def failed(self, generation: int) -> None:
        """The provider could not be reached, or failed."""
        if generation != self.generation:
            return
        now = self._clock.monotonic()
        if self.state is State.HALF_OPEN:
            self._rest = min(self._rest * 2, self._settings.max_rest)
            self._open(now)
        elif self.state is State.CLOSED:
            self._note(now)
            if self._all_failed(now) or self._too_many_failed():
                self._open(now)

    def _note(self, now: float) -> None:
        notes, streak, window = self._notes, self._streak, self._settings.window
        while notes and notes[0].at <= now - window:
            notes.popleft()
        if not notes or notes[-1].at <= now - window / STEPS:
            notes.append(_Note(now, self._failed, self._succeeded))
        if self._succeeded_before_streak != self._succeeded:
            self._succeeded_before_streak = self._succeeded
            streak.clear()
        streak.append(now)
        self._failed += 1

    def _all_failed(self, now: float) -> bool:
        """Whether the last ``minimum`` calls failed within the window; earlier successes in it do not matter then."""
        return len(self._streak) == self._settings.minimum and self._streak[0] > now - self._settings.window

    def _too_many_failed(self) -> bool:
        oldest = self._notes[0]
        failed = self._failed - oldest.failed
        seen = failed + self._succeeded - oldest.succeeded
        return seen >= self._settings.minimum and failed >= self._settings.share * seen

    def _open(self, now: float) -> None:
        self._until = now + self._rest
        self._change(State.OPEN)

    def _change(self, state: State) -> None:
        self.state = state
        self.generation += 1
        self.changed(state)


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
