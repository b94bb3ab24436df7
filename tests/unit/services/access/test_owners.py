"""Whose a runtime is: by its assignment, else by its mark, else by the suffix of its name."""

import pytest

from gateway.domain.access import Principal
from gateway.domain.errors import StoreUnavailable
from gateway.domain.ownership import suffix_of
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.services.access.owners import MAX_MARK, Owners
from gateway.storage.sealing import Keyring, new_key

SHOP = Principal("shop", own_only=True)
BANK = Principal("bank", own_only=True)
NAME = "agent" + suffix_of("shop")


@pytest.fixture
def owners() -> Owners:
    made = Owners()
    made.sealer = Keyring([new_key()])
    return made


def runtime(name: str, owner: str | None = None) -> Runtime:
    return Runtime(
        id="p.1", kind="browser", provider="p", scope="s", provider_id="1", name=name, owner=owner, state=State.RUNNING
    )


def test_mark_shows_an_owner_whose_name_the_process_does_not_know(owners: Owners) -> None:
    mark = owners.mark(SHOP, "p", NAME)
    assert mark is not None
    assert mark == owners.mark(SHOP, "p", NAME)
    assert "shop" not in mark
    fresh = Owners()
    fresh.sealer = owners.sealer
    assert fresh.shown(runtime(NAME)).owner is None
    assert fresh.shown(runtime(NAME, fresh.owner_of_mark("p", NAME, mark))).owner == "shop"


@pytest.mark.parametrize(("provider", "name"), [("q", NAME), ("p", "other" + suffix_of("shop")), ("p", None)])
def test_mark_that_was_copied_to_another_runtime_is_ignored(owners: Owners, provider: str, name: str | None) -> None:
    assert owners.owner_of_mark(provider, name, owners.mark(SHOP, "p", NAME)) is None


@pytest.mark.parametrize("mark", ["", "x", "ä", 7, None, {}, "A" * (MAX_MARK + 1), "A" * MAX_MARK])
def test_unreadable_mark_is_ignored(owners: Owners, mark: object) -> None:
    assert owners.owner_of_mark("p", NAME, mark) is None


def test_mark_of_another_key_is_ignored(owners: Owners) -> None:
    mark = owners.mark(SHOP, "p", NAME)
    owners.sealer = Keyring([new_key()])
    assert owners.owner_of_mark("p", NAME, mark) is None
    owners.sealer = None
    assert owners.owner_of_mark("p", NAME, mark) is None


def test_only_a_callers_own_runtimes_get_its_mark(owners: Owners) -> None:
    unlimited = Principal("shop")
    assert owners.mark(unlimited, "p", NAME) is None
    assert owners.mark(BANK, "p", NAME) is None
    assert owners.mark(SHOP, "p", "agent") is None
    assert owners.mark(SHOP, "p", None) is None
    long = Principal("s" * MAX_MARK, own_only=True)
    assert owners.mark(long, "p", "agent" + suffix_of(long.owner)) is None


def test_assignment_wins_over_a_mark_and_a_mark_over_a_suffix(owners: Owners) -> None:
    marked = runtime(NAME, "bank")
    assert owners.owner_of(marked) == "bank"
    assert (owners.owns(SHOP, marked), owners.owns(BANK, marked)) == (False, True)
    owners.assign({"p.1": "shop"})
    assert owners.owner_of(marked) == "shop"
    assert (owners.owns(SHOP, marked), owners.owns(BANK, marked)) == (True, False)


def test_owners_that_are_not_current_are_required_of_limited_callers_only(owners: Owners) -> None:
    owners.require_current(SHOP)
    owners.are_current = lambda: False
    owners.require_current(Principal("admin"))
    with pytest.raises(StoreUnavailable):
        owners.require_current(SHOP)
