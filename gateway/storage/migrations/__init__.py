"""The versions of the schema: numbered SQL files, applied in order, in one transaction, by one process at a time.

Each file names the oldest version whose program works with the resulting schema (``readable-from``), so that replicas
of the previous version continue during a rolling upgrade.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

from gateway.storage.sql import SqlFlavour, Statement, Steps

_FILE: Final = re.compile(r"(\d{4})_\w+\.sql\Z")
_HEAD: Final = re.compile(r"-- readable-from: (\d+)\n")

_APPLIED: Final = "SELECT version, readable_from FROM store_schema ORDER BY version DESC LIMIT 1"
_VERSIONS: Final = (
    "CREATE TABLE IF NOT EXISTS store_schema (version INTEGER PRIMARY KEY, readable_from INTEGER NOT NULL,"
    " applied_at DOUBLE PRECISION NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One version of the schema, and the oldest version whose program works with it."""

    version: int
    readable_from: int
    statements: Sequence[str]


@lru_cache(maxsize=1)
def migrations() -> Sequence[Migration]:
    """All migrations of this program, oldest first."""
    files = sorted(file.name for file in resources.files(__name__).iterdir() if _FILE.match(file.name))
    return [_parsed(name, resources.files(__name__).joinpath(name).read_text("utf-8")) for name in files]


def _parsed(name: str, text: str) -> Migration:
    file, head = _FILE.match(name), _HEAD.match(text)
    if file is None or head is None:
        raise ValueError(f"the migration {name} has no line readable-from")
    statements = [part.strip() for part in re.split(r";\s*(?:\n|\Z)", text[head.end() :])]
    return Migration(int(file[1]), int(head[1]), [statement for statement in statements if statement])


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The version of a store's schema (0: none), the newest version that this program knows, and the oldest
    version whose program works with the store."""

    version: int
    known: int
    readable_from: int

    @property
    def fault(self) -> str | None:
        """Why this program cannot use the store; None if it can."""
        if self.version < self.known:
            return (
                f"its schema is at version {self.version}, and {self.known} is needed: run runtime-gateway db upgrade"
            )
        if self.known < self.readable_from:
            return f"its schema is at version {self.version}, which is too new for this program"
        return None


def status_of(version: int, readable_from: int) -> SchemaStatus:
    return SchemaStatus(version, migrations()[-1].version, readable_from)


def read_status() -> Steps[SchemaStatus]:
    """The status of a store that has the table of versions."""
    rows = yield Statement(_APPLIED)
    return status_of(*rows[0]) if rows else status_of(0, 0)


def upgrade(flavour: SqlFlavour) -> Steps[SchemaStatus]:
    """Apply the missing migrations. A concurrent upgrade waits for the lock, and then finds nothing to do."""
    yield Statement(flavour.migration_lock)
    yield Statement(_VERSIONS)
    rows = yield Statement(_APPLIED)
    applied = rows[0][0] if rows else 0
    for migration in migrations():
        if migration.version <= applied:
            continue
        for statement in migration.statements:
            yield Statement(statement.replace("BYTEA", flavour.binary))
        yield Statement(
            "INSERT INTO store_schema (version, readable_from, applied_at) VALUES ($1, $2, {now})",
            (migration.version, migration.readable_from),
        )
    rows = yield Statement(_APPLIED)
    return status_of(*rows[0])
