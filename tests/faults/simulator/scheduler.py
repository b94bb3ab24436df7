"""Decides which task continues next: the code under test waits here at each of its awaits for the outcome.

By default the task that ran last continues for as long as it can, then the one that has waited longest. Time advances
only when no task can continue.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.simulator.loop import OUTSIDE, REPLICA, Process, SimulatedLoop
from tests.faults.simulator.search import Choices

GO: Final = "go"
DELAY: Final = "delay"
STOP: Final = "stop"
KILL: Final = "kill"
DRAIN: Final = "drain"
_NOT_OUTCOMES: Final = frozenset({DELAY, STOP, KILL, DRAIN})
MOST_STEPS: Final = 500
"""The steps of a run of creates, at most."""


class Stuck(Exception):
    """A run has too many steps."""


@dataclass(slots=True, eq=False)
class Waiting:
    """An await of the code under test. ``faults`` are its possible outcomes besides ``go``; ``delays`` are the seconds
    by which it may be delayed. ``owner`` is the process that is stopped or killed here, by default ``process``."""

    label: str
    process: Process
    answer: "asyncio.Future[str]"
    faults: Sequence[str]
    delays: Sequence[float] = ()
    needs: Process | None = None
    after: float = 0.0
    owner: Process | None = None

    def can_go(self, now: float) -> bool:
        """Whether its delay is over, and its process and the one that it ``needs`` run."""
        for process in (self.process, self.needs):
            if process is not None and process.stopped_until > now:
                return False
        return self.after <= now and not self.process.dead


@dataclass(slots=True)
class Budget:
    """The number of disturbances of each kind in one run, at most."""

    faults: int = 2
    delays: int = 1
    stops: int = 2
    kills: int = 1
    drains: int = 1


@dataclass(slots=True)
class Scheduler:
    """Lists what can happen next, and executes the chosen option.

    ``stops`` are the seconds for which a process may be stopped. ``killed`` is called with a process that was killed,
    and ``drained`` with one that receives SIGTERM.
    """

    choices: Choices
    loop: SimulatedLoop
    processes: Sequence[Process]
    stops: Sequence[float]
    budget: Budget
    killed: Callable[[Process], None]
    drained: Callable[[Process], None]
    trace: list[str] = field(default_factory=list)
    over: bool = False
    steps: int = 0
    most_steps: int = MOST_STEPS
    last_disturbance: float = 0.0
    _waiting: "dict[asyncio.Task[object], Waiting]" = field(default_factory=dict)

    async def wait(
        self,
        label: str,
        *,
        faults: Sequence[str] = (),
        delays: Sequence[float] = (),
        needs: Process | None = None,
        owner: Process | None = None,
    ) -> str:
        """Wait until chosen. Return ``go`` or one of ``faults``. Raises ``CancelledError`` when the run is over."""
        if self.over:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        answer: asyncio.Future[str] = self.loop.create_future()
        self._waiting[task] = Waiting(label, REPLICA.get(), answer, faults, delays, needs, owner=owner)
        try:
            return await answer
        finally:
            self._waiting.pop(task, None)

    def run(self, until: Callable[[], bool]) -> None:
        """Run until ``until`` returns true or nothing can happen any more. ``until`` is called whenever no task can
        continue. Raises :class:`Stuck`."""
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
        if self.steps > self.most_steps:
            raise Stuck(f"the run has more than {self.most_steps} steps")
        first = self._waiting[able[0]]
        options = [(GO, 0.0), *self._disturbances(first)]
        chosen = self.choices.choose(len(options) + len(able) - 1)
        if chosen >= len(options):
            self._resume(able[chosen - len(options) + 1], GO)
            self._to_the_end(able[0])
            return
        what, seconds = options[chosen]
        if what != GO:
            self.last_disturbance = self.loop.now + seconds
        if what in _NOT_OUTCOMES:
            self._disturb(first, what, seconds)
            return
        self.budget.faults -= what != GO
        self._resume(able[0], what)

    def _disturbances(self, first: Waiting) -> Iterator[tuple[str, float]]:
        """The disturbances that are possible now, of this await or of its process."""
        process, budget = first.owner or first.process, self.budget
        if budget.faults:
            yield from ((fault, 0.0) for fault in first.faults)
        if budget.delays:
            yield from ((DELAY, seconds) for seconds in first.delays)
        if process is OUTSIDE or process.dead:
            return
        if budget.stops:
            yield from ((STOP, seconds) for seconds in self.stops)
        if any(one is not process and not (one.dead or one.ending) for one in self.processes):
            if budget.kills:
                yield KILL, 0.0
            if budget.drains and not process.ending:
                yield DRAIN, 0.0

    def _disturb(self, first: Waiting, what: str, seconds: float) -> None:
        process, budget = first.owner or first.process, self.budget
        self._note(f"{what} {process.name} at {first.label}{f' for {seconds:g} s' if seconds else ''}")
        if what == DELAY:
            budget.delays -= 1
            first.after = self.loop.now + seconds
        elif what == STOP:
            budget.stops -= 1
            process.stopped_until = self.loop.now + seconds
        elif what == KILL:
            budget.kills -= 1
            process.dead = True
            self.killed(process)
        else:
            budget.drains -= 1
            process.ending = True
            self.drained(process)

    def _resume(self, task: "asyncio.Task[object]", outcome: str) -> None:
        """Continue a task, and put its next await first in the queue."""
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
        moments = [process.stopped_until for process in self.processes if process.stopped_until > self.loop.now]
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
