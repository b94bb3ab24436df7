"""The reads of intents and of the decisions about them."""

from collections.abc import Sequence
from typing import Final

from gateway.domain.intents import HOLDS_NAME, UNSETTLED, Intent, IntentState
from gateway.ports.intent_query import IntentQuery
from gateway.ports.store import Counts, Decision, DecisionRecord
from gateway.storage.sql import COLUMNS, Statement, Steps, any_state, in_states, intent_of, placeholders, surplus_of

_BY_ID: Final = f"SELECT {COLUMNS} FROM intents WHERE id = $1"
_BY_KEY: Final = f"SELECT {COLUMNS} FROM intents WHERE principal = $1 AND client_key = $2"
_OF_NAME: Final = "FROM intents WHERE namespace = $1 AND kind = $2 AND name = $3 AND id <> $4"
_DONE: Final = " AND state = 'done'"
_HOLDER_OR_NEWEST: Final = (
    f" ORDER BY CASE WHEN {any_state(HOLDS_NAME)} AND superseded_by IS NULL THEN 0 ELSE 1 END,"
    " created_at DESC, id DESC LIMIT 1"
)
_COUNT: Final = (
    f"SELECT state, count(*), {{now}} - min(created_at) FROM intents WHERE {any_state(UNSETTLED)} GROUP BY state"
)
_SURPLUS: Final = "SELECT count(*) FROM intents WHERE surplus <> '[]'"
_DECISIONS: Final = (
    "SELECT at, operator, intent_id, decision, runtime_id, note FROM decisions ORDER BY at DESC, id DESC LIMIT $1"
)
_ANY_DUE: Final = (
    "SELECT 1 FROM intents WHERE due_at <= (SELECT {now})"
    " AND (lease_until IS NULL OR lease_until <= (SELECT {now})) LIMIT 1"
)


def now() -> Steps[float]:
    rows = yield Statement("SELECT {now}")
    return float(rows[0][0])


def get(intent_id: str) -> Steps[Intent | None]:
    rows = yield Statement(_BY_ID, (intent_id,))
    return intent_of(rows[0]) if rows else None


def by_key(principal: str, key: str) -> Steps[Intent | None]:
    rows = yield Statement(_BY_KEY, (principal, key))
    return intent_of(rows[0]) if rows else None


def by_name(
    namespace: str, kind: str, name: str, *, other_than: str | None = None, done: bool = False
) -> Steps[Intent | None]:
    """The intent that holds the name; if none does, the newest that held it."""
    sql = f"SELECT {COLUMNS} {_OF_NAME}{_DONE if done else ''}{_HOLDER_OR_NEWEST}"
    rows = yield Statement(sql, (namespace, kind, name, other_than or ""))
    return intent_of(rows[0]) if rows else None


def made_under(namespace: str, kind: str, name: str, *, other_than: str) -> Steps[frozenset[str]]:
    """The provider's ids of the runtimes that done intents of a name have made."""
    sql = f"SELECT DISTINCT runtime_id, surplus {_OF_NAME}{_DONE}"
    rows = yield Statement(sql, (namespace, kind, name, other_than))
    return frozenset(one for made, surplus in rows for one in (made, *surplus_of(surplus)))


def listed(query: IntentQuery) -> Steps[Sequence[Intent]]:
    where = [f"state IN {in_states(query.states)}"]
    if query.surplus_only:
        where.append("surplus <> '[]'")
    values: list[object] = [query.limit, *(query.before or ())]
    if query.before is not None:
        where.append("(created_at, id) < ($2, $3)")
    for column, wanted in (
        ("principal", None if query.principal is None else {query.principal}),
        ("provider", query.only.providers),
        ("scope", query.only.scopes),
        ("kind", query.only.kinds),
    ):
        if wanted is not None:
            where.append(f"{column} IN ({placeholders(len(wanted), len(values) + 1) or 'NULL'})")
            values += sorted(wanted)
    rows = yield Statement(
        f"SELECT {COLUMNS} FROM intents WHERE {' AND '.join(where)} ORDER BY created_at DESC, id DESC LIMIT $1", values
    )
    return [intent_of(row) for row in rows]


def counts() -> Steps[Counts]:
    unsettled = yield Statement(_COUNT)
    surplus = yield Statement(_SURPLUS)
    return Counts(
        unsettled={IntentState(state): count for state, count, _ in unsettled},
        surplus=surplus[0][0],
        oldest_age=max((age for *_, age in unsettled), default=0.0),
    )


def decisions(limit: int) -> Steps[Sequence[DecisionRecord]]:
    rows = yield Statement(_DECISIONS, (limit,))
    return [DecisionRecord(at, who, what, Decision(how), made, note) for at, who, what, how, made, note in rows]


def is_any_due() -> Steps[bool]:
    return bool((yield Statement(_ANY_DUE)))
