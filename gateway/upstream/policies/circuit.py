"""When a class of work at a provider gets a rest, and how it comes back: the state of one breaker, without any I/O.

While it is ``closed``, everything goes through and is counted. When too many of the last ``window``'s calls failed, or
so many in a row, the circuit is ``open`` for a while and nothing goes through. Then it is ``half_open``: a few calls
find out. One that succeeds closes it; one that fails opens it again, for twice as long.

A success costs one addition and no look at the clock. A failure notes how much was counted when it came; of these
notes a few are kept, spread over the window, and the share is that of the calls since the oldest. So the window begins
with a failure, rolls on in steps, and is up to a step shorter than ``window``.
"""

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.ports.clock import Clock
from gateway.ports.policies import BreakerSettings

STEPS: Final = 6
"""In how many steps a window rolls on."""


class _Note(NamedTuple):
    """How many calls had failed and succeeded before the failure of the moment ``at``."""

    at: float
    failed: int
    succeeded: int


class State(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Circuit:
    """The breaker of one class of work. ``changed`` hears of every new state.

    A caller keeps the ``generation`` in which it entered and passes it with the outcome: calls that began before the
    last change of state do not count.
    """

    __slots__ = (
        "_before_row", "_clock", "_failed", "_notes", "_probing", "_rest", "_row", "_settings", "_succeeded", "_until",
        "changed", "generation", "state",
    )  # fmt: skip

    def __init__(self, settings: BreakerSettings, clock: Clock) -> None:
        self.state = State.CLOSED
        self.generation = 0
        self.changed: Callable[[State], None] = lambda _state: None
        self._settings = settings
        self._clock = clock
        self._rest = settings.rest
        self._until = 0.0
        self._failed = self._succeeded = self._probing = 0
        self._notes: deque[_Note] = deque()
        self._row: deque[float] = deque(maxlen=settings.minimum)  # when the last failures came, none succeeding between
        self._before_row = 0  # how many calls had succeeded by then

    def refuses_for(self) -> float | None:
        """For how many more seconds nothing goes through; None: it does."""
        if self.state is State.CLOSED:
            return None
        if self.state is State.HALF_OPEN and self._probing < self._settings.probes:
            return None
        left = self._until - self._clock.monotonic()
        return left if left > 0 else None

    def enter(self) -> float | None:
        """Go through; or not, for so many more seconds."""
        if self.state is State.CLOSED:
            return None
        refused = self.refuses_for()
        if refused is None:
            now = self._clock.monotonic()
            if self.state is State.OPEN:
                self._change(State.HALF_OPEN)
            if now >= self._until:  # probes that are not back by then do not keep others from finding out
                self._until = now + self._rest
                self._probing = 0
            self._probing += 1
        return refused

    def leave(self, generation: int) -> None:
        """A call ended that tells nothing about the provider."""
        if self.state is State.HALF_OPEN and generation == self.generation and self._probing:
            self._probing -= 1

    def succeeded(self, generation: int) -> None:
        """The provider did what it was asked, or had a sound reason not to."""
        if generation != self.generation:
            return
        if self.state is State.CLOSED:
            self._succeeded += 1
        elif self.state is State.HALF_OPEN:
            self._rest = self._settings.rest
            self._notes.clear()
            self._row.clear()
            self._change(State.CLOSED)

    def failed(self, generation: int) -> None:
        """The provider could not be reached, or failed by itself."""
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
        notes, row, window = self._notes, self._row, self._settings.window
        while notes and notes[0].at <= now - window:
            notes.popleft()
        if not notes or notes[-1].at <= now - window / STEPS:
            notes.append(_Note(now, self._failed, self._succeeded))
        if self._before_row != self._succeeded:
            self._before_row = self._succeeded
            row.clear()
        row.append(now)
        self._failed += 1

    def _all_failed(self, now: float) -> bool:
        """Whether the last calls did; then it does not matter how many succeeded before in the same window."""
        return len(self._row) == self._settings.minimum and self._row[0] > now - self._settings.window

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
