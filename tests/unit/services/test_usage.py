"""Usage: figures of the caller's own lists, complete or named as missing, and never counted twice at once."""

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from gateway.domain.access import Principal, Restrictions
from gateway.domain.errors import GatewayError, InvalidRequest, PermissionDenied, ProviderTimeout, ProviderUnavailable
from gateway.domain.ownership import suffix_of
from gateway.domain.pages import Incomplete, ListFilter
from gateway.domain.public_view import PublicView
from gateway.domain.runtime import Cost
from gateway.domain.values import State
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet
from gateway.services.listing import ListQuery, ListService
from gateway.services.sent_spec import MadeRuntime
from gateway.services.usage import COUNT_WITHIN, MOST_GROUPS, Usage, UsageService
from tests.unit.services.fakes import (
    BrowserLike,
    DurableLike,
    FakeAdapter,
    FakeClock,
    context,
    create,
    fleet_of,
    keyring,
)
from tests.unit.services.test_specs import Kept

EVERYTHING = ListQuery(filter=ListFilter())
ALICE = Principal("alice")


def _service(*adapters: FakeAdapter, fleet: Fleet | None = None) -> UsageService:
    fleet = fleet or fleet_of(adapters)
    return UsageService(fleet, ListService(fleet, None, keyring()))


async def _usage(
    service: UsageService, by: str | None = None, query: ListQuery = EVERYTHING, principal: Principal = ALICE
) -> Usage:
    def problem(name: str, error: GatewayError) -> Incomplete:
        return Incomplete(provider=name, problem={"code": error.code})

    return await service.usage(query, by, RequestContext("request-1", principal), problem)


def _values(usage: Usage) -> list[tuple[str | None, bool, int]]:
    return [(group.value, group.known, group.runtimes) for group in usage.items]


async def test_all_pages_of_all_providers_are_counted_by_kind_and_state() -> None:
    one, two = DurableLike("one"), BrowserLike("two")
    for number in range(250):
        one.put(f"n{number}", State.RUNNING if number < 7 else State.IDLE)
    two.put("web", State.RUNNING)
    usage = await _usage(_service(one, two))
    assert (usage.by, usage.as_of, usage.left_out, usage.incomplete) == ("provider", "1970-01-01T00:16:40Z", 0, [])
    assert _values(usage) == [("one", True, 250), ("two", True, 1)]
    assert (usage.items[0].kinds, usage.items[0].states) == ({"durable": 250}, {"idle": 243, "running": 7})
    assert (usage.total.kinds, usage.total.states) == ({"browser": 1, "durable": 250}, {"idle": 243, "running": 8})
    assert [query.limit for query in one.world.queries] == [100, 100, 100]


async def test_unknown_cost_is_null_and_the_sum_says_how_many_runtimes_it_covers() -> None:
    one, two = DurableLike("one"), BrowserLike("two")
    one.put("a", cost=Cost(billed_credits=5, running_credits=2, estimated_total_credits=7))
    one.put("b", cost=Cost(billed_credits=0, running_credits=0, estimated_total_credits=0))
    one.put("c")
    two.put("web")
    usage = await _usage(_service(one, two))
    for figures in (usage.total, usage.items[0]):
        assert figures.cost is not None
        assert (figures.cost.runtimes, figures.cost.billed_credits, figures.cost.estimated_total_credits) == (2, 5, 7)
    assert usage.items[1].cost is None


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("kind", [("durable", True, 4)]),
        ("state", [("idle", True, 3), ("running", True, 1)]),
        ("owner", [("shop", True, 2), (None, False, 2)]),
        ("label:team", [(None, True, 2), ("shop", True, 1), (None, False, 1)]),
    ],
)
async def test_groups_distinguish_values_that_are_absent_from_those_that_are_not_known(
    by: str, expected: list[tuple[str | None, bool, int]]
) -> None:
    adapter = DurableLike("one")
    adapter.put("a", State.RUNNING, labels={"team": "shop"}, owner="shop")
    adapter.put("b", labels={"tier": "1"}, owner="shop")
    adapter.put("c", labels={})
    adapter.put("d")
    assert _values(await _usage(_service(adapter), by)) == expected


async def test_owners_of_a_process_that_has_just_started_are_those_of_the_store() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    for name, owner in (("a", "shop"), ("b", "shop"), ("c", "labs")):
        made = MadeRuntime(adapter, "home", adapter.put(name), create("durable", name=name), owner)
        await here.keeper.remember(made)
    started, fleet = (await here.another()).keeper, fleet_of([adapter])
    listing = ListService(fleet, started, keyring())
    page = await listing.page(replace(EVERYTHING, owner="shop"), context())
    assert [(runtime.name, runtime.owner) for runtime in page.items] == [("a", "shop"), ("b", "shop")]
    started = (await here.another()).keeper
    service = UsageService(fleet, ListService(fleet, started, keyring()), started)
    assert _values(await _usage(service, "owner")) == [("shop", True, 2), ("labs", True, 1)]


async def test_a_list_by_owner_counts_the_runtimes_whose_owners_are_not_known_while_the_store_is_down() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    made = MadeRuntime(adapter, "home", adapter.put("a"), create("durable", name="a"), "shop")
    await here.keeper.remember(made)
    adapter.put("made-elsewhere")
    started, fleet = await here.another(), fleet_of([adapter])
    listing, by_owner = ListService(fleet, started.keeper, keyring()), replace(EVERYTHING, owner="shop")
    started.down = True
    page = await listing.page(by_owner, context())
    assert (page.items, [warning.detail for warning in page.warnings]) == (
        [],
        ["Runtimes whose owners are not known are left out: 2."],
    )
    started.down = False
    page = await listing.page(by_owner, context())
    assert ([runtime.name for runtime in page.items], page.warnings) == (["a"], [])


async def test_a_caller_with_own_only_counts_only_its_own_runtimes() -> None:
    adapter = DurableLike("one")
    for owner, count in (("alice", 3), ("bob", 140)):
        for number in range(count):
            adapter.put(f"n{number}{suffix_of(owner)}")
    service = _service(adapter)
    usage = await _usage(service, principal=Principal("alice", own_only=True))
    assert (usage.total.runtimes, _values(usage)) == (3, [("one", True, 3)])
    assert (await _usage(service, principal=Principal("bob", own_only=True))).total.runtimes == 140
    assert (await _usage(service)).total.runtimes == 143


async def test_a_caller_counts_only_providers_and_kinds_that_it_may_use() -> None:
    service = _service(DurableLike("one"), DurableLike("two"), BrowserLike("three"))
    for provider in service._fleet:
        assert isinstance(provider.adapter, FakeAdapter)
        provider.adapter.put("n")
    only = Principal("alice", restrictions=Restrictions(providers=frozenset({"one", "three"})))
    assert _values(await _usage(service, principal=only)) == [("one", True, 1), ("three", True, 1)]
    with pytest.raises(PermissionDenied):
        await _usage(service, query=ListQuery(filter=ListFilter(), providers=frozenset({"two"})), principal=only)


async def test_the_public_view_has_no_groups_by_provider() -> None:
    adapter = DurableLike("one")
    adapter.put("n", State.PAUSED)
    web = Principal("web", view=PublicView(b"k" * 32))
    usage = await _usage(_service(adapter), principal=web)
    assert (usage.by, _values(usage)) == ("state", [("paused", True, 1)])
    with pytest.raises(PermissionDenied) as refused:
        await _usage(_service(adapter), "provider", principal=web)
    assert refused.value.errors[0].parameter == "by"


async def test_a_provider_that_fails_is_named_and_none_of_its_runtimes_is_counted() -> None:
    one, two = DurableLike("one"), DurableLike("two")
    for number in range(150):
        one.put(f"n{number}")
    two.put("n")
    one.world.fail("list", None, ProviderTimeout("It hangs.", provider="one"))
    usage = await _usage(_service(one, two))
    assert [(each.provider, each.problem["code"]) for each in usage.incomplete] == [("one", "provider_timeout")]
    assert (usage.total.runtimes, _values(usage)) == (1, [("two", True, 1)])


async def test_a_list_that_takes_too_long_is_named_as_incomplete() -> None:
    slow, quick = DurableLike("slow"), DurableLike("quick")
    clock = FakeClock()
    for number in range(150):
        slow.put(f"n{number}")
    quick.put("n")

    async def later() -> None:
        clock.time += COUNT_WITHIN

    slow.world.before["list"] = later
    usage = await _usage(_service(fleet=fleet_of([quick, slow], clock)))
    assert [(each.provider, each.problem["code"]) for each in usage.incomplete] == [("slow", "provider_timeout")]
    assert _values(usage) == [("quick", True, 1)]


async def test_usage_fails_if_every_provider_fails() -> None:
    one = DurableLike("one")
    one.world.fail("list", ProviderUnavailable("It is away.", provider="one"))
    with pytest.raises(ProviderUnavailable):
        await _usage(_service(one))
    with pytest.raises(InvalidRequest):
        await _usage(_service(DurableLike("open", scope=None)))


async def test_equal_questions_at_once_are_counted_once_and_kept_for_a_while() -> None:
    adapter, clock = DurableLike("one"), FakeClock()
    adapter.put("n")
    service = _service(fleet=fleet_of([adapter], clock))
    answers = await asyncio.gather(*(_usage(service) for _ in range(5)))
    assert len({msgspec.json.encode(answer) for answer in answers}) == 1
    assert adapter.world.asked == ["list"]
    adapter.put("another")
    assert (await _usage(service)).total.runtimes == 1
    assert (await _usage(service, "state")).total.runtimes == 2
    clock.time += 2.0
    assert (await _usage(service)).total.runtimes == 2


async def test_figures_are_kept_for_ten_times_the_time_that_counting_took() -> None:
    adapter, clock = DurableLike("one"), FakeClock()

    async def three_seconds() -> None:
        clock.time += 3

    adapter.world.before["list"] = three_seconds
    service = _service(fleet=fleet_of([adapter], clock))
    await _usage(service)
    clock.time += 29
    await _usage(service)
    assert len(adapter.world.asked) == 1
    clock.time += 1
    await _usage(service)
    assert len(adapter.world.asked) == 2


async def test_a_caller_that_leaves_does_not_leave_the_others_without_figures() -> None:
    adapter, entered, go = DurableLike("one"), asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        entered.set()
        await go.wait()

    adapter.world.before["list"] = hold
    service = _service(adapter)
    first = asyncio.create_task(_usage(service))
    await entered.wait()
    second = asyncio.create_task(_usage(service))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert (await second).total.runtimes == 0
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_only_the_largest_groups_are_shown_and_the_others_are_in_the_total() -> None:
    adapter = DurableLike("one")
    for number in range(MOST_GROUPS + 5):
        adapter.put(f"n{number}", labels={"job": f"{number:04}"})
    adapter.put("last", labels={"job": "0204"})
    usage = await _usage(_service(adapter), "label:job")
    assert (len(usage.items), usage.left_out, usage.total.runtimes) == (MOST_GROUPS, 5, MOST_GROUPS + 6)
    assert usage.items[0].value == "0204"


async def test_filters_of_a_list_apply() -> None:
    adapter = DurableLike("one")
    for number in range(120):
        adapter.put(f"n{number}", State.RUNNING if number % 2 else State.IDLE, labels={"team": "ab"[number % 3 == 0]})
    query: Any = ListQuery(filter=ListFilter(states=frozenset({State.RUNNING})), labels=frozenset({("team", "b")}))
    assert (await _usage(_service(adapter), "state", query)).total.states == {"running": 20}
