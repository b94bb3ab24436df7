"""Where runtimes have gone. Every change gets the next number, so that replicas read only what they do not know."""

from collections.abc import Collection
from typing import Final

import msgspec

from gateway.domain.moves import ANNOUNCED, ItemState
from gateway.ports.moves import Arriving, Relocation, Relocations, StoredItem
from gateway.storage import access_rows, move_rows
from gateway.storage.sql import Part, Rollback, Row, Statement, Steps, placeholders, struct_of

_FIELDS: Final = Relocation.__struct_fields__
_COLUMNS: Final = ", ".join(_FIELDS)
_ALL: Final = f"SELECT {_COLUMNS} FROM relocations"
_PUT: Final = (
    f"INSERT INTO relocations ({_COLUMNS}) VALUES ({placeholders(len(_FIELDS))})"
    " ON CONFLICT (source, source_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in (*_FIELDS[3:], "source_scope"))
)
_ANNOUNCED: Final = f"moves.state IN ({', '.join(repr(state.value) for state in sorted(ANNOUNCED))})"
_ACTIVE: Final = f"SELECT source, target FROM moves WHERE {_ANNOUNCED}"
_ARRIVING: Final = (
    "SELECT moves.target, item.target_scope, item.kind, item.details, item.target_id FROM moves"
    f" JOIN move_items AS item ON item.move_id = moves.id AND item.state = '{ItemState.MOVING.value}'"
    f" WHERE {_ANNOUNCED}"
)


class _Named(msgspec.Struct):
    """What is needed of the details of an item."""

    name: str = ""


_NAMED: Final = msgspec.json.Decoder(_Named)


def relocations(since: int) -> Steps[Relocations]:
    """What has changed since a change. Its number is read first: what is newer is read again. What arrives is read
    before what has been switched, so that one of them has a runtime that is switched meanwhile."""
    rows = yield Statement("SELECT change FROM relocation_changes")
    change = int(rows[0][0]) if rows else 0
    active = yield Statement(_ACTIVE)
    arriving = (yield Statement(_ARRIVING)) if active else ()
    whole = since == 0 or since > change
    if whole:
        found = yield Statement(f"{_ALL} WHERE removed = 0 OR source_instance <> target_instance")
    else:
        found = yield Statement(f"{_ALL} WHERE change > $1", (since,))
    names = sorted({name for row in active for name in row})
    return Relocations(
        change=change,
        active=names,
        rows=[_relocation(row) for row in found],
        whole=whole,
        arriving=[_arriving(row) for row in arriving],
    )


def switch_runtime(
    item: StoredItem, relocation: Relocation, holder: str, keys: Collection[str]
) -> Steps[Relocation | None]:
    moved = relocation
    stored = yield Statement(f"{_ALL} WHERE source = $1 AND source_id = $2", (moved.source, moved.source_id))
    known = _relocation(stored[0]) if stored else None
    if known is not None and not known.removed and (known.target, known.target_id) == (moved.target, moved.target_id):
        return Rollback(known)
    if not (yield from move_rows.has_lease(item.move_id, holder)):
        return Rollback(None)
    if not (yield from move_rows.holds(moved.source, keys, holder)):
        return Rollback(None)
    change = yield from move_rows.changed()
    leading = yield Statement(f"{_ALL} WHERE target = $1 AND target_id = $2", (moved.source, moved.source_id))
    earlier = [one for one in map(_relocation, leading) if not one.removed]
    before = change
    if earlier:  # the last switch gets the higher number
        change = yield from move_rows.changed()
        moved = msgspec.structs.replace(moved, runtime_id=earlier[0].runtime_id)
    moved = msgspec.structs.replace(moved, change=change)
    for one in earlier:
        continues = one.target_instance is not None and one.target_instance == moved.source_instance
        yield _put(
            msgspec.structs.replace(
                one,
                target=moved.target,
                target_scope=moved.target_scope,
                target_id=moved.target_id,
                target_name=moved.target_name,
                target_runtime_id=moved.target_runtime_id,
                target_instance=moved.target_instance if continues else None,
                move_id=moved.move_id,
                removed=(one.source, one.source_id) == (moved.target, moved.target_id),
                change=before,
            )
        )
    yield _put(moved)
    yield from _carry(moved)
    yield move_rows.put_item(item)
    delete = "DELETE FROM runtime_holds WHERE provider = $1 AND runtime_key = $2"
    for key in sorted(keys):
        yield Statement(delete, (moved.source, key))
    return moved


def _carry(moved: Relocation) -> Part[None]:
    """The owner's assignment, the place and the planned end go with the runtime."""
    rows = yield Statement(
        "SELECT owner, assigned_by FROM owners WHERE runtime_id IN ($1, $2) ORDER BY assigned_at DESC",
        (moved.source_runtime_id, moved.runtime_id),
    )
    if rows:
        yield from access_rows.assign_owner(moved.target_runtime_id, *rows[0])
    source, target = (moved.source, moved.source_id), (moved.target, moved.target_id)
    for table in ("places", "ends"):
        if (yield Statement(f"SELECT 1 FROM {table} WHERE provider = $1 AND runtime_id = $2", source)):
            yield Statement(f"DELETE FROM {table} WHERE provider = $1 AND runtime_id = $2", target)
            yield Statement(
                f"UPDATE {table} SET provider = $3, runtime_id = $4, scope = $5"
                " WHERE provider = $1 AND runtime_id = $2",
                (*source, *target, moved.target_scope),
            )
    yield Statement(
        "UPDATE ends SET instance = $3 WHERE provider = $1 AND runtime_id = $2", (*target, moved.target_instance)
    )
    return None


def _put(relocation: Relocation) -> Statement:
    values = [int(value) if isinstance(value, bool) else value for value in msgspec.structs.astuple(relocation)]
    return Statement(_PUT, values)


def _relocation(row: Row) -> Relocation:
    return struct_of(Relocation, row, removed=bool)


def _arriving(row: Row) -> Arriving:
    provider, scope, kind, details, provider_id = row
    return Arriving(
        provider=provider, scope=scope or "", kind=kind, name=_NAMED.decode(details).name, provider_id=provider_id
    )
