"""A move and its rollback under many interleavings of two movers, clients that write and read, and the reconciler.

The environment variable ``MOVE_INTERLEAVINGS`` is the number of runs with several deviations in total, 60 by default;
``FAULTS_SEED`` seeds them, 1 by default. Runs in which the mover is killed, or suspended, at one of its steps are all
tried. See ``README.md``.
"""

import os
from collections.abc import Iterator
from typing import Final

import pytest

from tests.faults.simulator.invariants import Violation
from tests.faults.simulator.moving_world import MOVE, SCENARIOS, MovingWorld
from tests.faults.simulator.search import Choices, Path, explore, text_of
from tests.memory_store import MemoryDatabase

RUNS: Final = int(os.environ.get("MOVE_INTERLEAVINGS") or 60)
SEED: Final = int(os.environ.get("FAULTS_SEED") or 1)
KINDS: Final = ("an idle runtime", "a running runtime", "an idle runtime and back")
KILL: Final = 1
SUSPEND_SHORTLY: Final = 2
SUSPEND: Final = 3
"""The numbers of these choices where they are the only disturbance. ``SUSPEND`` lasts until the mover's lease, its rows
and its deadlines have ended; ``SUSPEND_SHORTLY`` ends before the deadline of a write."""


@pytest.fixture(scope="module")
def database() -> MemoryDatabase:
    return MemoryDatabase()


def run(title: str, choices: Choices, database: MemoryDatabase) -> MovingWorld:
    """One run. Fails the test with the command that repeats it."""
    world = MovingWorld(SCENARIOS[title], choices, database)
    try:
        world.run()
    except Violation as violation:
        replay = f"python -m tests.faults.simulator '{title}' {text_of(choices.shortest_path())}"
        pytest.fail(f"{violation}\n{world.report()}\nreplay: {replay}", pytrace=False)
    return world


def steps_of_the_mover(kind: str, database: MemoryDatabase) -> list[int]:
    """The numbers of the steps at which the mover, or what takes a runtime back, works on the runtime. (Without a
    disturbance, the trace has one line for each step.)"""
    trace = run(f"{kind}, undisturbed", Choices(), database).scheduler.trace
    steps: list[int] = []
    begun: int | None = None
    for number, line in enumerate(trace):
        if begun is None and (MOVE in line or "hold_runtime" in line):
            begun = number
        if begun is not None and "change_move is done" in line:
            steps += range(begun, number + 1)
            begun = None
    return steps


def paths(kind: str, choice: int, database: MemoryDatabase) -> Iterator[Path]:
    """All paths whose only deviation is this choice at a step of the mover."""
    for number in steps_of_the_mover(kind, database):
        yield (*(0,) * number, choice)


@pytest.mark.parametrize(("what", "choice"), [("killed", KILL), ("stopped", SUSPEND)])
@pytest.mark.parametrize("kind", ["a running runtime", "an idle runtime and back"])
def test_mover_that_is_killed_or_suspended_at_any_step_is_replaced_and_nothing_is_lost(
    kind: str, what: str, choice: int, database: MemoryDatabase
) -> None:
    tried = [run(f"{kind}, {what}", Choices(path), database) for path in paths(kind, choice, database)]
    assert len(tried) > 30
    disturbed = [world for world in tried if world.scheduler.last_disturbance]
    assert len(disturbed) > 30


@pytest.mark.parametrize("kind", KINDS)
def test_move_keeps_every_promise_in_every_interleaving(kind: str, database: MemoryDatabase) -> None:
    """Processes are killed and suspended, calls of the store and of the providers fail, are late or lose responses."""
    share = -(-RUNS // len(KINDS))
    explored = explore(
        lambda choices: run(f"{kind}, all", choices, database) and None, runs=share // 2, walks=share // 2, seed=SEED
    )
    print(f"{kind}: {explored.runs} interleavings, seed {SEED}")  # noqa: T201 (shown with -s)
    assert explored.runs >= share // 2


def test_writes_that_the_mover_does_not_wait_for_are_detected(database: MemoryDatabase) -> None:
    async def enter(*_: object) -> None:
        return None

    world = MovingWorld(SCENARIOS["an idle runtime, undisturbed"], Choices(), database)
    for replica in world.replicas:
        replica.permits.enter = enter  # type: ignore[method-assign]
    with pytest.raises(Violation, match=r"was acknowledged, and lost|from which the runtime has gone"):
        world.run()


def test_write_that_is_sent_long_after_it_was_permitted_is_detected(database: MemoryDatabase) -> None:
    """The process is suspended before its first write is sent, until the runtime has gone."""
    first = "connect: replace_config at old"
    trace = run("an idle runtime, undisturbed", Choices(), database).scheduler.trace
    path = (*(0,) * next(number for number, line in enumerate(trace) if first in line), SUSPEND_SHORTLY)
    run("an idle runtime, stopped", Choices(path), database)
    world = MovingWorld(SCENARIOS["an idle runtime, stopped"], Choices(path), database)
    for replica in world.replicas:
        replica.permits.require = lambda _: None  # type: ignore[method-assign]
    with pytest.raises(Violation, match="from which the runtime has gone"):
        world.run()
