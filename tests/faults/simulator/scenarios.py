"""What is simulated: each way of a provider with each way of asking, and what makes it harder."""

from collections.abc import Iterator
from typing import Final

from gateway.ports.provider import Deduplication
from tests.faults.simulator.world import WAIT_OUT, Ask, Scenario

_ONE_KEY: Final = (Ask("box", key="k"), Ask("box", key="k", first=1))
_ONE_NAME: Final = (Ask("box"), Ask("box", first=1))
_TWO_KEYS: Final = (Ask("box", key="k"), Ask("box", key="l", principal="bob", first=1))
_LAG: Final = 10.0
_BY_NAME, _BY_KEY, _NONE = Deduplication.BY_NAME, Deduplication.BY_KEY, Deduplication.NONE


def _scenarios() -> Iterator[Scenario]:
    for way in Deduplication:
        yield Scenario(f"{way}, one key", [way], _ONE_KEY)
        yield Scenario(f"{way}, one name", [way], _ONE_NAME)
        yield Scenario(f"{way}, two keys for one name", [way], _TWO_KEYS)
        yield Scenario(f"{way}, asked once", [way], [Ask("box", key="k", tries=1)])
        yield Scenario(f"{way}, clocks that disagree", [way], _ONE_KEY, clocks=(60.0, -600.0, 600.0))
        yield Scenario(f"{way}, a name that is taken", [way], _ONE_KEY, taken="box")
    for way in (_BY_KEY, _NONE):
        yield Scenario(f"{way}, lists that lag", [way], _ONE_KEY, lag=_LAG, commits_within=WAIT_OUT - _LAG - 5.0)
    for first, second in ((_BY_NAME, _BY_NAME), (_BY_KEY, _NONE), (_NONE, _NONE)):
        yield Scenario(f"{first}, then {second}", [first, second], _ONE_KEY)
    yield Scenario("none, later than the wait-out", [_NONE], _ONE_KEY, commits_within=3 * WAIT_OUT, promised=False)


SCENARIOS: Final = {scenario.title: scenario for scenario in _scenarios()}
