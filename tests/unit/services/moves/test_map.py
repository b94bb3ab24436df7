"""The copy of the relocations in memory."""

import msgspec
import pytest

from gateway.domain.ids import RuntimeRef
from gateway.ports.moves import Relocation, Relocations
from gateway.services.moves.map import MoveMap, Relocated
from tests.contract.store.moves import BACK as FROM_NEW
from tests.contract.store.moves import GONE
from tests.unit.services.fakes import DurableLike

BACK = msgspec.structs.replace(FROM_NEW, runtime_id="old.r-1")
"""The way back of ``GONE``, as the store has it."""


def moves(*rows: Relocation, change: int = 1, whole: bool = True, known: MoveMap | None = None) -> MoveMap:
    known = known or MoveMap()
    known.update(Relocations(change=change, active=(), rows=rows, whole=whole))
    return known


def lists(known: MoveMap, since: int) -> list[str]:
    """In which of the places of the runtime a list has it that began at a change."""
    places = [("old", "acme/one", "r-1"), ("new", "acme/two", "r-9"), ("third", "acme/two", "r-20")]
    return [at for at, scope, row in places if known.lists(since, at, scope, "durable", row, "agent")]


@pytest.mark.parametrize("since", [1, 2, 4, 6])
def test_a_list_has_a_runtime_once_where_it_was_when_the_list_began(since: int) -> None:
    """It moves at 2, moves on at 4 (which takes two numbers), and is brought back to the second place at 6."""
    moved = moves(msgspec.structs.replace(GONE, change=2), change=2)
    assert lists(moved, since) == [*(["old"] if since < 2 else ["new"]), "third"]
    first = msgspec.structs.replace(GONE, target="third", target_id="r-20", target_runtime_id="third.r-20", change=3)
    onward = msgspec.structs.replace(
        first, source="new", source_scope="acme/two", source_id="r-9", source_runtime_id="new.r-9", change=4
    )
    moves(first, onward, change=4, whole=False, known=moved)
    assert lists(moved, since) == (["new"] if since < 4 else ["third"])
    back = msgspec.structs.replace(
        onward,
        source="third",
        source_id="r-20",
        source_runtime_id="third.r-20",
        target="new",
        target_id="r-9",
        target_runtime_id="new.r-9",
        change=6,
    )
    home = msgspec.structs.replace(GONE, change=5)
    moves(home, msgspec.structs.replace(onward, removed=True, change=5), back, change=6, whole=False, known=moved)
    assert lists(moved, since) == (["third"] if since < 6 else ["new"])


def test_a_list_of_a_gateway_that_read_its_file_has_what_had_moved_before() -> None:
    known = moves(msgspec.structs.replace(GONE, change=7), change=0)
    assert known.latest == 7
    assert lists(known, known.latest) == ["new", "third"]


def test_an_empty_map_is_falsy_and_changes_nothing() -> None:
    known = moves()
    assert not known
    assert known.translated("old", RuntimeRef("acme/one", "r-1")) is None
    assert known.first_id("old.r-1") == "old.r-1"
    assert known.instance("old.r-1", "i-1") == "i-1"


def test_a_runtime_that_has_gone_is_found_by_its_id_its_place_and_its_name() -> None:
    known = moves(GONE)
    there = Relocated("new", RuntimeRef("acme/two", "r-9"))
    assert known.translated("old", RuntimeRef("acme/one", "r-1", "agent")) == there
    assert known.of_id("old.r-1") == known.of_source("old", "r-1") == known.of_target("new", "r-9") == GONE
    assert known.of_name("old", "acme/one", "durable", "agent") == GONE
    assert known.of_name("old", "acme/one", "browser", "agent") is None
    assert known.first_id("new.r-9") == "old.r-1"
    assert known.ids_of("new.r-9") == ["old.r-1", "new.r-9"]
    assert known.instance("old.r-1", "i-1") == "i-9"


@pytest.mark.parametrize("whole", [True, False])
def test_a_removed_relocation_applies_no_longer(whole: bool) -> None:
    known = moves(GONE)
    rows = [BACK] if whole else [BACK, msgspec.structs.replace(GONE, removed=True, target_instance="i-1")]
    moves(*rows, change=2, whole=whole, known=known)
    assert known.of_id("old.r-1") is None
    assert known.translated("new", RuntimeRef("acme/two", "r-9")) == Relocated("old", RuntimeRef("acme/one", "r-1"))
    assert known.first_id("new.r-9") == "old.r-1"
    assert known.instance("old.r-1", "i-9") == "i-1"
    assert known.instance("old.r-1", "i-1") == "i-1"


def test_a_read_that_was_sent_before_the_switch_shows_the_first_id_too() -> None:
    known = moves(GONE)
    moves(BACK, msgspec.structs.replace(GONE, removed=True), change=2, whole=False, known=known)
    there = DurableLike("new").put("agent", provider_id="r-9")
    assert (there.id, known.shown_id(there)) == ("new.r-9", "old.r-1")


@pytest.mark.parametrize("whole", [True, False])
def test_an_instance_is_continued_by_the_one_that_was_started_when_the_runtime_came_back(whole: bool) -> None:
    known = None if whole else moves(GONE)
    returned = msgspec.structs.replace(GONE, removed=True, target="old", target_id="r-1", target_instance="i-2")
    known = moves(msgspec.structs.replace(BACK, target_instance="i-2"), returned, change=2, whole=whole, known=known)
    assert known.of_id("old.r-1") is None
    assert [known.instance("old.r-1", instance) for instance in ("i-1", "i-9")] == ["i-2", "i-2"]
    again = MoveMap()
    again.update(Relocations(change=0, active=(), rows=known.known(), whole=True))
    assert again.instance("old.r-1", "i-1") == "i-2"
    assert returned not in again.rows()


def test_only_rows_that_differ_are_news() -> None:
    known = MoveMap()
    assert known.update(Relocations(change=1, active=("old",), rows=[GONE], whole=True)) == [GONE]
    assert known.active == {"old"}
    assert known.update(Relocations(change=2, active=(), rows=[], whole=False)) == ()
    assert known.update(Relocations(change=2, active=(), rows=[GONE], whole=True)) == []
    assert known.rows() == [GONE]
    assert known.active == frozenset()
