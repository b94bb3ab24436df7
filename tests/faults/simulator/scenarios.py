"""The scenarios: each kind of provider combined with each kind of client, and complications such as wrong clocks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.ports.provider import Deduplication
from tests.faults.simulator.provider import DEADLINE
from tests.faults.simulator.scheduler import Budget

START: Final = 1_800_000_000.0
WAIT_OUT: Final = 60.0
SEND_WITHIN: Final = 5.0
LEASE_MARGIN: Final = 10.0
LEASE: Final = SEND_WITHIN + DEADLINE + LEASE_MARGIN
HORIZON: Final = 600.0
"""Seconds after the last response and the last disturbance within which everything has to be settled."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client that creates a runtime of this name: which replica it calls first, and how many attempts it makes."""

    name: str
    key: str | None = None
    principal: str = "alice"
    first: int = 0
    tries: int = 7


@dataclass(frozen=True, slots=True)
class Scenario:
    """The initial state of a world, and what may happen in it.

    ``providers`` are tried in this order. ``clocks`` are the offsets, in seconds, of the clocks of the database and of
    the two replicas. A provider executes a create within ``commits_within`` seconds or never, and its lists may show
    the runtime up to ``lag`` seconds later. ``promised`` False: a second runtime may be made, and has to be recorded.
    ``taken``: a runtime of this name exists that was made natively.
    """

    title: str
    providers: Sequence[Deduplication]
    clients: Sequence[Client]
    budget: Callable[[], Budget] = Budget
    clocks: tuple[float, float, float] = (0.0, 0.0, 0.0)
    commits_within: float = WAIT_OUT
    lag: float = 0.0
    promised: bool = True
    taken: str | None = None


_ONE_KEY: Final = (Client("box", key="k"), Client("box", key="k", first=1))
_ONE_NAME: Final = (Client("box"), Client("box", first=1))
_TWO_KEYS: Final = (Client("box", key="k"), Client("box", key="l", principal="bob", first=1))
_LAG: Final = 10.0
_BY_NAME, _BY_KEY, _NONE = Deduplication.BY_NAME, Deduplication.BY_KEY, Deduplication.NONE


def _scenarios() -> Iterator[Scenario]:
    for kind in Deduplication:
        yield Scenario(f"{kind}, one key", [kind], _ONE_KEY)
        yield Scenario(f"{kind}, one name", [kind], _ONE_NAME)
        yield Scenario(f"{kind}, two keys for one name", [kind], _TWO_KEYS)
        yield Scenario(f"{kind}, asked once", [kind], [Client("box", key="k", tries=1)])
        yield Scenario(f"{kind}, clocks that disagree", [kind], _ONE_KEY, clocks=(60.0, -600.0, 600.0))
        yield Scenario(f"{kind}, a name that is taken", [kind], _ONE_KEY, taken="box")
    for kind in (_BY_KEY, _NONE):
        yield Scenario(f"{kind}, lists that lag", [kind], _ONE_KEY, lag=_LAG, commits_within=WAIT_OUT - _LAG - 5.0)
    for first, second in ((_BY_NAME, _BY_NAME), (_BY_KEY, _NONE), (_NONE, _NONE)):
        yield Scenario(f"{first}, then {second}", [first, second], _ONE_KEY)
    yield Scenario("none, later than the wait-out", [_NONE], _ONE_KEY, commits_within=3 * WAIT_OUT, promised=False)


SCENARIOS: Final = {scenario.title: scenario for scenario in _scenarios()}
