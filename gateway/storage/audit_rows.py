"""The events of the audit trail. Their ids are ordered by time, so the primary key serves pages and retention."""

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.ports.audit import AuditEvent, AuditQuery, first_id
from gateway.storage.sql import Statement, Steps, placeholders

_SIZES: Final = (64, 8, 1)
"""How many events one statement inserts: few different statements, because each is prepared."""

_COLUMNS: Final = ("id", "principal", "runtime_id", "action", "outcome")
_PURGE: Final = (
    "WITH picked AS (SELECT id FROM audit_events WHERE id < $1 ORDER BY id LIMIT $2{unlocked_only})"
    " DELETE FROM audit_events WHERE id IN (SELECT id FROM picked) RETURNING id"
)
_DECODER: Final = msgspec.json.Decoder(AuditEvent)


def _insert(count: int) -> str:
    width = len(_COLUMNS) + 1
    rows = ", ".join(f"({placeholders(width, 1 + width * row)})" for row in range(count))
    return f"INSERT INTO audit_events ({', '.join(_COLUMNS)}, document) VALUES {rows} ON CONFLICT (id) DO NOTHING"


_INSERTS: Final = {size: _insert(size) for size in _SIZES}


def add(events: Sequence[AuditEvent]) -> Steps[None]:
    for size in _SIZES:
        while len(events) >= size:
            now, events = events[:size], events[size:]
            yield Statement(_INSERTS[size], [value for event in now for value in _stored(event)])
    return None


def listed(query: AuditQuery) -> Steps[Sequence[AuditEvent]]:
    conditions, values = ["1 = 1"], list[object]([query.limit])
    for condition, value in (
        ("principal =", query.principal),
        ("runtime_id =", query.runtime_id),
        ("outcome =", query.outcome),
        ("id >=", None if query.since is None else first_id(query.since)),
        ("id <", None if query.until is None else first_id(query.until)),
        ("id <", query.before),
    ):
        if value is not None:
            values.append(value)
            conditions.append(f"{condition} ${len(values)}")
    if query.actions:
        conditions.append(f"action IN ({placeholders(len(query.actions), len(values) + 1)})")
        values += sorted(query.actions)
    where = " AND ".join(conditions)
    rows = yield Statement(f"SELECT document FROM audit_events WHERE {where} ORDER BY id DESC LIMIT $1", values)
    return [_DECODER.decode(document) for (document,) in rows]


def purge(kept: float, limit: int) -> Steps[int]:
    ((now,),) = yield Statement("SELECT {now}")
    return len((yield Statement(_PURGE, (first_id(now - kept), limit))))


def _stored(event: AuditEvent) -> list[str | None]:
    document = msgspec.json.encode(event).decode()
    return [*(_text(getattr(event, column)) for column in _COLUMNS), document]


def _text(value: str | None) -> str | None:
    return None if value is None else str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL stores no NUL
