"""The specs of runtimes: what was sent at their creation, sealed."""

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.ports.kept_creates import StoredSpec
from gateway.storage.sql import Part, Statement, Steps, placeholders

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
    """The stored specs of these runtimes."""
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
