"""A plan over the runtimes of a source, at real emulators."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.domain.access import Principal, Restrictions
from gateway.domain.intents import namespace_of
from gateway.domain.moves import ItemState, MoveState
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.moves import Relocations, StoredCreate, StoredItem
from gateway.services.fleet import Provider
from gateway.services.moves import source_pages
from gateway.services.moves.planned import details_of
from gateway.services.moves.reading import ImportedCreate, cell_of_import
from gateway.testing.faults import parse_rules
from tests.component.moves.ends import SCOPES, Ends, two_ends
from tests.contract.store.moves import GONE
from tests.unit.services.fakes import keyring


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    async with two_ends("durable", "durable") as started:
        yield started


async def test_all_runtimes_of_the_source_are_planned_in_pages(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_pages, "BATCH", 4)
    made = {(await ends.make(name=f"agent-{n}")).id for n in range(10)}
    move, items = await ends.planned()
    assert move.state is MoveState.PLANNED
    assert {item.runtime_id for item, _ in items} == made
    assert [item.position for item, _ in items] == list(range(10))
    assert {item.state for item, _ in items} == {ItemState.PLANNED}
    assert move.digest is not None
    assert any("webhooks" in text for text in details_of(move).side_effects)


async def test_the_digest_is_that_of_the_same_plan_only(ends: Ends) -> None:
    made = await ends.make(name="agent", config={"version": "v2", "resources": {"cpu_cores": 4}})
    first, _ = await ends.planned()
    again, _ = await ends.planned()
    assert first.digest == again.digest
    other, _ = await ends.planned(overrides=[{"match": {"provider": "old"}, "patch": {"description": "moved"}}])
    assert other.digest != first.digest
    await ends.make(name="second")
    more, _ = await ends.planned()
    assert more.digest not in {first.digest, other.digest}
    assert made.name == "agent"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ({"name": "b"}, {"b"}),
        ({"state": ["running"]}, {"c"}),
        ({"label": {"team": "shop"}}, {"a"}),
        ({"kind": "browser"}, set()),
        ({"kind": "durable"}, {"a", "b", "c"}),
    ],
)
async def test_a_selector_restricts_the_plan(ends: Ends, source: dict[str, object], names: set[str]) -> None:
    await ends.make(name="a", labels={"team": "shop"})
    await ends.make(name="b", labels={"team": "ops"})
    await ends.make(name="c", start=True)
    _, items = await ends.planned(source={"provider": "old", **source})
    assert {item.name for item, _ in items} == names


async def test_runtimes_are_selected_by_their_ids(ends: Ends) -> None:
    made = [await ends.make(name=name) for name in ("a", "b", "c")]
    _, items = await ends.planned(source={"provider": "old", "ids": [made[0].id, made[2].id]})
    assert {item.name for item, _ in items} == {"a", "c"}


async def test_an_id_that_does_not_exist_fails_the_plan(ends: Ends) -> None:
    made = await ends.make(name="a")
    missing = made.id[:-12] + "000000000000"
    move, _ = await ends.planned(source={"provider": "old", "ids": [made.id, missing]})
    problem = details_of(move).problem
    assert move.state is MoveState.FAILED
    assert problem is not None
    assert problem.code == "not_found"


async def test_an_override_patches_the_creates_that_it_selects(ends: Ends) -> None:
    await ends.make(name="a", config={"version": "v2", "resources": {"cpu_cores": 2, "memory_mb": 2048}})
    await ends.make(name="b")
    patch = {"config": {"resources": {"cpu_cores": 8}}, "description": "moved"}
    _, items = await ends.planned(overrides=[{"match": {"provider": "old", "name": "a"}, "patch": patch}])
    changed = {
        item.name: {change.pointer: (change.from_, change.to) for change in plan.changes} for item, plan in items
    }
    assert changed == {"a": {"#/config/resources/cpu_cores": (2, 8), "#/description": (None, "moved")}, "b": {}}


async def test_an_override_that_is_no_create_blocks_its_runtime(ends: Ends) -> None:
    await ends.make(name="a")
    patch = {"config": {"resources": {"cpu_cores": 64}}}
    _, [(item, plan)] = await ends.planned(overrides=[{"match": {"provider": "old"}, "patch": patch}])
    assert item.state is ItemState.BLOCKED
    assert [each.pointer for each in plan.blocked_by] == ["#/config/resources/cpu_cores"]


async def test_a_name_that_exists_at_the_target_blocks_unless_it_is_adopted(ends: Ends) -> None:
    await ends.make(name="a")
    await ends.make(name="a", at=ends.new)
    _, [(_, plan)] = await ends.planned()
    assert [each.code for each in plan.blocked_by] == ["name_conflict"]
    _, [(item, _)] = await ends.planned(on_name_conflict="adopt")
    assert item.state is ItemState.PLANNED


async def test_what_an_earlier_move_has_left_at_the_source_is_not_planned_again(ends: Ends) -> None:
    gone, left = await ends.make(name="gone"), await ends.make(name="here")
    rows = [msgspec.structs.replace(GONE, source_id=gone.provider_id, source_runtime_id=gone.id, runtime_id=gone.id)]

    ends.moves.update(Relocations(change=1, active=(), rows=rows, whole=True))
    _, items = await ends.planned()
    assert [item.runtime_id for item, _ in items] == [left.id]


async def test_a_runtime_that_cannot_be_read_is_blocked_and_the_others_are_planned(ends: Ends) -> None:
    for name in ("a", "b"):
        await ends.make(name=name)
    rule = {"operation": "get_config", "fault": "status", "status": 500, "times": 1}
    ends.emulators["old"].faults.add(parse_rules(rule, sorted(set(ends.emulators["old"].operations.values()))))
    move, items = await ends.planned()
    assert move.state is MoveState.PLANNED
    states = sorted(item.state for item, _ in items)
    assert states == [ItemState.BLOCKED, ItemState.PLANNED]
    (blocked,) = [plan for item, plan in items if item.state is ItemState.BLOCKED]
    assert [each.code for each in blocked.blocked_by] == ["provider_error"]


async def test_a_source_that_cannot_be_listed_fails_the_plan(ends: Ends) -> None:
    rule = {"operation": "list", "fault": "status", "status": 503}
    ends.emulators["old"].faults.add(parse_rules(rule, sorted(set(ends.emulators["old"].operations.values()))))
    move, items = await ends.planned()
    assert (move.state, items) == (MoveState.FAILED, [])
    problem = details_of(move).problem
    assert problem is not None
    assert problem.code == "provider_unavailable"


async def test_an_interrupted_plan_continues_with_the_page_that_was_not_stored(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_pages, "BATCH", 3)
    names = {f"agent-{n}" for n in range(10)}
    for name in names:
        await ends.make(name=name)
    whole, _ = await ends.planned()
    move = ends.stored(ends.request())
    await ends.store.add_move(move)
    (claimed,) = [m for m in await ends.store.claim_moves("first", 10, {MoveState.PLANNING}) if m.id == move.id]
    stored = asyncio.Event()
    add = ends.store.add_move_items
    pages = 0

    async def add_then_hang(items: list[StoredItem], holder: str) -> bool:
        nonlocal pages
        done = await add(items, holder)
        pages += 1
        if pages == 2:
            stored.set()
            await asyncio.Event().wait()
        return done

    monkeypatch.setattr(ends.store, "add_move_items", add_then_hang)
    task = asyncio.create_task(ends.planner().run(claimed, "first"))
    await stored.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    monkeypatch.setattr(ends.store, "add_move_items", add)
    again = await ends.store.get_move(move.id)
    assert again is not None
    assert details_of(again).position == 3  # the second page was stored, but not noted
    await ends.planner().run(again, "first")
    planned = await ends.store.get_move(move.id)
    items = await ends.store.move_items(move.id, limit=100)
    assert planned is not None
    assert (planned.state, planned.digest) == (MoveState.PLANNED, whole.digest)
    assert {item.name for item in items} == names
    assert len(items) == len(names)


async def test_a_planner_that_has_lost_its_lease_writes_nothing(ends: Ends) -> None:
    await ends.make(name="a")
    move = ends.stored(ends.request())
    await ends.store.add_move(move)
    (claimed,) = await ends.store.claim_moves("other", 10, {MoveState.PLANNING})
    await ends.planner().run(claimed, "late")
    after = await ends.store.get_move(move.id)
    assert after is not None
    assert after.state is MoveState.PLANNING
    assert await ends.store.move_items(move.id) == []


async def test_principals_that_may_not_use_the_target_are_named(ends: Ends) -> None:
    move = ends.stored(ends.request())
    await ends.store.add_move(move)
    (claimed,) = await ends.store.claim_moves("planner", 10, {MoveState.PLANNING})
    only = Principal("shop", restrictions=Restrictions(providers=frozenset({"old"})))
    both = Principal("ops", restrictions=Restrictions(providers=frozenset({"old", "new"})))
    await ends.planner(principals=lambda: [only, both]).run(claimed, "planner")
    after = await ends.store.get_move(move.id)
    assert after is not None
    named = [text for text in details_of(after).side_effects if "principal" in text]
    assert named == ["The principal shop may use old, but not new in zeta/two."]


async def test_an_adopted_runtime_is_deleted_with_force_only() -> None:
    class Everything:
        async def is_adopted(self, _provider: Provider, _runtime: Runtime, _ctx: RequestContext) -> bool:
            return True

    async with two_ends("bctrl_browsers", "bctrl_browsers") as ends:
        await ends.make(name="bot")
        for force, state in ((False, ItemState.BLOCKED), (True, ItemState.PLANNED)):
            move = ends.stored(ends.request(source_after="delete", force=force))
            await ends.store.add_move(move)
            (claimed,) = await ends.store.claim_moves("planner", 10, {MoveState.PLANNING})
            await ends.planner(adopted=Everything()).run(claimed, "planner")  # type: ignore[arg-type]
            assert [item.state for item in await ends.store.move_items(move.id)] == [state]


async def test_scopes_of_an_open_source_are_mapped() -> None:
    async with two_ends("durable", "durable", open_source=True) as ends:
        made = [await ends.make(name=f"a-{n}", scope=scope) for n, scope in enumerate(("acme/one", "acme/three"))]
        source = {"provider": "old", "ids": [each.id for each in made]}
        _, items = await ends.planned(source=source, mappings={"scopes": {"acme/three": "zeta/two"}})
        assert {plan.target_scope for _, plan in items} == {SCOPES["durable"][1]}
        _, items = await ends.planned(source={"provider": "old", "scope": "acme/three"})
        assert [item.scope for item, _ in items] == ["acme/three"]


def refuse_all(ends: Ends) -> None:
    """Let the source refuse every call."""
    operations = sorted(set(ends.emulators["old"].operations.values()))
    rule = {"operation": "*", "fault": "status", "status": 503}
    ends.emulators["old"].faults.add(parse_rules(rule, operations))


async def kept(ends: Ends, name: str, **fields: Any) -> str:
    """The id of a runtime whose create is kept, as the gateway does it."""
    made = await ends.make(name=name, **fields)
    create = ImportedCreate(create={"kind": "durable", "name": name, **fields})
    await ends.store.keep_create(
        StoredCreate(
            provider="old",
            runtime_id=made.provider_id,
            scope=made.scope,
            kind="durable",
            name=name,
            namespace=namespace_of("durable", ends.old.settings.base_url, "", made.scope),
            intent_id="",
            principal="",
            created_at=0.0,
            request=keyring().seal(msgspec.json.encode(create), cell_of_import("old", made.provider_id)),
        )
    )
    return made.id


async def test_a_source_that_cannot_be_asked_is_planned_from_kept_creates(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pages, with the selectors, and from where an interrupted plan ended."""
    monkeypatch.setattr(source_pages, "BATCH", 2)
    made = {await kept(ends, f"agent-{n}", description="An agent") for n in range(5)}
    await ends.make(name="not-kept")
    refuse_all(ends)
    move, items = await ends.planned()
    assert move.state is MoveState.PLANNED
    assert {item.runtime_id for item, _ in items} == made
    assert all(not plan.live and plan.create["description"] == "An agent" for _, plan in items)
    assert {item.state for item, _ in items} == {ItemState.PLANNED}
    assert any("could not be asked" in text for text in details_of(move).side_effects)
    _, chosen = await ends.planned(source={"provider": "old", "name": "agent-3"})
    assert [item.name for item, _ in chosen] == ["agent-3"]


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_source_that_cannot_be_asked_and_of_which_nothing_is_kept_fails_the_plan(
    ends: Ends, keeps: bool
) -> None:
    await ends.make(name="not-kept")
    refuse_all(ends)
    move, _ = await ends.planned(kept=keeps)
    problem = details_of(move).problem
    assert move.state is MoveState.FAILED
    assert problem is not None


async def test_a_plan_that_is_to_be_applied_is_announced_as_soon_as_it_is_complete(ends: Ends) -> None:
    await ends.make(name="a")
    move, items = await ends.planned(apply=True)
    assert (move.state, move.digest is not None, len(items)) == (MoveState.APPLYING, True, 1)
    assert move.announced_at is not None
