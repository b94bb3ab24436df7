"""What replicas do in the background: elect the leader of a role, claim due intents, and purge old rows."""

from collections.abc import Sequence
from typing import Final

from gateway.domain.intents import Intent
from gateway.storage import kept_create_rows, pin_rows, place_rows
from gateway.storage.intent_changes import WRITER
from gateway.storage.sql import COLUMNS, Rollback, Statement, Steps, intent_of, placeholders

_ACQUIRE: Final = (
    "INSERT INTO leases (duty, holder, lease_until) VALUES ($1, $2, {now} + $3) ON CONFLICT (duty)"
    " DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until"
    " WHERE leases.holder = excluded.holder OR leases.lease_until <= {now} RETURNING holder"
)
_DUE: Final = (
    "SELECT id FROM intents WHERE due_at <= (SELECT {now})"
    " AND (lease_until IS NULL OR lease_until <= (SELECT {now})) ORDER BY due_at LIMIT $1{unlocked_only}"
)
_OLD: Final = (
    "SELECT id, principal, kind, name, pinned FROM intents WHERE settled_at <= (SELECT {now}) - $1"
    " AND (surplus = '[]' OR settled_at <= (SELECT {now}) - $2)"
    " AND (lease_until IS NULL OR lease_until <= (SELECT {now})) ORDER BY settled_at LIMIT $3{unlocked_only}"
)
_OLD_SPECS: Final = (
    "WITH picked AS (SELECT namespace, runtime_id FROM specs"
    " WHERE kept_at <= (SELECT {now}) - $1 ORDER BY kept_at LIMIT $2{unlocked_only})"
    " DELETE FROM specs WHERE (namespace, runtime_id) IN (SELECT namespace, runtime_id FROM picked)"
    " RETURNING runtime_id"
)


def acquire_leadership(role: str, holder: str, lease: float) -> Steps[bool]:
    return bool((yield Statement(_ACQUIRE, (role, holder, lease))))


def claim_due(holder: str, lease: float, limit: int) -> Steps[Sequence[Intent]]:
    ids = [row[0] for row in (yield Statement(_DUE, (limit,)))]
    if not ids:
        return Rollback([])
    rows = yield Statement(
        f"UPDATE intents SET holder = $1, {WRITER} = $1, lease_until = {{now}} + $2, due_at = {{now}} + $2,"
        f" updated_at = {{now}} WHERE id IN ({placeholders(len(ids), 3)}) RETURNING {COLUMNS}",
        (holder, lease, *ids),
    )
    return sorted(map(intent_of, rows), key=lambda intent: ids.index(intent.id))


def purge(*, settled: float, kept: float, limit: int) -> Steps[int]:
    """Delete old intents, their pins, old specs, kept creates and places; returns how many intents and specs. The
    creates of the intents are kept."""
    old = yield Statement(_OLD, (settled, kept, limit))
    pins = sorted((principal, kind, name, intent_id) for intent_id, principal, kind, name, pinned in old if pinned)
    for principal, kind, name, _ in pins:
        yield from pin_rows.lock(principal, kind, name)
    for intent_id, *_ in old:
        yield Statement(kept_create_rows.COPY, (intent_id,))
        yield Statement("DELETE FROM intents WHERE id = $1", (intent_id,))
    for principal, kind, name, intent_id in pins:
        yield from pin_rows.unpin(principal, kind, name, intent_id)
    old_specs = yield Statement(_OLD_SPECS, (kept, limit))
    yield Statement(kept_create_rows.PURGE, (kept, limit))
    yield place_rows.forget(kept)
    return len(old) + len(old_specs)
