"""The last hour of a provider: each minute is the difference between two readings of the counters."""

import asyncio

import pytest

from gateway.domain.errors import NotFound
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet, Provider
from gateway.services.provider_history import MINUTES, ProviderHistory
from gateway.services.providers import ProviderService
from gateway.telemetry.metrics import Metrics
from tests.unit.services.fakes import DurableLike, FakeClock


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.fleet = Fleet([DurableLike("one"), DurableLike("two")], self.clock)
        self.history = ProviderHistory(self.fleet, self.metrics, self.clock)

    def call(self, provider: str, operation: str, outcome: str, seconds: float) -> None:
        self.metrics.upstream_requests.labels(provider, operation, outcome).inc()
        self.metrics.upstream_seconds.labels(provider, operation).observe(seconds)

    @property
    def one(self) -> Provider:
        return next(iter(self.fleet))


@pytest.fixture
def world() -> World:
    return World()


def test_a_minute_has_the_calls_failures_and_durations_by_class_of_work(world: World) -> None:
    for operation, outcome, seconds in (
        ("get", "200", 0.06),
        ("list", "200", 0.07),
        ("get", "404", 0.08),
        ("get", "503", 0.2),
        ("create", "timeout", 5.0),
    ):
        world.call("one", operation, outcome, seconds)
    world.call("two", "get", "200", 0.01)
    (minute,) = world.history.of(world.one)
    read, create = minute.classes["read"], minute.classes["create"]
    assert (read.calls, read.failures, read.breaker) == (4, {"503": 1}, "closed")
    assert (create.calls, create.failures) == (1, {"timeout": 1})
    assert 0.05 <= (read.p50 or 0) <= 0.1
    assert 0.1 <= (read.p95 or 0) <= 0.25
    assert set(minute.classes) == {"read", "create"}


def test_a_call_is_in_one_minute_only(world: World) -> None:
    world.call("one", "get", "200", 0.06)
    world.history.close_minute()
    world.call("one", "get", "429", 0.06)
    world.history.close_minute()
    minutes = world.history.of(world.one)
    assert [(m.classes["read"].calls, m.classes["read"].failures) if m.classes else None for m in minutes] == [
        (1, {}),
        (1, {"429": 1}),
        None,
    ]


def test_only_an_hour_is_kept(world: World) -> None:
    for _ in range(2 * MINUTES):
        world.call("one", "get", "200", 0.06)
        world.history.close_minute()
    assert len(world.history.of(world.one)) == MINUTES + 1


def test_durations_beyond_the_last_bound_are_that_bound(world: World) -> None:
    world.call("one", "get", "200", 100_000)
    (minute,) = world.history.of(world.one)
    assert minute.classes["read"].p50 == world.metrics.upstream_seconds.bounds[-1]


async def test_minutes_end_with_those_of_the_clock(world: World) -> None:
    keeping = asyncio.create_task(world.history.keep())
    for _ in range(4):
        await asyncio.sleep(0)  # the task sleeps until the next minute, and closes it
    keeping.cancel()
    minutes = [minute.at[11:19] for minute in world.history.of(world.one)]
    assert minutes[:3] == ["00:16:00", "00:17:00", "00:18:00"]


def test_the_history_of_an_unknown_provider_is_not_found(world: World) -> None:
    providers = ProviderService(world.fleet, world.history)
    assert providers.history("one", RequestContext("r")).provider == "one"
    with pytest.raises(NotFound):
        providers.history("three", RequestContext("r"))


async def test_a_sleep_that_ends_early_begins_no_minute(world: World) -> None:
    sleep = world.clock.sleep

    async def early(seconds: float) -> None:
        await sleep(seconds * 0.9 if seconds > 1 else seconds)

    world.clock.sleep = early  # type: ignore[method-assign]
    keeping = asyncio.create_task(world.history.keep())
    for _ in range(20):
        await asyncio.sleep(0)
    keeping.cancel()
    minutes = [minute.at for minute in world.history.of(world.one)]
    assert len(minutes) > 3
    assert len(set(minutes)) == len(minutes)
