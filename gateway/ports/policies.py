"""The settings of the policies around a provider's transport and of its account's limits. Times are in seconds."""

from abc import ABC, abstractmethod
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from gateway.domain.access import Rate, Window
from gateway.domain.values import WorkClass
from gateway.ports.section import Section

SETTLING: Final = "settling"
"""The name of the bulkhead for reads that settle creates. The other bulkheads have the names of the classes of work."""


InFlight = Annotated[int, Field(ge=1, le=10_000)]
Waiting = Annotated[int, Field(ge=0, le=100_000)]


class LaneSettings(Section):
    """How many calls of one class may be in flight at once, and how many more may wait for a slot."""

    in_flight: InFlight
    waiting: Waiting


class ReadLane(LaneSettings):
    """Reads."""

    in_flight: InFlight = 48
    waiting: Waiting = 256


class CreateLane(LaneSettings):
    """Creates, and writes of configs and bindings. The queue is long, so that bursts wait."""

    in_flight: InFlight = 24
    waiting: Waiting = 512


class StartLane(LaneSettings):
    """Start, resume, keepalive and connect. Each may take minutes."""

    in_flight: InFlight = 32
    waiting: Waiting = 256


class ReleaseLane(LaneSettings):
    """Stop, pause, reset and delete."""

    in_flight: InFlight = 20
    waiting: Waiting = 256


class SettlingLane(LaneSettings):
    """Reads that settle creates."""

    in_flight: InFlight = 4
    waiting: Waiting = 64


class BreakerSettings(Section):
    """When the circuit breaker of a class of work at a provider opens, and how it closes.

    It opens when at least ``minimum`` calls ended within the last ``window`` seconds and the share ``share`` of them
    failed, or when ``minimum`` calls in a row failed. It stays open for ``rest`` seconds at first, and twice as long
    each further time, up to ``max_rest``. Then it admits ``probes`` calls, whose results decide.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    minimum: Annotated[int, Field(ge=1, le=10_000)] = 10
    window: Annotated[float, Field(gt=0, le=3600)] = 30
    rest: Annotated[float, Field(gt=0, le=600)] = 1
    max_rest: Annotated[float, Field(gt=0, le=600)] = 8
    probes: Annotated[int, Field(ge=1, le=100)] = 1

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_rest < self.rest:
            raise ValueError("max_rest is shorter than rest")
        return self


class RetrySettings(Section):
    """When and how often a failed call is retried.

    ``tries`` includes the first attempt, so 1 disables retries. ``total_seconds`` is how long after the start of the
    first attempt another may start. ``budget`` is the number of retries that each request earns: the ratio of retries
    to requests. The pause before the nth retry is random between 0 and ``backoff`` × 2ⁿ⁻¹, at
    most ``max_backoff``. ``attempt_share`` is the share of the remaining time that one attempt of a read may take.
    """

    tries: Annotated[int, Field(ge=1, le=10)] = 3
    total_seconds: Annotated[float, Field(gt=0, le=600)] = 10
    budget: Annotated[float, Field(ge=0, le=1)] = 0.1
    backoff: Annotated[float, Field(gt=0, le=60)] = 0.1
    max_backoff: Annotated[float, Field(gt=0, le=60)] = 2
    attempt_share: Annotated[float, Field(gt=0, le=1)] = 0.6


class PolicySettings(Section):
    """The policies around one provider's transport."""

    read: ReadLane = ReadLane.model_construct()
    create: CreateLane = CreateLane.model_construct()
    start: StartLane = StartLane.model_construct()
    release: ReleaseLane = ReleaseLane.model_construct()
    settling: SettlingLane = SettlingLane.model_construct()
    breaker: BreakerSettings = BreakerSettings.model_construct()
    retry: RetrySettings = RetrySettings.model_construct()

    def lanes(self) -> dict[str, LaneSettings]:
        """The limits by class of work, and those of settling reads."""
        return {name: getattr(self, name) for name in (*WorkClass, SETTLING)}

    @property
    def connections(self) -> int:
        """The size of the provider's connection pool: one connection per slot, so that no class waits for a connection
        that another class holds."""
        return sum(lane.in_flight for lane in self.lanes().values())


_LARGEST: Final = 1_000_000_000
_LONGEST: Final = 31 * 86_400


def parse_rate(text: str) -> Rate:
    """The rate in a text such as ``600/minute`` or ``100 per 5 minutes``. Raises ``ValueError``."""
    from limits import parse_many  # noqa: PLC0415 (importing it takes a tenth of the time of a command's start)

    try:
        found = parse_many(text)
    except ValueError:
        found = []
    if len(found) != 1 or not 1 <= found[0].amount <= _LARGEST or not 1 <= found[0].get_expiry() <= _LONGEST:
        raise ValueError("a rate is a number and a time of at most a month: 600/minute, 10 per 5 seconds")
    return Rate(found[0].amount, found[0].get_expiry())


def _readable(text: str) -> str:
    parse_rate(text)
    return text


RateText = Annotated[str, AfterValidator(_readable)]
"""A rate as a person writes it."""


class AccountLimits(Section):
    """The limits of the gateway's account at a provider. ``requests``: how many requests of callers may go there."""

    requests: RateText | None = None

    @property
    def rate(self) -> Rate | None:
        """The rate of requests."""
        return None if self.requests is None else parse_rate(self.requests)


class SharedWindowsAway(Exception):
    """The shared windows cannot be used now."""


class SharedWindows(ABC):
    """Counts requests for all replicas. The methods raise :class:`SharedWindowsAway` within a bounded time."""

    @abstractmethod
    async def take(self, key: str, rate: Rate) -> tuple[bool, Window]:
        """Count one request if the rate allows it. Returns whether it was counted, and the window afterwards."""

    @abstractmethod
    async def look(self, key: str, rate: Rate) -> Window:
        """The window, without a request."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections. Idempotent."""
