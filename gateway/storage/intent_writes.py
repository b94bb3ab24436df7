"""The writes of intents: insert, transition, update, proof, and an operator's decision.

The order of locks prevents deadlocks: a pinned intent is changed only after its pin was locked. Before that its row may
be locked, because an insert does not wait for a locked row.
"""

import secrets
from typing import Final

import msgspec

from gateway.domain.intents import HOLDS_NAME, Actor, Intent, IntentState, LeaseRule, NewIntent, transition
from gateway.ports.moves import StoredSpec
from gateway.ports.places import PlaceClaim
from gateway.ports.store import (
    NO_CHANGES,
    Changes,
    Conflict,
    ConflictReason,
    Decision,
    Inserted,
    NameTaken,
    Stale,
    Updated,
    Version,
)
from gateway.storage import kept_create_rows, pin_rows, place_rows
from gateway.storage.end_rows import plan_of_create
from gateway.storage.intent_changes import WRITER, change, write
from gateway.storage.sql import (
    COLUMNS,
    NEW_COLUMNS,
    Part,
    RetryTransaction,
    Rollback,
    Statement,
    Steps,
    any_state,
    columns_of,
    intent_of,
    placeholders,
    stored_of_new,
)

_TARGET_FIELDS: Final = frozenset({"namespace", "provider", "scope"})

_HELD: Final = f"SELECT {COLUMNS}, {WRITER}, {{now}} FROM intents WHERE id = $1{{locked}}"
_OF_CALLER: Final = f"SELECT {COLUMNS}, {WRITER} FROM intents WHERE id = $1 OR (principal = $2 AND client_key = $3)"
_OF_NAME: Final = (
    f"SELECT {COLUMNS} FROM intents WHERE namespace = $1 AND kind = $2 AND name = $3"
    f" AND {any_state(HOLDS_NAME)} AND superseded_by IS NULL AND id <> $4"
)
_SUPERSEDE: Final = (
    "UPDATE intents SET superseded_by = $1, updated_at = {now} WHERE id = $2 AND epoch = $3 AND state = 'absent'"
    " AND superseded_by IS NULL"
)
_HOLDER: Final = len(NEW_COLUMNS) + 1
_INSERT: Final = (
    f"INSERT INTO intents ({', '.join(NEW_COLUMNS)}, state, epoch, attempts, looks, surplus, holder, {WRITER},"
    " created_at, updated_at, lease_until, due_at)"
    f" VALUES ({placeholders(len(NEW_COLUMNS))}, 'open', 1, '[]', '[]', '[]', ${_HOLDER}, ${_HOLDER},"
    f" {{now}}, {{now}}, {{now}} + ${_HOLDER + 1}, {{now}} + ${_HOLDER + 1})"
    " ON CONFLICT DO NOTHING"
)
_DECIDED: Final = (
    "INSERT INTO decisions (id, at, operator, intent_id, decision, runtime_id, note)"
    " VALUES ($1, {now}, $2, $3, $4, $5, $6)"
)


def begin(
    new: NewIntent, holder: str, lease: float, *, instead_of: Version | None = None, claim: PlaceClaim | None = None
) -> Steps[Inserted | Conflict]:
    pinned_by = (yield from pin_rows.pin(new, new.namespace)) if new.pinned else None
    if pinned_by is None:
        if instead_of is not None:
            yield Statement(_SUPERSEDE, (new.id, instead_of.id, instead_of.epoch))
        written = yield Statement(_INSERT, (*stored_of_new(new), holder, lease), changed="created_at")
        if written:
            yield from place_rows.take_for(new, claim)
            return Inserted(_begun(new, holder, lease, written[0][0]))
    # Something conflicts: every result below rolls back what was written above.
    callers = yield Statement(_OF_CALLER, (new.id, new.principal, new.key))
    if callers:
        known = intent_of(callers[0])
        again = (known.id, known.state, known.epoch, callers[0][-1]) == (new.id, IntentState.OPEN, 1, holder)
        return Rollback(Inserted(known) if again else Conflict(known, ConflictReason.KEY))
    if pinned_by is not None:
        return Rollback(Conflict(pinned_by, ConflictReason.PIN))
    holders = yield Statement(_OF_NAME, (new.namespace, new.kind, new.name, new.id))
    if not holders:
        raise RetryTransaction  # the intent that had the name or the key has just released it
    return Rollback(Conflict(intent_of(holders[0]), ConflictReason.NAME))


def _begun(new: NewIntent, holder: str, lease: float, now: float) -> Intent:
    """What :data:`_INSERT` has inserted."""
    return Intent(
        **msgspec.structs.asdict(new),
        state=IntentState.OPEN,
        epoch=1,
        holder=holder,
        lease_until=now + lease,
        due_at=now + lease,
        attempts=(),
        looks=(),
        created_at=now,
        updated_at=now,
    )


def move(
    version: Version,
    to: IntentState,
    who: Actor,
    holder: str,
    *,
    lease: float | None = None,
    look_in: float | None = None,
    changes: Changes = NO_CHANGES,
    claim: PlaceClaim | None = None,
) -> Steps[Updated | Stale | NameTaken]:
    step = transition(version.state, to, who)
    if to is IntentState.DONE or who is Actor.OPERATOR:
        raise ValueError("proof needs record_created, and an operator's decision needs decide")
    if step.next_epoch and lease is None:
        raise ValueError("an open intent needs a lease")
    if not step.next_epoch:
        _check_target_unchanged(changes)
    held = yield from _held(version.id)
    if held is None:
        return Rollback(Stale(None))
    intent, writer, now = held
    epoch = version.epoch + step.next_epoch
    if (intent.state, intent.epoch, writer) == (to, epoch, holder) and Version.of(intent) != version:
        return Rollback(Updated(intent))
    if Version.of(intent) != version or not _lease_allows(step.lease, intent, holder, now):
        return Rollback(Stale(intent))
    values = changes.set()
    namespace = str(values.get("namespace", intent.namespace))
    if intent.pinned and to is IntentState.OPEN and (other := (yield from pin_rows.pin(intent, namespace))) is not None:
        return Rollback(NameTaken(other))
    if intent.pinned and to is IntentState.REFUSED:
        yield from pin_rows.lock(intent.principal, intent.kind, intent.name)
        yield from pin_rows.unpin(intent.principal, intent.kind, intent.name, intent.id)
    if to is IntentState.OPEN:
        holders = yield Statement(_OF_NAME, (namespace, intent.kind, intent.name, intent.id))
        if holders:
            return Rollback(NameTaken(intent_of(holders[0])))
        values["superseded_by"] = None
        yield from place_rows.take_for(intent, claim)
    if to in {IntentState.REFUSED, IntentState.ABSENT}:
        yield place_rows.give_back(intent.id)
    return Updated((yield from write(intent, to, epoch, holder, lease, look_in, values)))


def update(
    version: Version,
    holder: str,
    *,
    lease: float | None = None,
    look_in: float | None = None,
    changes: Changes = NO_CHANGES,
) -> Steps[Updated | Stale]:
    _check_target_unchanged(changes)
    held = yield from _held(version.id)
    if held is None:
        return Rollback(Stale(None))
    intent, writer, now = held
    repeated = lease is None and intent.holder is None and writer == holder
    if Version.of(intent) != version or not (repeated or _lease_allows(LeaseRule.OWN, intent, holder, now)):
        return Rollback(Stale(intent))
    return Updated((yield from write(intent, intent.state, intent.epoch, holder, lease, look_in, changes.set())))


def record_created(
    intent_id: str,
    runtime_id: str,
    *,
    look_in: float | None = None,
    changes: Changes = NO_CHANGES,
    known: Intent | None = None,
    spec: StoredSpec | None = None,
) -> Steps[Intent | None]:
    _check_target_unchanged(changes)
    if spec is not None:
        yield from kept_create_rows.keep_spec(spec)
    values = {**changes.set(), "runtime_id": runtime_id}
    to, writer = IntentState.DONE, "anyone"
    if known is not None:
        statement, changed = change(known, to, known.epoch, writer, None, look_in, values, if_unchanged=True)
        if rows := (yield statement):
            return (yield from _made(changed(rows[0][0]), runtime_id, changes))
    held = yield from _held(intent_id)
    if held is None:
        return None
    intent = held[0]
    if intent.state is not IntentState.DONE:
        transition(intent.state, IntentState.DONE, Actor.ANYONE)
        if intent.pinned and intent.state is IntentState.REFUSED:
            yield from pin_rows.pin(intent, intent.namespace)
        done = yield from write(intent, to, intent.epoch, writer, None, look_in, values)
        return (yield from _made(done, runtime_id, changes))
    if runtime_id == intent.runtime_id:
        outcome = values.get("outcome")
        if outcome is None or intent.outcome is not None:
            return intent
        return (yield from _add(intent, "outcome", outcome))
    if runtime_id in intent.surplus:
        return intent
    yield from _plan_end(intent, runtime_id)
    return (yield from _add(intent, "surplus", (*intent.surplus, runtime_id)))


def _made(done: Intent, runtime_id: str, changes: Changes) -> Part[Intent]:
    yield from _plan_end(done, runtime_id)
    yield from place_rows.made(done, runtime_id, existed=changes.lifetime is None)
    return done


def _plan_end(intent: Intent, runtime_id: str) -> Part[None]:
    if intent.lifetime is not None:
        yield plan_of_create(intent, runtime_id, intent.attempts)


def _add(intent: Intent, name: str, value: object) -> Part[Intent]:
    """Change one field of an intent, without a change of its lease or its due time."""
    ((column, stored),) = columns_of({name: value}).items()
    sql = f"UPDATE intents SET {column} = $2, updated_at = {{now}} WHERE id = $1"
    ((now,),) = yield Statement(sql, (intent.id, stored), changed="updated_at")
    return msgspec.structs.replace(intent, updated_at=now, **{name: value})


def decide(
    version: Version,
    decision: Decision,
    operator: str,
    *,
    runtime_id: str | None = None,
    note: str | None = None,
    changes: Changes = NO_CHANGES,
) -> Steps[Updated | Stale]:
    _check_target_unchanged(changes)
    if (decision is Decision.MADE) != (runtime_id is not None):
        raise ValueError("the decision made needs a runtime id, and absent must have none")
    to = IntentState.DONE if decision is Decision.MADE else IntentState.ABSENT
    transition(version.state, to, Actor.OPERATOR)
    held = yield from _held(version.id)
    if held is None:
        return Rollback(Stale(None))
    intent, writer, _ = held
    mark = f"operator {operator}"
    if (intent.state, intent.epoch, intent.runtime_id, writer) == (to, version.epoch, runtime_id, mark):
        return Rollback(Updated(intent))
    if Version.of(intent) != version:
        return Rollback(Stale(intent))
    yield Statement(_DECIDED, (secrets.token_hex(16), operator, version.id, decision, runtime_id, note))
    look_in = 0.0 if to is IntentState.ABSENT else None
    values = {**changes.set(), "runtime_id": runtime_id}
    decided = yield from write(intent, to, intent.epoch, mark, None, look_in, values)
    if decided.runtime_id is None:
        yield place_rows.give_back(intent.id)
    else:
        yield from _plan_end(decided, decided.runtime_id)
        yield from place_rows.made(decided, decided.runtime_id)
    return Updated(decided)


def _check_target_unchanged(changes: Changes) -> None:
    if _TARGET_FIELDS & changes.set().keys():
        raise ValueError("only a transition to open may change namespace, provider or scope")


def _held(intent_id: str) -> Part[tuple[Intent, str, float] | None]:
    """The intent, its last writer and the database's time. The row is locked until the end of the transaction."""
    rows = yield Statement(_HELD, (intent_id,))
    return (intent_of(rows[0]), rows[0][-2], rows[0][-1]) if rows else None


def _lease_allows(rule: LeaseRule, intent: Intent, holder: str, now: float) -> bool:
    if rule is LeaseRule.ANY or intent.holder == holder:
        return True
    return rule is LeaseRule.FREE and (intent.lease_until is None or intent.lease_until <= now)
