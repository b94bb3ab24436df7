"""The planned ends of instances."""

from collections.abc import Sequence
from typing import Final

from gateway.domain.ids import RuntimeRef
from gateway.domain.intents import Intent, IntentAttempt
from gateway.ports.places import PlannedEnd
from gateway.storage.sql import Statement, Steps, struct_of

FIRST_LOOK: Final = 10.0
"""Seconds after which the runtime is read for the first time, to learn its instance."""

_COLUMNS: Final = (
    "provider, runtime_id, scope, name, principal, due_at, due_at - (SELECT {now}), look_at - (SELECT {now}), instance"
)
_PLAN: Final = (
    "INSERT INTO ends (provider, runtime_id, scope, name, principal, due_at, look_at)"
    " VALUES ($1, $2, $3, $4, $5, COALESCE(CAST($6 AS DOUBLE PRECISION), {now}) + CAST($7 AS DOUBLE PRECISION),"
    " {now} + CAST($8 AS DOUBLE PRECISION)) ON CONFLICT (provider, runtime_id) DO "
)
_REPLACE: Final = (
    "UPDATE SET scope = excluded.scope, name = excluded.name, principal = excluded.principal,"
    " due_at = excluded.due_at, look_at = excluded.look_at, instance = NULL"
)
_OF_RUNTIME: Final = f"SELECT {_COLUMNS} FROM ends WHERE provider = $1 AND runtime_id = $2"
_NEXT: Final = f"SELECT {_COLUMNS} FROM ends ORDER BY look_at LIMIT $1"
_TAKE: Final = (
    "WITH picked AS (SELECT provider, runtime_id FROM ends"
    " WHERE look_at <= (SELECT {now}) ORDER BY look_at LIMIT $1{unlocked_only})"
    " UPDATE ends SET look_at = {now} + $2 WHERE (provider, runtime_id) IN (SELECT provider, runtime_id FROM picked)"
    f" RETURNING {_COLUMNS}"
)
_KEEP: Final = (
    "UPDATE ends SET instance = $4, look_at = COALESCE({now} + CAST($5 AS DOUBLE PRECISION), due_at)"
    " WHERE provider = $1 AND runtime_id = $2 AND due_at = $3 RETURNING runtime_id"
)
_DROP: Final = "DELETE FROM ends WHERE provider = $1 AND runtime_id = $2 AND due_at = $3 RETURNING runtime_id"


def plan(provider: str, ref: RuntimeRef, principal: str, lifetime: float) -> Steps[PlannedEnd]:
    """Plan an end from now on, in place of the runtime's earlier one."""
    values = (provider, ref.provider_id, ref.scope, ref.name, principal, None, lifetime, min(lifetime, FIRST_LOOK))
    yield Statement(_PLAN + _REPLACE, values)
    rows = yield Statement(_OF_RUNTIME, (provider, ref.provider_id))
    return struct_of(PlannedEnd, rows[0])


def plan_of_create(intent: Intent, runtime_id: str, attempts: Sequence[IntentAttempt]) -> Statement:
    """Plan the end of a runtime that a create has made, from its last send on, unless it has one."""
    lifetime = intent.lifetime or 0.0
    since = max((sent.first_send for sent in attempts if sent.first_send is not None), default=None)
    ref = (intent.provider, runtime_id, intent.scope, intent.name)
    return Statement(_PLAN + "NOTHING", (*ref, intent.principal, since, lifetime, min(lifetime, FIRST_LOOK)))


def end_of(provider: str, runtime_id: str) -> Steps[PlannedEnd | None]:
    rows = yield Statement(_OF_RUNTIME, (provider, runtime_id))
    return struct_of(PlannedEnd, rows[0]) if rows else None


def ends(limit: int) -> Steps[Sequence[PlannedEnd]]:
    return [struct_of(PlannedEnd, row) for row in (yield Statement(_NEXT, (limit,)))]


def take(limit: int, postpone: float) -> Steps[Sequence[PlannedEnd]]:
    return [struct_of(PlannedEnd, row) for row in (yield Statement(_TAKE, (limit, postpone)))]


def keep(end: PlannedEnd, *, instance: str | None, look_in: float | None) -> Steps[bool]:
    return bool((yield Statement(_KEEP, (end.provider, end.runtime_id, end.due_at, instance, look_in))))


def drop(end: PlannedEnd) -> Steps[bool]:
    return bool((yield Statement(_DROP, (end.provider, end.runtime_id, end.due_at))))
