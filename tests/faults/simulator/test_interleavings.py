"""The create promise under every interleaving that there is time for.

``INTERLEAVINGS`` is how many to try in all at least, ``FAULTS_SEED`` draws those of which not all can be tried.
"""

import gc
import os
from collections.abc import Callable
from typing import Final

import pytest

from gateway.storage.memory import MemoryDatabase
from tests.faults.simulator.promises import Violation
from tests.faults.simulator.replica import IntentGateway
from tests.faults.simulator.scenarios import SCENARIOS
from tests.faults.simulator.search import Choices, explore, text_of
from tests.faults.simulator.world import World

INTERLEAVINGS: Final = int(os.environ.get("INTERLEAVINGS") or 10_000)
SEED: Final = int(os.environ.get("FAULTS_SEED") or 1)
SHARE: Final = -(-INTERLEAVINGS // len(SCENARIOS))
WALKS: Final = SHARE // 10


@pytest.mark.parametrize("title", SCENARIOS)
def test_a_create_makes_one_runtime_and_forgets_none(
    title: str, record_property: Callable[[str, object], None]
) -> None:
    """Whatever stops, dies, gets lost or overtakes at any await, in either replica."""
    steps = shown = 0
    database = MemoryDatabase()

    def run(choices: Choices) -> None:
        nonlocal steps, shown
        world = World(SCENARIOS[title], choices, IntentGateway, database)
        try:
            world.run()
        except Violation as violation:
            again = f"python -m tests.faults.simulator '{title}' {text_of(choices.told())}"
            pytest.fail(f"{violation}\n{world.told()}\nagain: {again}", pytrace=False)
        steps += world.scheduler.steps
        shown += any(intent.surplus for intent in world.rows.intents.values())

    gc.collect()
    gc.disable()  # worlds are full of cycles, and small
    try:
        explored = explore(run, runs=SHARE, walks=WALKS, seed=SEED)
    finally:
        gc.enable()
        gc.collect()
    assert explored.complete >= 1, "not even every single trouble was tried"
    assert explored.runs >= SHARE
    if not SCENARIOS[title].promised:
        assert shown, "no second runtime was made, although nothing prevents it"
    for name, value in (("interleavings", explored.runs), ("steps", steps), ("seed", SEED)):
        record_property(name, value)
    print(f"{title}: {explored.runs} interleavings, seed {SEED}")  # noqa: T201 (asked for with -s)
