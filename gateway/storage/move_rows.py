"""Moves and their items, and the rows that writes to runtimes go through while a move is announced."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from gateway.domain.moves import ANNOUNCED, WORKING, ItemState, MoveState
from gateway.ports.moves import StoredItem, StoredMove
from gateway.storage.sql import Part, Rollback, Row, Statement, Steps, placeholders, struct_of

_MOVE: Final = ", ".join(StoredMove.__struct_fields__)
_INSERT_MOVE: Final = (
    f"INSERT INTO moves ({_MOVE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, NULL, NULL, {{now}}, {{now}})"
    " ON CONFLICT (id) DO NOTHING"
)
_CLAIM: Final = (
    "UPDATE moves SET holder = $1, lease_until = {{now}} + $2 WHERE state IN ({states})"
    f" AND (holder = $1 OR holder IS NULL OR lease_until <= {{{{now}}}}) RETURNING {_MOVE}"
)
_CHANGE: Final = (
    "UPDATE moves SET state = $2, digest = COALESCE($3, digest), details = COALESCE($4, details),"
    " announced_at = CASE WHEN $5 = 1 THEN {now} ELSE announced_at END,"
    " holder = CASE WHEN $6 = 1 THEN NULL ELSE holder END,"
    " lease_until = CASE WHEN $6 = 1 THEN NULL ELSE lease_until END, updated_at = {now} WHERE id = $1"
    f" RETURNING {_MOVE}"
)
_HELD: Final = "SELECT 1 FROM moves WHERE id = $1 AND holder = $2 AND lease_until > (SELECT {now})"
_ITEM: Final = ", ".join(StoredItem.__struct_fields__)
_PUT_ITEM: Final = (
    f"INSERT INTO move_items ({_ITEM}) VALUES ({placeholders(len(StoredItem.__struct_fields__))})"
    " ON CONFLICT (move_id, position) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in StoredItem.__struct_fields__[2:])
)
_LOCK: Final = (
    "INSERT INTO runtime_holds (provider, runtime_key, mover, mover_until, writers) VALUES ($1, $2, NULL, NULL, '{}')"
    " ON CONFLICT (provider, runtime_key) DO UPDATE SET provider = excluded.provider"
    " RETURNING mover, mover_until, writers"
)
_NEXT: Final = (
    "INSERT INTO relocation_changes (one, change) VALUES (1, 1)"
    " ON CONFLICT (one) DO UPDATE SET change = relocation_changes.change + 1 RETURNING change"
)
_WRITERS: Final = msgspec.json.Decoder(dict[str, float])


def add_move(move: StoredMove) -> Steps[StoredMove]:
    yield Statement(_INSERT_MOVE, msgspec.structs.astuple(move)[:9])
    return _move((yield Statement(f"SELECT {_MOVE} FROM moves WHERE id = $1", (move.id,)))[0])


def get_move(move_id: str) -> Steps[StoredMove | None]:
    rows = yield Statement(f"SELECT {_MOVE} FROM moves WHERE id = $1", (move_id,))
    return _move(rows[0]) if rows else None


def list_moves(limit: int, before: str | None = None) -> Steps[Sequence[StoredMove]]:
    where, values = ("", ()) if before is None else (" WHERE id < $2", (before,))
    rows = yield Statement(f"SELECT {_MOVE} FROM moves{where} ORDER BY id DESC LIMIT $1", (limit, *values))
    return [_move(row) for row in rows]


def is_any_in(states: Collection[MoveState]) -> Steps[bool]:
    return bool(
        (yield Statement(f"SELECT 1 FROM moves WHERE state IN ({placeholders(len(states))}) LIMIT 1", tuple(states)))
    )


def claim_moves(holder: str, lease: float, states: Collection[MoveState]) -> Steps[Sequence[StoredMove]]:
    sql = _CLAIM.format(states=placeholders(len(states), 3))
    rows = yield Statement(sql, (holder, lease, *states))
    return [_move(row) for row in rows] or Rollback([])


def change_move(
    move_id: str,
    states: Collection[MoveState],
    *,
    state: MoveState | None = None,
    digest: str | None = None,
    details: str | None = None,
    holder: str | None = None,
) -> Steps[StoredMove | None]:
    rows = yield Statement(f"SELECT {_MOVE} FROM moves WHERE id = $1{{locked}}", (move_id,))
    before = _move(rows[0]) if rows else None
    if before is None or before.state not in states:
        return Rollback(None)
    if holder is not None and not (yield from has_lease(move_id, holder)):
        return Rollback(None)
    to = state or before.state
    announces = (to in ANNOUNCED) is not (before.state in ANNOUNCED)
    values = (move_id, to, digest, details, int(announces and to in ANNOUNCED), int(to not in WORKING))
    rows = yield Statement(_CHANGE, values)
    if announces:
        yield from changed()
    return _move(rows[0])


def has_lease(move_id: str, holder: str) -> Part[bool]:
    """Whether the holder has the lease of a move."""
    return bool((yield Statement(_HELD, (move_id, holder))))


def add_move_items(items: Sequence[StoredItem], holder: str) -> Steps[bool]:
    if items and not (yield from has_lease(items[0].move_id, holder)):
        return Rollback(False)
    for item in items:
        yield put_item(item)
    return True


def put_item(item: StoredItem) -> Statement:
    """Insert or replace an item."""
    return Statement(_PUT_ITEM, msgspec.structs.astuple(item))


def move_items(
    move_id: str, *, states: Collection[ItemState] = (), after: int = -1, limit: int = 100
) -> Steps[Sequence[StoredItem]]:
    where = f" AND state IN ({placeholders(len(states), 4)})" if states else ""
    rows = yield Statement(
        f"SELECT {_ITEM} FROM move_items WHERE move_id = $1 AND position > $2{where} ORDER BY position LIMIT $3",
        (move_id, after, limit, *states),
    )
    return [struct_of(StoredItem, row, state=ItemState, plan=bytes) for row in rows]


def count_move_items(move_id: str) -> Steps[Mapping[ItemState, int]]:
    rows = yield Statement("SELECT state, count(*) FROM move_items WHERE move_id = $1 GROUP BY state", (move_id,))
    return {ItemState(state): count for state, count in rows}


def change_move_item(item: StoredItem, holder: str) -> Steps[bool]:
    return (yield from add_move_items([item], holder))


def enter_write(provider: str, keys: Collection[str], writer: str, seconds: float) -> Steps[bool]:
    ((now,),) = yield Statement("SELECT {now}")
    for key in sorted(keys):
        mover, until, writers = yield from _locked(provider, key, now)
        if mover is not None and until > now:
            return Rollback(False)
        yield _stored(provider, key, None, None, {**writers, writer: now + seconds})
    # (After the rows are locked: a switch may have been under way.)
    gone = yield Statement(
        "SELECT 1 FROM relocations WHERE source = $1 AND removed = 0"
        f" AND source_id IN ({placeholders(len(keys), 2)}) LIMIT 1",
        (provider, *sorted(keys)),
    )
    return Rollback(False) if gone else True


def leave_write(provider: str, keys: Collection[str], writer: str) -> Steps[None]:
    ((now,),) = yield Statement("SELECT {now}")
    for key in sorted(keys):
        mover, until, writers = yield from _locked(provider, key, now)
        writers.pop(writer, None)
        yield _stored(provider, key, mover, until, writers)
    return None


def hold_runtime(provider: str, keys: Collection[str], mover: str, seconds: float) -> Steps[float | None]:
    ((now,),) = yield Statement("SELECT {now}")
    busy = 0.0
    for key in sorted(keys):
        other, until, writers = yield from _locked(provider, key, now)
        if other not in {None, mover} and until > now:
            return Rollback(None)
        busy = max([busy, *(end - now for end in writers.values())])
        yield _stored(provider, key, mover, now + seconds, writers)
    return busy


def release_runtime(provider: str, keys: Collection[str], mover: str) -> Steps[None]:
    ((now,),) = yield Statement("SELECT {now}")
    for key in sorted(keys):
        other, until, writers = yield from _locked(provider, key, now)
        kept = (None, None) if other == mover else (other, until)
        yield _stored(provider, key, kept[0], kept[1], writers)
    return None


def changed() -> Part[int]:
    """Take the number of the next change, and notify the replicas at the commit."""
    ((change,),) = yield Statement(_NEXT)
    yield Statement("{notify_access}")
    return int(change)


def holds(provider: str, keys: Collection[str], mover: str) -> Part[bool]:
    """Whether a mover holds rows, and no writer is under way in them; they are locked."""
    ((now,),) = yield Statement("SELECT {now}")
    for key in sorted(keys):
        other, until, writers = yield from _locked(provider, key, now)
        if other != mover or until <= now or writers:
            return False
    return True


def _locked(provider: str, key: str, now: float) -> Part[tuple[str | None, float, dict[str, float]]]:
    """The row of a runtime, locked: its mover, until when, and the writers under way."""
    ((mover, until, writers),) = yield Statement(_LOCK, (provider, key))
    return mover, until or 0.0, {name: end for name, end in _WRITERS.decode(writers).items() if end > now}


def _stored(provider: str, key: str, mover: str | None, until: float | None, writers: dict[str, float]) -> Statement:
    if mover is None and not writers:
        return Statement("DELETE FROM runtime_holds WHERE provider = $1 AND runtime_key = $2", (provider, key))
    return Statement(
        "UPDATE runtime_holds SET mover = $3, mover_until = $4, writers = $5 WHERE provider = $1 AND runtime_key = $2",
        (provider, key, mover, until, msgspec.json.encode(writers).decode()),
    )


def _move(row: Row) -> StoredMove:
    return struct_of(StoredMove, row, state=MoveState, request=bytes)
