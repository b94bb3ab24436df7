"""When a class of work at a provider gets a rest, and how it comes back: the state of one breaker, without any I/O.

While it is ``closed``, everything goes through and is counted in windows; a window begins with a failure. When too
many of a window's calls failed, the circuit is ``open`` for a while and nothing goes through. Then it is ``half_open``:
a few calls find out. One that succeeds closes it; one that fails opens it again, for twice as long.
"""

from collections.abc import Callable
from enum import StrEnum

from gateway.ports.clock import Clock
from gateway.ports.policies import BreakerSettings


class State(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Circuit:
    """The breaker of one class of work. ``changed`` hears of every new state.

    Who enters keeps the ``era`` that it entered in, and gives it back with the outcome: calls that began before the
    last change say nothing about now.
    """

    __slots__ = (
        "_clock", "_failed", "_probing", "_rest", "_settings", "_succeeded", "_until", "_window_ends", "changed", "era",
        "state",
    )  # fmt: skip

    def __init__(self, settings: BreakerSettings, clock: Clock) -> None:
        self.state = State.CLOSED
        self.era = 0
        self.changed: Callable[[State], None] = lambda _state: None
        self._settings = settings
        self._clock = clock
        self._rest = settings.rest
        self._until = 0.0
        self._window_ends = self._clock.monotonic()
        self._failed = self._succeeded = self._probing = 0

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

    def leave(self, era: int) -> None:
        """A call ended that tells nothing about the provider."""
        if self.state is State.HALF_OPEN and era == self.era and self._probing:
            self._probing -= 1

    def succeeded(self, era: int) -> None:
        """The provider did what it was asked, or had a sound reason not to."""
        if era != self.era:
            return
        if self.state is State.CLOSED:
            self._succeeded += 1
        elif self.state is State.HALF_OPEN:
            self._rest = self._settings.rest
            self._window_ends = self._clock.monotonic()
            self._change(State.CLOSED)

    def failed(self, era: int) -> None:
        """The provider could not be reached, or failed by itself."""
        if era != self.era:
            return
        now = self._clock.monotonic()
        if self.state is State.HALF_OPEN:
            self._rest = min(self._rest * 2, self._settings.max_rest)
            self._open(now)
        elif self.state is State.CLOSED:
            if now >= self._window_ends:
                self._window_ends = now + self._settings.window
                self._failed = self._succeeded = 0
            self._failed += 1
            seen = self._failed + self._succeeded
            if seen >= self._settings.minimum and self._failed >= self._settings.share * seen:
                self._open(now)

    def _open(self, now: float) -> None:
        self._until = now + self._rest
        self._change(State.OPEN)

    def _change(self, state: State) -> None:
        self.state = state
        self.era += 1
        self.changed(state)
