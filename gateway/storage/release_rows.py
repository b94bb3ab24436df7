"""The runtimes that lost their instance a short while ago."""

from collections.abc import Collection, Mapping
from typing import Final

from gateway.storage.sql import Statement, Steps

KEPT: Final = 60.0
"""Seconds for which a release is kept."""

_RELEASED: Final = (
    "INSERT INTO releases (runtime_id, writer, released_at) VALUES ($1, $2, {now})"
    " ON CONFLICT (runtime_id) DO UPDATE SET writer = excluded.writer, released_at = excluded.released_at"
)
_OTHERS: Final = "SELECT runtime_id, released_at FROM releases WHERE writer <> $1 AND released_at > (SELECT {now}) - $2"
_DELETE_OLD: Final = "DELETE FROM releases WHERE released_at <= (SELECT {now}) - $1"


def add(runtime_ids: Collection[str], writer: str) -> Steps[None]:
    """Record releases, in one order in all processes, so that they never wait for each other in a circle."""
    for runtime_id in sorted(runtime_ids):
        yield Statement(_RELEASED, (runtime_id, writer))
    yield Statement(_DELETE_OLD, (KEPT,))
    return None


def of_others(writer: str, within: float) -> Steps[Mapping[str, float]]:
    """The releases of other processes."""
    rows = yield Statement(_OTHERS, (writer, within))
    return {row[0]: row[1] for row in rows}
