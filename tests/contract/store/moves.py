"""The part of the store contract about moves (:mod:`gateway.ports.moves`)."""

import msgspec

from gateway.domain.ids import RuntimeRef
from gateway.domain.moves import WORKING, ItemState, MoveState
from gateway.ports.moves import Arriving, Relocation, StoredItem, StoredMove
from tests.contract.store.subject import StoreSubject

MOVE = StoredMove(
    id="mv_1", state=MoveState.PLANNING, principal="ops", source="old", source_scope=None, target="new", request=b"x"
)
ITEM = StoredItem(
    move_id="mv_1",
    position=0,
    provider="old",
    scope="acme/one",
    provider_id="r-1",
    runtime_id="old.r-1",
    name="agent",
    kind="durable",
    state=ItemState.PLANNED,
    plan=b"plan",
)
GONE = Relocation(
    source="old",
    source_scope="acme/one",
    source_id="r-1",
    source_runtime_id="old.r-1",
    name="agent",
    kind="durable",
    target="new",
    target_scope="acme/two",
    target_id="r-9",
    target_name=None,
    target_runtime_id="new.r-9",
    runtime_id="old.r-1",
    source_instance="i-1",
    target_instance="i-9",
    move_id="mv_1",
    change=2,
)
BACK = msgspec.structs.replace(
    GONE,
    source="new",
    source_scope="acme/two",
    source_id="r-9",
    source_runtime_id="new.r-9",
    target="old",
    target_scope="acme/one",
    target_id="r-1",
    target_runtime_id="old.r-1",
    runtime_id="new.r-9",
    source_instance="i-9",
    target_instance="i-1",
)
"""The way back of :data:`GONE`, as the mover gives it to the store."""
KEYS = ("r-1", "name:agent")


async def holding(stores: StoreSubject, move: StoredMove = MOVE) -> None:
    """A move that is applied by ``mover``, which holds the rows of its runtime."""
    await stores.store.add_move(move)
    assert await stores.store.change_move(move.id, {MoveState.PLANNING}, state=MoveState.APPLYING)
    assert await stores.store.claim_moves("mover", 30, {MoveState.APPLYING})
    assert await stores.store.hold_runtime("old", KEYS, "mover", 30) == 0


class MovesContract:
    """A runtime that has moved is at its target only; see :class:`tests.contract.store.contract`."""

    async def test_one_holder_works_on_a_move_until_its_lease_ends(self, stores: StoreSubject) -> None:
        stored = await stores.store.add_move(MOVE)
        assert (stored.state, stored.announced_at, stored.request) == (MoveState.PLANNING, None, b"x")
        assert await stores.store.add_move(msgspec.structs.replace(MOVE, target="other")) == stored
        other = await stores.another()
        assert [move.id for move in await stores.store.claim_moves("a", 10, WORKING)] == ["mv_1"]
        assert await other.claim_moves("b", 10, WORKING) == []
        assert await other.change_move("mv_1", WORKING, state=MoveState.PLANNED, holder="b") is None
        await stores.advance(11)
        assert len(await other.claim_moves("b", 10, WORKING)) == 1
        planned = await other.change_move("mv_1", WORKING, state=MoveState.PLANNED, digest="d", holder="b")
        assert planned is not None
        assert (planned.state, planned.digest, planned.holder) == (MoveState.PLANNED, "d", None)
        assert [move.id for move in await stores.store.list_moves(10)] == ["mv_1"]
        assert await stores.store.list_moves(10, "mv_1") == []

    async def test_announced_moves_are_known_as_active(self, stores: StoreSubject) -> None:
        await stores.store.add_move(MOVE)
        assert (await stores.store.relocations(0)).active == []
        applying = await stores.store.change_move("mv_1", {MoveState.PLANNING}, state=MoveState.APPLYING)
        assert applying is not None
        assert applying.announced_at is not None
        known = await stores.store.relocations(0)
        assert (list(known.active), known.whole) == (["new", "old"], True)
        paused = await stores.store.change_move("mv_1", {MoveState.APPLYING}, state=MoveState.PAUSED)
        assert paused is not None
        assert paused.announced_at == applying.announced_at
        assert (await stores.store.relocations(known.change)).change == known.change
        await stores.store.change_move("mv_1", {MoveState.PAUSED}, state=MoveState.CANCELLED)
        now = await stores.store.relocations(known.change)
        assert (list(now.active), now.whole) == ([], False)

    async def test_items_are_paged_counted_and_changed_under_the_lease(self, stores: StoreSubject) -> None:
        await holding(stores)
        rows = [msgspec.structs.replace(ITEM, position=number, provider_id=f"r-{number}") for number in range(5)]
        assert not await stores.store.add_move_items(rows, "other")
        assert await stores.store.move_items("mv_1") == []
        assert await stores.store.add_move_items(rows, "mover")
        assert await stores.store.add_move_items(rows[:2], "mover")
        page = await stores.store.move_items("mv_1", limit=2)
        assert page == rows[:2]
        assert await stores.store.move_items("mv_1", after=1) == rows[2:]
        failed = msgspec.structs.replace(rows[3], state=ItemState.FAILED, step="create")
        assert not await stores.store.change_move_item(failed, "other")
        assert await stores.store.change_move_item(failed, "mover")
        assert await stores.store.move_items("mv_1", states={ItemState.FAILED}) == [failed]
        assert await stores.store.count_move_items("mv_1") == {ItemState.PLANNED: 4, ItemState.FAILED: 1}

    async def test_no_writer_enters_a_row_that_a_mover_holds(self, stores: StoreSubject) -> None:
        store = stores.store
        assert await store.enter_write("old", KEYS, "w-1", 60)
        assert await store.enter_write("old", ["r-1"], "w-2", 5)
        busy = await store.hold_runtime("old", KEYS, "mover", 100)
        assert busy is not None
        assert 50 < busy <= 60
        assert not await store.enter_write("old", ["r-1"], "w-3", 60)
        assert await store.enter_write("new", ["r-1"], "w-3", 60)
        assert await store.hold_runtime("old", KEYS, "another", 100) is None
        await store.leave_write("old", KEYS, "w-1")
        await stores.advance(6)
        assert await store.hold_runtime("old", KEYS, "mover", 100) == 0
        await store.release_runtime("old", KEYS, "mover")
        assert await store.enter_write("old", KEYS, "w-4", 1)
        assert await store.hold_runtime("old", KEYS, "mover", 5) is not None
        await stores.advance(6)
        assert await store.enter_write("old", KEYS, "w-5", 1)

    async def test_a_runtime_is_switched_once_and_by_its_holder(self, stores: StoreSubject) -> None:
        await holding(stores)
        moved = msgspec.structs.replace(ITEM, state=ItemState.MOVED, target_id="r-9")
        assert await stores.store.switch_runtime(moved, GONE, "other", KEYS) is None
        assert await stores.store.enter_write("old", ["elsewhere"], "w", 60)
        assert await stores.store.switch_runtime(moved, GONE, "mover", ("elsewhere",)) is None
        before = await stores.store.relocations(0)
        assert await stores.store.switch_runtime(moved, GONE, "mover", KEYS) == GONE
        assert await stores.store.switch_runtime(moved, GONE, "mover", KEYS) == GONE
        assert await stores.store.move_items("mv_1") == [moved]
        assert (await stores.store.relocations(before.change)).rows == [GONE]
        assert await stores.store.hold_runtime("old", KEYS, "another", 1) == 0

    async def test_no_writer_enters_where_a_runtime_has_gone_from(self, stores: StoreSubject) -> None:
        await holding(stores)
        assert await stores.store.switch_runtime(ITEM, GONE, "mover", KEYS) is not None
        assert not await stores.store.enter_write("old", ["r-1"], "w", 1)
        assert await stores.store.enter_write("new", ["r-9"], "w", 1)
        assert await stores.store.enter_write("old", ["r-2"], "w", 1)

    async def test_a_runtime_is_not_switched_when_its_hold_has_ended(self, stores: StoreSubject) -> None:
        await holding(stores)
        await stores.advance(31)
        assert await stores.store.claim_moves("mover", 30, {MoveState.APPLYING})
        assert await stores.store.switch_runtime(ITEM, GONE, "mover", KEYS) is None
        assert (await stores.store.relocations(0)).rows == []

    async def test_a_second_move_leads_the_first_id_to_the_last_place(self, stores: StoreSubject) -> None:
        await holding(stores)
        await stores.store.switch_runtime(ITEM, GONE, "mover", KEYS)
        onward = msgspec.structs.replace(
            GONE,
            source="new",
            source_scope="acme/two",
            source_id="r-9",
            source_runtime_id="new.r-9",
            target="third",
            target_id="r-20",
            target_runtime_id="third.r-20",
            runtime_id="new.r-9",
            source_instance="i-9",
            target_instance="i-20",
        )
        assert await stores.store.hold_runtime("new", ["r-9"], "mover", 30) == 0
        switched = await stores.store.switch_runtime(ITEM, onward, "mover", ["r-9"])
        assert switched is not None
        assert switched.runtime_id == "old.r-1"
        first, second = sorted((await stores.store.relocations(0)).rows, key=lambda row: row.source, reverse=True)
        assert (first.source, first.target_id, first.target_instance) == ("old", "r-20", "i-20")
        assert (second.source, second.target_id, second.runtime_id) == ("new", "r-20", "old.r-1")
        assert second.change == switched.change > first.change > GONE.change

    async def test_what_arrives_is_read_until_it_is_switched(self, stores: StoreSubject) -> None:
        await holding(stores)
        store = stores.store
        creating = msgspec.structs.replace(
            ITEM, state=ItemState.MOVING, step="creating", details='{"name":"agent.rgw-1"}', target_scope="acme/two"
        )
        assert await store.add_move_items([creating, msgspec.structs.replace(ITEM, position=1)], "mover")
        arriving = Arriving(provider="new", scope="acme/two", kind="durable", name="agent.rgw-1")
        assert (await store.relocations(0)).arriving == [arriving]
        await store.change_move_item(msgspec.structs.replace(creating, target_id="r-9"), "mover")
        assert (await store.relocations(2)).arriving == [msgspec.structs.replace(arriving, provider_id="r-9")]
        switched = msgspec.structs.replace(creating, state=ItemState.MOVED)
        assert await store.switch_runtime(switched, GONE, "mover", KEYS) is not None
        assert (await store.relocations(0)).arriving == []

    async def test_a_move_back_removes_the_way_out(self, stores: StoreSubject) -> None:
        await holding(stores)
        await stores.store.switch_runtime(ITEM, GONE, "mover", KEYS)
        known = await stores.store.relocations(0)
        assert await stores.store.hold_runtime("new", ["r-9"], "mover", 30) == 0
        assert await stores.store.switch_runtime(ITEM, BACK, "mover", ["r-9"]) is not None
        (left,) = (await stores.store.relocations(0)).rows
        assert (left.source, left.target_id, left.runtime_id) == ("new", "r-1", "old.r-1")
        assert {row.source: row.removed for row in (await stores.store.relocations(known.change)).rows} == {
            "old": True,
            "new": False,
        }

    async def test_a_move_back_to_another_instance_is_in_every_read(self, stores: StoreSubject) -> None:
        await holding(stores)
        await stores.store.switch_runtime(ITEM, GONE, "mover", KEYS)
        back = msgspec.structs.replace(BACK, target_instance="i-2")
        assert await stores.store.hold_runtime("new", ["r-9"], "mover", 30) == 0
        assert await stores.store.switch_runtime(ITEM, back, "mover", ["r-9"]) is not None
        rows = (await stores.store.relocations(0)).rows
        continued = {(row.source, row.removed): (row.source_instance, row.target_instance) for row in rows}
        assert continued == {("old", True): ("i-1", "i-2"), ("new", False): ("i-9", "i-2")}

    async def test_owner_place_and_end_go_with_the_runtime(self, stores: StoreSubject) -> None:
        await holding(stores)
        store = stores.store
        await store.assign_owner("old.r-1", "shop", "ops")
        await store.plan_end("old", RuntimeRef("acme/one", "r-1", "agent"), "shop", 3600)
        version = await store.access_version()
        await store.switch_runtime(ITEM, GONE, "mover", KEYS)
        data = await store.access_data()
        assert data.version != version
        assert {row.runtime_id: row.owner for row in data.owners} == {"old.r-1": "shop", "new.r-9": "shop"}
        end = await store.planned_end("new", "r-9")
        assert end is not None
        assert (end.scope, end.instance) == ("acme/two", "i-9")
        assert await store.planned_end("old", "r-1") is None
