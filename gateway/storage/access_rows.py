"""Keys, principals and owner assignments. Every change begins with a new version of the access data, whose row is the
lock that makes changes run one after the other."""

import secrets
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from gateway.ports.data_plane import Revocation
from gateway.ports.principals import AccessData, KeyRefused, NewKey, OwnerAssignment, StoredKey, StoredPrincipal
from gateway.storage.sql import Part, Rollback, Row, Statement, Steps, placeholders, struct_of

ENDED_KEYS_KEPT: Final = 30 * 86400.0
"""Seconds for which a key that has ended is still listed."""

REVOCATIONS_KEPT: Final = 2 * 86400.0
"""Seconds for which a revocation is kept: longer than the longest token is valid."""

_SET_VERSION: Final = (
    "INSERT INTO access_version (one, version) VALUES (1, $1)"
    " ON CONFLICT (one) DO UPDATE SET version = excluded.version"
)
_KEY_COLUMNS: Final = ", ".join(StoredKey.__struct_fields__)
_KEYS: Final = f"SELECT {_KEY_COLUMNS} FROM api_keys"
_INSERT_KEY: Final = (
    f"INSERT INTO api_keys ({_KEY_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, {{now}}, NULL) RETURNING {_KEY_COLUMNS}"
)
_DELETE_ENDED: Final = "DELETE FROM api_keys WHERE expires_at <= (SELECT {now}) - $1"
_PRINCIPALS: Final = "SELECT name, template, disabled, created_at FROM principals"
_INSERT_PRINCIPAL: Final = (
    "INSERT INTO principals (name, template, disabled, created_at) VALUES ($1, $2, $3, {now})"
    " ON CONFLICT (name) DO UPDATE SET disabled = excluded.disabled"
)
_OWNERS: Final = "SELECT runtime_id, owner, assigned_by, assigned_at FROM owners"
_ASSIGN: Final = (
    "INSERT INTO owners (runtime_id, owner, assigned_by, assigned_at) VALUES ($1, $2, $3, {now}) ON CONFLICT"
    " (runtime_id) DO UPDATE SET owner = excluded.owner, assigned_by = excluded.assigned_by,"
    " assigned_at = excluded.assigned_at RETURNING runtime_id, owner, assigned_by, assigned_at"
)
_EPOCH: Final = "SELECT applied_at FROM store_schema ORDER BY version LIMIT 1"
_REVOCATIONS: Final = "SELECT runtime_id, principal, generation FROM revocations"
_REVOKE: Final = (
    "INSERT INTO revocations (runtime_id, principal, generation, revoked_at) VALUES ($1, $2, $3, {now})"
    " ON CONFLICT (runtime_id, principal) DO UPDATE SET revoked_at = excluded.revoked_at,"
    " generation = CASE WHEN revocations.generation < excluded.generation THEN excluded.generation"
    " ELSE revocations.generation + 1 END RETURNING runtime_id, principal, generation"
)
_DELETE_REVOCATIONS: Final = "DELETE FROM revocations WHERE revoked_at <= (SELECT {now}) - $1"
_SCOPES: Final = msgspec.json.Decoder(tuple[str, ...] | None)


def version() -> Part[str]:
    """The version of the access data; empty before the first change."""
    rows = yield Statement("SELECT version FROM access_version")
    return str(rows[0][0]) if rows else ""


def access_data() -> Part[AccessData]:
    """All access data. The version is read first: data that is newer than it is read again, older data is never
    taken for current."""
    read_at = yield from version()
    found = yield from keys()
    named = yield from principals()
    owners = yield Statement(_OWNERS)
    revocations = yield Statement(_REVOCATIONS)
    ((epoch,),) = yield Statement(_EPOCH)
    return AccessData(
        version=read_at,
        epoch=str(epoch),
        keys=found,
        principals=named,
        owners=[struct_of(OwnerAssignment, row) for row in owners],
        revocations=[struct_of(Revocation, row) for row in revocations],
    )


def keys(principal: str | None = None) -> Part[Sequence[StoredKey]]:
    """The keys of a principal, or all, oldest first."""
    where, values = ("", ()) if principal is None else (" WHERE principal = $1", (principal,))
    rows = yield Statement(f"{_KEYS}{where} ORDER BY created_at, id", values)
    return [_key(row) for row in rows]


def principals() -> Part[Sequence[StoredPrincipal]]:
    rows = yield Statement(f"{_PRINCIPALS} ORDER BY name")
    return [_principal(row) for row in rows]


def add_key(new: NewKey, *, template: str | None, declared: bool, limit: int) -> Steps[StoredKey | KeyRefused]:
    yield from _changed()
    yield Statement(_DELETE_ENDED, (ENDED_KEYS_KEPT,))
    if (stored := (yield from _by_id(new.id))) is not None:
        return Rollback(stored)
    ((count,),) = yield Statement("SELECT count(*) FROM api_keys")
    if count >= limit:
        return Rollback(KeyRefused.FULL)
    if not declared and (refused := (yield from _ensure_principal(new.principal, template, limit))) is not None:
        return Rollback(refused)
    return (yield from _insert(new))


def _ensure_principal(name: str, template: str | None, limit: int) -> Part[KeyRefused | None]:
    rows = yield Statement(f"{_PRINCIPALS} WHERE name = $1", (name,))
    known = _principal(rows[0]) if rows else None
    if known is not None and known.template is not None:
        return None if template in {None, known.template} else KeyRefused.OTHER_TEMPLATE
    if template is None:
        return KeyRefused.NO_PRINCIPAL
    ((count,),) = yield Statement("SELECT count(*) FROM principals")
    if count >= limit:
        return KeyRefused.FULL
    # A row without a template is of a disabled principal that the settings do not declare any more. It stays disabled.
    values = (name, template, int(known is not None))
    yield Statement(f"{_INSERT_PRINCIPAL}, template = excluded.template", values)
    return None


def rotate_key(key_id: str, new: NewKey, *, overlap: float) -> Steps[StoredKey | None]:
    yield from _changed()
    if (stored := (yield from _by_id(new.id))) is not None:
        return Rollback(stored)
    old = yield from _by_id(key_id)
    ((now,),) = yield Statement("SELECT {now}")
    if old is None or (old.expires_at is not None and old.expires_at <= now):
        return Rollback(None)
    end = now + overlap if old.expires_at is None else min(old.expires_at, now + overlap)
    yield Statement("UPDATE api_keys SET expires_at = $2 WHERE id = $1", (key_id, end))
    rights = {name: getattr(old, name) for name in ("principal", "name", "scopes", "expires_at")}
    return (yield from _insert(msgspec.structs.replace(new, **rights)))


def delete_key(key_id: str) -> Steps[StoredKey | None]:
    yield from _changed()
    rows = yield Statement(f"DELETE FROM api_keys WHERE id = $1 RETURNING {_KEY_COLUMNS}", (key_id,))
    return _key(rows[0]) if rows else Rollback(None)


def disable(name: str, disabled: bool, *, declared: bool) -> Steps[bool]:
    """Disable or enable a principal. A row without a template exists only while it is disabled."""
    yield from _changed()
    flag = "UPDATE principals SET disabled = $2 WHERE name = $1 RETURNING name"
    changed = yield Statement(flag, (name, int(disabled)))
    if not changed and not declared:
        return Rollback(False)
    if not changed and disabled:
        yield Statement(_INSERT_PRINCIPAL, (name, None, 1))
    yield Statement("DELETE FROM principals WHERE name = $1 AND template IS NULL AND disabled = 0", (name,))
    return True


def delete_principal(name: str) -> Steps[bool]:
    yield from _changed()
    gone = yield Statement("DELETE FROM principals WHERE name = $1 AND template IS NOT NULL RETURNING name", (name,))
    if not gone:
        return Rollback(False)
    yield Statement("DELETE FROM api_keys WHERE principal = $1", (name,))
    return True


def keys_used(key_ids: Collection[str]) -> Steps[None]:
    ((now,),) = yield Statement("SELECT {now}")
    ids = placeholders(len(key_ids), 2)
    yield Statement(f"UPDATE api_keys SET last_used_at = $1 WHERE id IN ({ids})", (now // 60 * 60, *key_ids))
    return None


def assign_owner(runtime_id: str, owner: str, assigned_by: str) -> Steps[OwnerAssignment]:
    yield from _changed()
    rows = yield Statement(_ASSIGN, (runtime_id, owner, assigned_by))
    return struct_of(OwnerAssignment, rows[0])


def forget_owner(runtime_id: str) -> Steps[bool]:
    yield from _changed()
    gone = yield Statement("DELETE FROM owners WHERE runtime_id = $1 RETURNING runtime_id", (runtime_id,))
    return True if gone else Rollback(False)


def revoke(runtime_id: str, principal: str) -> Steps[Revocation]:
    yield from _changed()
    yield Statement(_DELETE_REVOCATIONS, (REVOCATIONS_KEPT,))
    ((now,),) = yield Statement("SELECT {now}")
    rows = yield Statement(_REVOKE, (runtime_id, principal, int(now * 1000)))
    return struct_of(Revocation, rows[0])


def _changed() -> Part[None]:
    """Set a new version, and notify the replicas at the commit. Versions are random, so that a store that was restored
    from a copy never has the version of other data."""
    yield Statement(_SET_VERSION, (secrets.token_hex(8),))
    yield Statement("{notify_access}")
    return None


def _by_id(key_id: str) -> Part[StoredKey | None]:
    rows = yield Statement(f"{_KEYS} WHERE id = $1", (key_id,))
    return _key(rows[0]) if rows else None


def _insert(new: NewKey) -> Part[StoredKey]:
    values = (new.id, new.digest, new.prefix, new.principal, new.name, msgspec.json.encode(new.scopes).decode())
    rows = yield Statement(_INSERT_KEY, (*values, new.expires_at))
    return _key(rows[0])


def _key(row: Row) -> StoredKey:
    return struct_of(StoredKey, row, digest=bytes, scopes=_SCOPES.decode)


def _principal(row: Row) -> StoredPrincipal:
    return struct_of(StoredPrincipal, row, disabled=bool)
