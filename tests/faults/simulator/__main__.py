"""Run one interleaving and print it step by step: ``python -m tests.faults.simulator 'none, one key' 0.0.3``.

See ``README.md``.
"""

import sys

from tests.faults.simulator import moving_world
from tests.faults.simulator.invariants import Violation
from tests.faults.simulator.moving_world import MovingWorld
from tests.faults.simulator.replica import IntentGateway
from tests.faults.simulator.scenarios import SCENARIOS
from tests.faults.simulator.search import Choices, path_of
from tests.faults.simulator.world import World


def main(title: str, path: str) -> int:
    """Print the run. Return the exit status: 1 if an invariant was violated, else 0."""
    choices = Choices(path_of(path))
    world: World | MovingWorld
    if title in moving_world.SCENARIOS:
        world = MovingWorld(moving_world.SCENARIOS[title], choices)
    else:
        world = World(SCENARIOS[title], choices, IntentGateway)
    try:
        world.run()
    except Violation as violation:
        sys.stdout.write(f"{world.report()}\n{violation}\n")
        return 1
    sys.stdout.write(f"{world.report()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
