"""The settings of what stands between the gateway and a provider, so that a sick provider hurts nobody else."""

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SETTLING: Final = "settling"
"""The lane of the reads that find out what became of a create. The others have the names of the classes of work."""


class Section(BaseModel):
    """Base of the sections. Times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


InFlight = Annotated[int, Field(ge=1, le=10_000)]
Waiting = Annotated[int, Field(ge=0, le=100_000)]


class LaneSettings(Section):
    """How many calls of one class are under way at once, and how many more may wait for their turn."""

    in_flight: InFlight
    waiting: Waiting


class ReadLane(LaneSettings):
    """Reads."""

    in_flight: InFlight = 48
    waiting: Waiting = 256


class CreateLane(LaneSettings):
    """Creates, config and binding writes: bursts wait."""

    in_flight: InFlight = 24
    waiting: Waiting = 512


class StartLane(LaneSettings):
    """Start, resume, keepalive, connect: each may take minutes."""

    in_flight: InFlight = 32
    waiting: Waiting = 256


class ReleaseLane(LaneSettings):
    """Stop, pause, reset, delete."""

    in_flight: InFlight = 20
    waiting: Waiting = 256


class SettlingLane(LaneSettings):
    """Reads that find out what became of a create."""

    in_flight: InFlight = 4
    waiting: Waiting = 64


class BreakerSettings(Section):
    """When a class of work at a provider gets a rest, and how it comes back.

    It rests once at least ``minimum`` calls of the last ``window`` failed or succeeded and ``share`` of them failed, or
    once ``minimum`` in a row failed, whatever came before. The first rest lasts ``rest``, each further one twice as
    long, up to ``max_rest``; after it, ``probes`` calls find out.
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
    """How often what failed is tried again.

    ``tries`` counts the first one, so that 1 switches it off; ``total_seconds`` is how long after the first try's
    beginning another may begin. ``budget`` is how many retries each request earns, so the share of retries that a
    provider gets on top of its requests. The pause before the nth retry is drawn from 0 to ``backoff`` × 2ⁿ⁻¹, at most
    ``max_backoff``. ``attempt_share`` is the share of the time left that one try of a read may take.
    """

    tries: Annotated[int, Field(ge=1, le=10)] = 3
    total_seconds: Annotated[float, Field(gt=0, le=600)] = 10
    budget: Annotated[float, Field(ge=0, le=1)] = 0.1
    backoff: Annotated[float, Field(gt=0, le=60)] = 0.1
    max_backoff: Annotated[float, Field(gt=0, le=60)] = 2
    attempt_share: Annotated[float, Field(gt=0, le=1)] = 0.6


class PolicySettings(Section):
    """The policies around one provider's transport."""

    read: ReadLane = ReadLane()
    create: CreateLane = CreateLane()
    start: StartLane = StartLane()
    release: ReleaseLane = ReleaseLane()
    settling: SettlingLane = SettlingLane()
    breaker: BreakerSettings = BreakerSettings()
    retry: RetrySettings = RetrySettings()

    def lanes(self) -> dict[str, LaneSettings]:
        """The limits of each class of work, and of settling reads."""
        return {
            "read": self.read,
            "create": self.create,
            "start": self.start,
            "release": self.release,
            SETTLING: self.settling,
        }

    @property
    def connections(self) -> int:
        """How many connections the provider's pool has: one for every place, so that no class ever waits for a
        connection that another holds."""
        return sum(lane.in_flight for lane in self.lanes().values())
