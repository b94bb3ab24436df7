"""Who goes on next: everything under test waits here at each of its awaits, until it is told what comes of it.

An actor is a task. Whoever goes on, goes on until it cannot; then it is the turn of who waits longest. Time passes only
when nobody can go on.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.simulator.loop import OUTSIDE, REPLICA, Life, SimulatedLoop
from tests.faults.simulator.search import Choices

GO: Final = "go"
DELAY: Final = "delay"
STOP: Final = "stop"
KILL: Final = "kill"
DRAIN: Final = "drain"
_OF_PROCESSES: Final = frozenset({DELAY, STOP, KILL, DRAIN})
MOST_STEPS: Final = 500


class Stuck(Exception):
    """A run does not come to an end."""


@dataclass(slots=True, eq=False)
class Waiting:
    """An await of the code under test. ``faults`` are other ends than the usual one; ``delays`` are seconds for which
    what happens outside may be put off."""

    label: str
    life: Life
    answer: "asyncio.Future[str]"
    faults: Sequence[str]
    delays: Sequence[float] = ()
    needs: Life | None = None
    after: float = 0.0

    def can_go(self, now: float) -> bool:
        """Whether its process, and the one that it reports to, run now."""
        for life in (self.life, self.needs):
            if life is not None and life.stopped_until > now:
                return False
        return self.after <= now and not self.life.dead


@dataclass(slots=True)
class Budget:
    """How much may go wrong in one run."""

    faults: int = 2
    delays: int = 1
    stops: int = 2
    kills: int = 1
    drains: int = 1


@dataclass(slots=True)
class Scheduler:
    """Offers what can happen next, and lets the chosen thing happen.

    ``stops`` are for how many seconds a process may stand still. ``killed`` hears of a process that is no more, and
    ``drained`` of one that is asked to end.
    """

    choices: Choices
    loop: SimulatedLoop
    lives: Sequence[Life]
    stops: Sequence[float]
    budget: Budget
    killed: Callable[[Life], None]
    drained: Callable[[Life], None]
    trace: list[str] = field(default_factory=list)
    over: bool = False
    steps: int = 0
    last_trouble: float = 0.0
    _waiting: "dict[asyncio.Task[object], Waiting]" = field(default_factory=dict)

    async def wait(
        self,
        label: str,
        *,
        faults: Sequence[str] = (),
        delays: Sequence[float] = (),
        needs: Life | None = None,
    ) -> str:
        """Wait for the turn; what comes of it: ``go`` or one of ``faults``."""
        if self.over:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        answer: asyncio.Future[str] = self.loop.create_future()
        self._waiting[task] = Waiting(label, REPLICA.get(), answer, faults, delays, needs)
        try:
            return await answer
        finally:
            self._waiting.pop(task, None)

    def run(self, until: Callable[[], bool]) -> None:
        """Go on until ``until`` says that it is enough, asked whenever nobody can go on. Raises :class:`Stuck`."""
        self.loop.run_ready()
        while True:
            able = [task for task, waiting in self._waiting.items() if waiting.can_go(self.loop.now)]
            if able:
                self._step(able)
            elif until() or not self._pass_time():
                return
            self.loop.run_ready()

    def _step(self, able: "list[asyncio.Task[object]]") -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Stuck("it goes on for ever")
        first = self._waiting[able[0]]
        options = [(GO, 0.0), *self._troubles(first)]
        chosen = self.choices.choose(len(options) + len(able) - 1)
        if chosen >= len(options):
            self._resume(able[chosen - len(options) + 1], GO)
            self._to_the_end(able[0])
            return
        what, seconds = options[chosen]
        if what != GO:
            self.last_trouble = self.loop.now + seconds
        if what in _OF_PROCESSES:
            self._trouble(first, what, seconds)
            return
        self.budget.faults -= what != GO
        self._resume(able[0], what)

    def _troubles(self, first: Waiting) -> Iterator[tuple[str, float]]:
        """What can go wrong now: with this await, or with its process."""
        life, budget = first.life, self.budget
        if budget.faults:
            yield from ((fault, 0.0) for fault in first.faults)
        if budget.delays:
            yield from ((DELAY, seconds) for seconds in first.delays)
        if life is OUTSIDE:
            return
        if budget.stops:
            yield from ((STOP, seconds) for seconds in self.stops)
        if any(one is not life and not (one.dead or one.ending) for one in self.lives):
            if budget.kills:
                yield KILL, 0.0
            if budget.drains and not life.ending:
                yield DRAIN, 0.0

    def _trouble(self, first: Waiting, what: str, seconds: float) -> None:
        life, budget = first.life, self.budget
        self._note(f"{what} {life.name} at {first.label}{f' for {seconds:g} s' if seconds else ''}")
        if what == DELAY:
            budget.delays -= 1
            first.after = self.loop.now + seconds
        elif what == STOP:
            budget.stops -= 1
            life.stopped_until = self.loop.now + seconds
        elif what == KILL:
            budget.kills -= 1
            life.dead = True
            self.killed(life)
        else:
            budget.drains -= 1
            life.ending = True
            self.drained(life)

    def _resume(self, task: "asyncio.Task[object]", outcome: str) -> None:
        """Let an actor go on; it comes first from now on."""
        waiting = self._waiting.pop(task)
        self._note(f"{waiting.label}: {outcome}")
        others = dict(self._waiting)
        self._waiting.clear()
        waiting.answer.set_result(outcome)
        self.loop.run_ready()
        for other, its in others.items():
            if not its.answer.done():
                self._waiting[other] = its

    def _to_the_end(self, task: "asyncio.Task[object]") -> None:
        if task in self._waiting:
            self._waiting[task] = self._waiting.pop(task)

    def _pass_time(self) -> bool:
        moments = [life.stopped_until for life in self.lives if life.stopped_until > self.loop.now]
        moments += [its.after for its in self._waiting.values() if its.after > self.loop.now]
        timer = self.loop.next_timer()
        if timer is not None:
            moments.append(timer)
        if not moments:
            return False
        self.loop.advance(min(moments))
        return True

    def _note(self, what: str) -> None:
        self.trace.append(f"{self.loop.now:8.1f}  {what}")
