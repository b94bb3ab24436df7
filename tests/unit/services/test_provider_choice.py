"""The choice of the provider for a create: those that fit, by tier and weight, the same on every replica."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import (
    NotFound,
    ProviderFailure,
    ProviderNotConfigured,
    ProviderUnavailable,
    UnsupportedFeature,
    ValidationFailed,
)
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import DurablePart
from gateway.domain.values import Kind, Operation, State
from gateway.ports.transport import Phase, TransportFailure
from gateway.services.fleet import Fleet, Provider
from gateway.services.provider_choice import Router, Target, rank
from tests.unit.services.fakes import BrowserLike, DurableLike, FakeAdapter, FakeClock, context, create, fleet_of

DOWN = ProviderUnavailable("down", failure=ProviderFailure("x"))


async def _chosen(fleet: Fleet, request: CreateRequest, principal: str = "alice") -> Target:
    return (await Router(fleet).choose(request, context(principal)))[0]


def _targets(*adapters: FakeAdapter) -> list[Target]:
    return [Target(Provider(adapter), "home") for adapter in adapters]


def test_a_lower_order_comes_before_every_hash_and_weight() -> None:
    targets = _targets(DurableLike("second", order=2, weight=1000), DurableLike("first", order=1))
    for number in range(50):
        assert [t.provider.name for t in rank(targets, "alice", "durable", f"n{number}")] == ["first", "second"]


@given(st.text(max_size=20), st.text(max_size=20), st.permutations(["a", "b", "c", "d"]))
def test_every_replica_ranks_alike_whatever_the_order_of_its_settings(
    principal: str, name: str, names: list[str]
) -> None:
    one = [t.provider.name for t in rank(_targets(*map(DurableLike, "abcd")), principal, "durable", name)]
    other = [t.provider.name for t in rank(_targets(*map(DurableLike, names)), principal, "durable", name)]
    assert one == other


def test_removing_a_provider_changes_only_the_names_it_served() -> None:
    targets = _targets(*map(DurableLike, "abc"))
    for number in range(200):
        before = rank(targets, "alice", "durable", f"n{number}")
        after = rank(targets[:2], "alice", "durable", f"n{number}")
        assert [t.provider.name for t in after] == [t.provider.name for t in before if t.provider.name != "c"]


def test_a_tier_is_shared_by_weight() -> None:
    targets = _targets(DurableLike("light", weight=1), DurableLike("heavy", weight=3))
    firsts = Counter(rank(targets, "alice", "durable", f"n{number}")[0].provider.name for number in range(2000))
    assert 1400 < firsts["heavy"] < 1600


def test_principals_and_kinds_are_distributed_independently() -> None:
    targets = _targets(*map(DurableLike, "ab"))
    firsts = {rank(targets, f"p{number}", "durable", "same")[0].provider.name for number in range(30)}
    assert firsts == {"a", "b"}


async def test_a_live_runtime_of_the_name_wins_over_order_and_hash() -> None:
    first, second = DurableLike("first", order=1), DurableLike("second", order=2)
    fleet = fleet_of([first, second])
    assert (await _chosen(fleet, create(name="agent"))).provider.name == "first"
    second.put("agent")
    assert (await _chosen(fleet, create(name="agent"))).provider.name == "second"
    assert (await _chosen(fleet, create(name="other"))).provider.name == "first"


async def test_the_account_that_owns_a_runtime_of_the_name_is_chosen() -> None:
    stranger, owner = DurableLike("stranger", order=1), DurableLike("owner", order=2)
    stranger.put("agent", durable=DurablePart(owned_by_me=False))
    owner.put("agent", durable=DurablePart(owned_by_me=True))
    assert (await _chosen(fleet_of([stranger, owner]), create(name="agent"))).provider.name == "owner"
    unreporting = DurableLike("unreporting", order=3)  # an old platform does not report the owner
    unreporting.put("agent", durable=DurablePart(owned_by_me=None))
    assert (await _chosen(fleet_of([stranger, unreporting]), create(name="agent"))).provider.name == "unreporting"


async def test_an_ended_runtime_of_the_name_does_not_decide() -> None:
    first, second = BrowserLike("first", order=1), BrowserLike("second", order=2)
    second.put("bot", State.STOPPED)
    assert (await _chosen(fleet_of([first, second]), create("browser", name="bot"))).provider.name == "first"


async def test_a_provider_whose_look_up_fails_does_not_decide() -> None:
    first, second = DurableLike("first", order=1), DurableLike("second", order=2)
    second.put("agent")
    first.world.fail("find", DOWN)
    assert (await _chosen(fleet_of([first, second]), create(name="agent"))).provider.name == "second"
    second.world.fail("find", DOWN)
    assert (await _chosen(fleet_of([first, second]), create(name="agent"))).provider.name == "first"


async def test_a_provider_that_hangs_delays_the_choice_by_at_most_two_seconds() -> None:
    clock = FakeClock()
    hanging, well = DurableLike("hanging", order=2), DurableLike("well", order=1)

    async def hang() -> None:
        await clock.sleep(hanging.world.calls[-1].deadline - clock.monotonic())
        raise TransportFailure("timeout", Phase.SENT, operation=Operation.LIST)

    hanging.world.before["find"] = hang
    began = clock.monotonic()
    assert (await _chosen(fleet_of([hanging, well], clock), create(name="agent"))).provider.name == "well"
    assert clock.monotonic() - began == 2.0


async def test_a_shorter_list_deadline_limits_the_look_up_too() -> None:
    clock = FakeClock()
    brisk, other = DurableLike("brisk", deadlines={"list": 0.5}), DurableLike("other")
    await _chosen(fleet_of([brisk, other], clock), create(name="agent"))
    deadlines = [adapter.world.calls[-1].deadline - clock.monotonic() for adapter in (brisk, other)]
    assert deadlines == [0.5, 2.0]


async def test_the_name_is_not_looked_up_if_only_one_target_fits() -> None:
    only = DurableLike("only")
    await _chosen(fleet_of([only, BrowserLike("browsers")]), create(name="agent"))
    assert only.world.asked == []


async def test_a_generated_name_is_not_looked_up() -> None:
    both = [DurableLike("one"), DurableLike("two")]
    await Router(fleet_of(both)).choose(create(name="made-up"), context(), name_may_exist=False)
    assert [adapter.world.asked for adapter in both] == [[], []]


async def test_a_named_provider_is_the_only_candidate() -> None:
    fleet = fleet_of([DurableLike("one"), DurableLike("two"), BrowserLike("three")])
    assert (await _chosen(fleet, create(provider="two"))).provider.name == "two"
    with pytest.raises(UnsupportedFeature) as caught:
        await _chosen(fleet, create(provider="three"))
    assert caught.value.provider == "three"
    assert [fault.pointer for fault in caught.value.errors] == ["#/kind"]


async def test_an_unknown_provider_is_a_client_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValidationFailed) as caught:
        await _chosen(fleet_of([DurableLike("one"), DurableLike("two")]), create(provider="three"))
    assert [(fault.pointer, fault.code) for fault in caught.value.errors] == [("#/provider", "unknown_provider")]
    assert "one, two" in caught.value.detail


async def test_the_error_has_a_reason_for_each_provider_if_none_fits() -> None:
    fleet = fleet_of([BrowserLike("one"), BrowserLike("two"), DurableLike("three")])
    with pytest.raises(UnsupportedFeature) as caught:
        await _chosen(fleet, create("browser", driver="selenium", start=False))
    reasons = {(fault.pointer, fault.detail.split(" ")[0]) for fault in caught.value.errors}
    assert reasons == {("#/driver", "one"), ("#/driver", "two"), ("#/start", "one"), ("#/start", "two")}


class ListsMore(BrowserLike):
    """An adapter that lists kinds that it does not create."""

    kinds = frozenset({Kind.BROWSER, Kind.DURABLE, Kind.DESKTOP})
    creates = frozenset({Kind.BROWSER})


async def test_a_kind_that_no_provider_creates_is_refused_with_a_reason_for_each_before_any_call() -> None:
    adapters = [BrowserLike("one"), ListsMore("two")]
    for request in (create("durable", name="agent"), CreateRequest(kind="desktop", name="desk")):
        with pytest.raises(UnsupportedFeature) as caught:
            await _chosen(fleet_of(adapters), request)
        assert [(fault.pointer, fault.detail) for fault in caught.value.errors] == [
            ("#/kind", "one creates only: browser."),
            ("#/kind", "two creates only: browser."),
        ]
    assert [adapter.world.asked for adapter in adapters] == [[], []]


async def test_a_create_goes_to_the_provider_that_creates_its_kind_and_not_to_one_that_only_lists_it() -> None:
    fleet = fleet_of([ListsMore("lists", order=1), DurableLike("creates", order=2)])
    assert (await _chosen(fleet, create("durable", name="agent"))).provider.name == "creates"
    with pytest.raises(UnsupportedFeature, match="lists creates only: browser"):
        await _chosen(fleet, create("durable", name="agent", provider="lists"))


async def test_a_feature_chooses_between_providers() -> None:
    class WithSelenium(BrowserLike):
        create_features = BrowserLike.create_features | {"driver_selenium"}

    fleet = fleet_of([BrowserLike("one", order=1), WithSelenium("two", order=2)])
    assert (await _chosen(fleet, create("browser", driver="selenium"))).provider.name == "two"


class Careful(DurableLike):
    options = frozenset({"colour"})


async def test_options_choose_the_provider_that_knows_them() -> None:
    fleet = fleet_of([DurableLike("one", order=1), Careful("two", order=2)])
    assert (await _chosen(fleet, create(provider_options={"colour": "red"}))).provider.name == "two"
    assert (await _chosen(fleet, create())).provider.name == "one"


async def test_options_that_no_provider_knows_are_refused_without_a_call() -> None:
    adapters = [DurableLike("one"), DurableLike("two")]
    with pytest.raises(ValidationFailed) as caught:
        await _chosen(fleet_of(adapters), create(name="agent", provider_options={"colour": "red"}))
    assert caught.value.errors[0].pointer == "#/provider_options/colour"
    assert [adapter.world.asked for adapter in adapters] == [[], []]


@pytest.mark.parametrize(
    ("pinned", "sent", "expected"),
    [("home", {}, "home"), ("home", {"scope": "HOME"}, "home"), (None, {"scope": "Away"}, "away")],
)
async def test_the_scope_is_the_pinned_one_or_the_one_that_was_named(
    pinned: str | None, sent: dict[str, Any], expected: str
) -> None:
    target = await _chosen(fleet_of([DurableLike("one", scope=pinned)]), create(**sent))
    assert target.scope == expected


@pytest.mark.parametrize(
    ("pinned", "sent", "code"),
    [("home", {"scope": "away"}, "unsupported"), (None, {}, "required"), (None, {"scope": "not a word"}, "invalid")],
)
async def test_a_scope_that_no_provider_accepts_is_a_client_error(
    pinned: str | None, sent: dict[str, Any], code: str
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await _chosen(fleet_of([DurableLike("one", scope=pinned), BrowserLike("b")]), create(**sent))
    assert [(fault.pointer, fault.code) for fault in caught.value.errors] == [("#/scope", code)]


async def test_a_scope_chooses_between_pinned_providers() -> None:
    fleet = fleet_of([DurableLike("one", scope="home", order=1), DurableLike("two", scope="away", order=2)])
    assert (await _chosen(fleet, create(scope="away"))).provider.name == "two"


def test_an_operation_goes_to_the_provider_in_the_id() -> None:
    fleet = fleet_of([DurableLike("one"), DurableLike("two", scope=None)])
    ctx = context()
    provider, ref = fleet.resolve("one.x-1", ctx)
    assert (provider.name, ref.scope, ref.provider_id) == ("one", "home", "x-1")
    assert (ctx.provider, ctx.scope, ctx.runtime_id) == ("one", "home", "one.x-1")
    provider, ref = fleet.resolve("two.YXdheQ~x-1", context())
    assert (provider.name, ref.scope) == ("two", "away")


def test_two_spellings_of_an_id_resolve_to_the_same_runtime() -> None:
    fleet = fleet_of([DurableLike("one")])
    assert fleet.resolve("one.ABC", context()) == fleet.resolve("one.abc", context())


def test_an_id_of_an_unknown_provider_is_not_reported_as_not_found() -> None:
    with pytest.raises(ProviderNotConfigured) as caught:
        fleet_of([DurableLike("one")]).resolve("gone.x-1", context())
    assert caught.value.provider == "gone"


@pytest.mark.parametrize("text", ["", "one", "one.", "one.a/b", "two.***"])
def test_a_text_that_is_not_an_id_is_not_found_without_a_call(text: str) -> None:
    adapter = DurableLike("one")
    with pytest.raises(NotFound):
        fleet_of([adapter, DurableLike("two", scope=None)]).resolve(text, context())
    assert adapter.world.asked == []
