"""The create promise under as many interleavings as there is time for (docs/fault-cases.md#fault-14).

The environment variable ``INTERLEAVINGS`` is the minimum number of runs in total, 10,000 by default; ``FAULTS_SEED``
seeds the samples and the walks, 1 by default. See ``README.md``.
"""

import gc
import os
from collections.abc import Callable
from typing import Final

import pytest

from tests.faults.simulator.invariants import Violation
from tests.faults.simulator.replica import IntentGateway
from tests.faults.simulator.scenarios import SCENARIOS
from tests.faults.simulator.search import Choices, explore, text_of
from tests.faults.simulator.world import World
from tests.memory_store import MemoryDatabase

INTERLEAVINGS: Final = int(os.environ.get("INTERLEAVINGS") or 10_000)
SEED: Final = int(os.environ.get("FAULTS_SEED") or 1)
SHARE: Final = -(-INTERLEAVINGS // len(SCENARIOS))
WALKS: Final = SHARE // 10


@pytest.mark.parametrize("title", SCENARIOS)
def test_create_makes_one_recorded_runtime_in_every_interleaving(
    title: str, record_property: Callable[[str, object], None]
) -> None:
    """Each await of either replica may be overtaken, stopped, killed or answered with a fault."""
    runs = steps = surplus = 0
    database = MemoryDatabase()

    def run(choices: Choices) -> None:
        nonlocal runs, steps, surplus
        runs += 1
        if runs % 16 == 0:
            gc.collect()
        world = World(SCENARIOS[title], choices, IntentGateway, database)
        try:
            world.run()
        except Violation as violation:
            replay = f"python -m tests.faults.simulator '{title}' {text_of(choices.shortest_path())}"
            pytest.fail(f"{violation}\n{world.report()}\nreplay: {replay}", pytrace=False)
        steps += world.scheduler.steps
        surplus += any(intent.surplus for intent in world.rows.intents.values())

    gc.collect()
    gc.freeze()  # so that a collection looks only at what the runs left behind
    gc.disable()  # worlds are small and full of cycles, which would trigger many collections
    try:
        explored = explore(run, runs=SHARE, walks=WALKS, seed=SEED)
    finally:
        gc.enable()
        gc.unfreeze()
    assert explored.complete >= 1, "not every single deviation was tried"
    assert explored.runs >= SHARE
    if not SCENARIOS[title].promised:
        assert surplus, "no second runtime was made, although nothing prevents it"
    for name, value in (("interleavings", explored.runs), ("steps", steps), ("seed", SEED)):
        record_property(name, value)
    print(f"{title}: {explored.runs} interleavings, seed {SEED}")  # noqa: T201 (shown with -s)
