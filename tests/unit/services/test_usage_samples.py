"""Samples for metrics: only of complete lists, with the time when they began; and the sweep of one replica."""

import asyncio
from io import StringIO
from typing import Any

import pytest

from gateway.domain.access import Principal, Restrictions
from gateway.domain.errors import ProviderTimeout, ProviderUnavailable, StoreUnavailable
from gateway.domain.pages import Incomplete, ListFilter
from gateway.domain.runtime import Cost
from gateway.domain.values import State
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet
from gateway.services.listing import ListQuery, ListService
from gateway.services.usage import Tally, UsageService
from gateway.services.usage_samples import PAUSE, UsageSamples
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.signals import UsageSignals
from tests.unit.services.fakes import DurableLike, FakeAdapter, FakeClock, fleet_of, keyring

EVERYTHING = ListQuery(filter=ListFilter())
ALICE = Principal("alice")


class Scene:
    """A fleet whose lists are sampled."""

    def __init__(self, *adapters: FakeAdapter) -> None:
        self.clock = FakeClock()
        self.fleet: Fleet = fleet_of(adapters, self.clock)
        self.metrics = Metrics()
        self.log = StringIO()
        self.listing = ListService(self.fleet, None, keyring())
        self.usage = UsageService(self.fleet, self.listing)
        self.samples = UsageSamples(
            self.fleet, self.listing, UsageSignals(self.metrics, make_logger("info", "json", self.log))
        )
        self.listing.on_whole, self.usage.on_whole = self.samples.listed, self.samples.take

    async def list(self, query: ListQuery = EVERYTHING, principal: Principal = ALICE) -> None:
        await self.listing.page(query, RequestContext("request-1", principal))

    async def count(self, query: ListQuery = EVERYTHING, by: str = "state") -> None:
        await self.usage.usage(query, by, RequestContext("request-1", ALICE), lambda name, _: Incomplete(name, {}))

    def values(self, name: str = "rtgw_runtimes") -> dict[str, float]:
        """The samples of a metric, by the values of their labels."""
        return {
            " ".join(sample.labels.values()): sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == name
        }


async def test_a_list_with_all_runtimes_of_a_provider_is_a_sample_with_its_time() -> None:
    one, two = DurableLike("one"), DurableLike("two")
    one.put("a", State.RUNNING, cost=Cost(billed_credits=5, running_credits=2, estimated_total_credits=7))
    one.put("b", State.PAUSED)
    scene = Scene(one, two)
    await scene.list()
    assert scene.values() == {"one durable running": 1, "one durable paused": 1}
    assert scene.values("rtgw_runtimes_credits") == {"one billed": 5, "one running": 2, "one estimated_total": 7}
    assert scene.values("rtgw_runtimes_priced") == {"one": 1, "two": 0}
    assert scene.values("rtgw_runtimes_sample_timestamp_seconds") == {"one": 1000, "two": 1000}


async def test_a_state_without_runtimes_is_zero_and_costs_that_are_not_known_any_longer_are_absent() -> None:
    one = DurableLike("one")
    runtime = one.put("a", State.RUNNING, cost=Cost())
    scene = Scene(one)
    await scene.list()
    assert len(scene.values("rtgw_runtimes_credits")) == 3
    one.world.runtimes.clear()
    one.put("a", State.IDLE, provider_id=runtime.provider_id)
    scene.clock.time += 5
    await scene.list()
    assert scene.values() == {"one durable running": 0, "one durable idle": 1}
    assert (scene.values("rtgw_runtimes_credits"), scene.values("rtgw_runtimes_priced")) == ({}, {"one": 0})


async def test_lists_within_five_seconds_after_a_sample_are_not_counted() -> None:
    one = DurableLike("one")
    scene = Scene(one)
    await scene.list()
    one.put("a")
    scene.clock.time += 4
    await scene.list()
    assert scene.values() == {}
    scene.clock.time += 1
    await scene.list()
    assert scene.values() == {"one durable idle": 1}


@pytest.mark.parametrize(
    ("query", "principal"),
    [
        ({"limit": 2}, {}),
        ({"filter": ListFilter(states=frozenset({State.IDLE}))}, {}),
        ({"labels": frozenset({("a", "b")})}, {}),
        ({"owner": "me"}, {}),
        ({}, {"own_only": True}),
        ({}, {"restrictions": Restrictions(kinds=frozenset({"durable"}))}),
    ],
)
async def test_a_part_of_the_runtimes_is_no_sample(query: dict[str, Any], principal: dict[str, Any]) -> None:
    one = DurableLike("one")
    for number in range(3):
        one.put(f"n{number}")
    scene = Scene(one)
    await scene.list(ListQuery(**{"filter": ListFilter(), **query}), Principal("alice", **principal))
    assert scene.values("rtgw_runtimes_sample_timestamp_seconds") == {}


async def test_the_last_page_of_a_longer_list_is_no_sample() -> None:
    one = DurableLike("one")
    for number in range(3):
        one.put(f"n{number}")
    scene = Scene(one)
    context = RequestContext("request-1", ALICE)
    first = await scene.listing.page(ListQuery(filter=ListFilter(), limit=2), context)
    last = await scene.listing.page(ListQuery(filter=ListFilter(), limit=2, cursor=first.next_cursor), context)
    assert (len(last.items), last.next_cursor) == (1, None)
    assert scene.values("rtgw_runtimes_sample_timestamp_seconds") == {}


async def test_a_failing_provider_keeps_its_last_sample_and_an_open_one_has_none() -> None:
    one, other = DurableLike("one"), DurableLike("open", scope=None)
    one.put("a")
    scene = Scene(one, other)
    query = ListQuery(filter=ListFilter(), scopes=frozenset({"home"}))
    await scene.list(query)
    one.world.fail("list", ProviderUnavailable("It is away.", provider="one"))
    scene.clock.time += 5
    await scene.list(query)
    assert scene.values("rtgw_runtimes_sample_timestamp_seconds") == {"one": 1000}
    assert scene.values() == {"one durable idle": 1}


async def test_usage_without_a_filter_is_a_sample_of_a_list_of_any_length() -> None:
    one = DurableLike("one")
    for number in range(250):
        one.put(f"n{number}")
    scene = Scene(one)
    await scene.count(ListQuery(filter=ListFilter(states=frozenset({State.IDLE}))))
    assert scene.values() == {}
    await scene.count()
    assert scene.values() == {"one durable idle": 250}
    one.world.runtimes.popitem()
    one.world.fail("list", None, ProviderTimeout("It hangs.", provider="one"))
    scene.clock.time += 60
    with pytest.raises(ProviderUnavailable):
        await scene.count()
    assert scene.values() == {"one durable idle": 250}


async def test_a_removed_provider_has_no_series() -> None:
    one = DurableLike("one")
    one.put("a", cost=Cost())
    scene = Scene(one)
    await scene.list()
    scene.metrics.forget_provider("one")
    (provider,) = scene.fleet.replace([])
    scene.samples.take(provider, Tally(), 0.0)
    assert scene.values("rtgw_runtimes_sample_timestamp_seconds") == {}
    assert scene.values() == {}


async def test_the_sweep_reads_one_provider_after_the_other_with_pauses() -> None:
    one, two, other = DurableLike("one"), DurableLike("two"), DurableLike("open", scope=None)
    for number in range(250):
        one.put(f"n{number}")
    two.put("n", State.RUNNING)
    scene = Scene(one, two, other)
    await scene.samples.sweep(60)
    assert scene.values() == {"one durable idle": 250, "two durable running": 1}
    assert (len(one.world.queries), len(two.world.queries), len(other.world.queries)) == (3, 1, 0)
    assert scene.clock.time == pytest.approx(1000 + 4 * PAUSE)
    assert {call.request_id for call in one.world.calls} == {"usage-sweep"}
    await scene.samples.sweep(60)
    assert len(one.world.queries) == 3
    scene.clock.time += 60
    await scene.samples.sweep(60)
    assert len(one.world.queries) == 6


async def test_a_list_that_does_not_end_until_the_next_sweep_is_no_sample() -> None:
    one = DurableLike("one")
    for number in range(150):
        one.put(f"n{number}")
    scene = Scene(one)
    await scene.samples.sweep(PAUSE / 2)
    assert scene.values() == {}
    assert len(one.world.queries) == 1


async def test_only_the_replica_with_the_role_sweeps_and_a_bug_does_not_end_it() -> None:
    one = DurableLike("one")
    one.put("a")
    scene = Scene(one)
    answers: list[bool | Exception] = [False, StoreUnavailable("It is away."), RuntimeError("a bug"), True]
    asked: list[tuple[str, float]] = []

    async def lead(role: str, seconds: float) -> bool:
        if not answers:
            raise asyncio.CancelledError
        asked.append((role, seconds))
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(asyncio.CancelledError):
        await scene.samples.run(60, lead)
    assert asked == [("usage", 120)] * 4
    assert scene.values() == {"one durable idle": 1}
    assert scene.log.getvalue().count("runtimes were not counted") == 1
