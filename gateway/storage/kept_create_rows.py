"""The creates of runtimes: in the rows of done intents, and copied from there when those are purged. Their specs."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from gateway.ports.moves import StoredCreate, StoredSpec
from gateway.storage.sql import Part, Statement, Steps, placeholders, struct_of

_FIELDS: Final = "provider, runtime_id, scope, kind, name, namespace, intent_id, principal, created_at, request"
_OF_INTENT: Final = _FIELDS.replace("intent_id", "id")
_COPIED: Final = ("scope", *_FIELDS.split(", ")[3:], "kept_at")

_UPDATED: Final = ", ".join(f"{name} = excluded.{name}" for name in _COPIED)
COPY: Final = (
    f"INSERT INTO kept_creates ({_FIELDS}, kept_at, deleted) SELECT {_OF_INTENT}, {{now}}, 0 FROM intents"
    " WHERE id = $1 AND state = 'done' AND request IS NOT NULL AND runtime_id IS NOT NULL"
    f" ON CONFLICT (provider, runtime_id) DO UPDATE SET {_UPDATED} WHERE kept_creates.deleted = 0"
    " AND (kept_creates.created_at IS NULL OR kept_creates.created_at <= excluded.created_at)"
)
"""Copy the create of an intent that is about to be purged."""

PURGE: Final = (
    "WITH picked AS (SELECT provider, runtime_id FROM kept_creates"
    " WHERE kept_at <= (SELECT {now}) - $1 ORDER BY kept_at LIMIT $2{unlocked_only})"
    " DELETE FROM kept_creates WHERE (provider, runtime_id) IN (SELECT provider, runtime_id FROM picked)"
)

_KEEP_CONFIG: Final = (
    "INSERT INTO kept_creates (provider, runtime_id, scope, config, kept_at, deleted) VALUES ($1, $2, $3, $4, {now}, 0)"
    " ON CONFLICT (provider, runtime_id) DO UPDATE SET config = excluded.config, kept_at = excluded.kept_at"
    " WHERE kept_creates.deleted = 0"
)
_DROP: Final = (
    "INSERT INTO kept_creates (provider, runtime_id, scope, kept_at, deleted) VALUES ($1, $2, '', {now}, 1)"
    " ON CONFLICT (provider, runtime_id) DO UPDATE SET"
    " deleted = 1, request = NULL, config = NULL, kept_at = excluded.kept_at"
    " WHERE kept_creates.intent_id IS NULL OR kept_creates.intent_id <> ''"
)
_OF_INTENTS: Final = ", ".join(f"i.{name}" for name in _OF_INTENT.split(", "))
_LISTED: Final = (
    f"SELECT {_FIELDS}, config FROM kept_creates WHERE provider = $1 AND runtime_id > $2 AND request IS NOT NULL{{}}"
    f" UNION ALL SELECT {_OF_INTENTS}, k.config FROM intents i LEFT JOIN kept_creates k"
    " ON k.provider = i.provider AND k.runtime_id = i.runtime_id WHERE i.provider = $1 AND i.runtime_id > $2"
    " AND i.state = 'done' AND i.request IS NOT NULL AND COALESCE(k.deleted, 0) = 0{}"
    " ORDER BY runtime_id, created_at DESC LIMIT $3"
)
_IMPORT: Final = (
    f"INSERT INTO kept_creates ({_FIELDS}, config, kept_at, deleted)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, {now}, $9, $10, {now}, 0)"
    f" ON CONFLICT (provider, runtime_id) DO UPDATE SET {_UPDATED}, config = excluded.config, deleted = 0"
)


def kept_creates(
    provider: str, *, scope: str | None = None, only: str | None = None, after: str = "", limit: int = 500
) -> Steps[Sequence[StoredCreate]]:
    values: list[object] = [provider, after, limit]
    where = ""
    for column, value in (("scope", scope), ("runtime_id", only)):
        if value is not None:
            values.append(value)
            where += f" AND {{}}{column} = ${len(values)}"
    rows = yield Statement(_LISTED.format(where.format("", ""), where.format("i.", "i.")), values)
    found: dict[str, StoredCreate] = {}
    for row in rows:
        create = struct_of(StoredCreate, row, request=bytes, config=lambda value: value and bytes(value))
        found.setdefault(create.runtime_id, create)
    return list(found.values())


def keep_create(create: StoredCreate) -> Steps[None]:
    values = msgspec.structs.astuple(create)
    yield Statement(_IMPORT, (*values[:8], *values[9:]))
    return None


def keep_config(provider: str, runtime_id: str, scope: str, sealed: bytes) -> Steps[None]:
    yield Statement(_KEEP_CONFIG, (provider, runtime_id, scope, sealed))
    return None


def drop_kept_create(provider: str, runtime_id: str) -> Steps[None]:
    yield Statement(_DROP, (provider, runtime_id))
    return None


_PUT_SPEC: Final = (
    "INSERT INTO specs (namespace, runtime_id, sealed, kept_at) VALUES ($1, $2, $3, {now})"
    " ON CONFLICT (namespace, runtime_id) DO UPDATE SET sealed = excluded.sealed, kept_at = excluded.kept_at"
)
_DELETE_SPEC: Final = "DELETE FROM specs WHERE namespace = $1 AND runtime_id = $2"


def keep_spec(spec: StoredSpec) -> Part[None]:
    """Insert or replace the spec of a runtime."""
    yield Statement(_PUT_SPEC, spec, changed="kept_at")
    return None


def specs(namespace: str, runtime_ids: Sequence[str]) -> Steps[Mapping[str, bytes]]:
    if not runtime_ids:
        return {}
    rows = yield Statement(
        "SELECT runtime_id, sealed FROM specs WHERE namespace = $1"
        f" AND runtime_id IN ({placeholders(len(runtime_ids), 2)})",
        (namespace, *runtime_ids),
    )
    return {runtime_id: bytes(sealed) for runtime_id, sealed in rows}


def drop_spec(namespace: str, runtime_id: str) -> Steps[None]:
    yield Statement(_DELETE_SPEC, (namespace, runtime_id))
    return None
