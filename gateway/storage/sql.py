"""One SQL for both databases: statements as data, the phrases in which the databases differ, and rows as intents.

An operation of the store is a generator that does not depend on a database: it yields statements and receives their
rows. The driver of a generator runs all its statements in one transaction.
"""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from gateway.domain.intents import Intent, IntentAttempt, IntentState, Look, NewIntent

T = TypeVar("T")
StructT = TypeVar("StructT", bound=msgspec.Struct)
Row: TypeAlias = Sequence[Any]


class Statement(msgspec.Struct, frozen=True, gc=False):
    """SQL with the placeholders ``$1``, ``$2``… and their values. :class:`SqlFlavour` replaces the words in braces:
    ``{now}``, ``{locked}``, ``{unlocked_only}``, ``{notify_access}``.

    ``changed``: the statement changes rows, and the result is the time of the change, ``{now}``, once for each changed
    row. PostgreSQL returns this column, or 1 where the time does not matter. (SQLite creates a temporary table for each
    RETURNING, which takes as long as a small change.)"""

    sql: str
    values: Sequence[Any] = ()
    changed: str | None = None


@dataclass(frozen=True, slots=True)
class Rollback(Generic[T]):
    """The result of an operation whose transaction must be rolled back: nothing that it wrote is kept."""

    result: T


class RetryTransaction(Exception):
    """Another transaction interfered: the driver rolls back and runs the operation again."""


Steps: TypeAlias = Generator[Statement, Sequence[Row], T | Rollback[T]]
Part: TypeAlias = Generator[Statement, Sequence[Row], T]
"""Steps that need no rollback, also as a part of others."""

Operation: TypeAlias = Callable[[], Steps[T]]

TRIES: Final = 5  # runs of one operation while other transactions interfere


@dataclass(frozen=True, eq=False)
class SqlFlavour:
    """The phrases of one database. ``now_of_change`` replaces ``now`` in statements with ``changed``; it is the same
    wherever it occurs in one statement. ``migration_lock`` is the first statement of an upgrade; ``parameter`` is the
    prefix of a placeholder's number; ``notify_access`` notifies all replicas, at the commit, of a change of the access
    data."""

    now: str
    now_of_change: str
    locked: str
    unlocked_only: str
    binary: str
    migration_lock: str
    notify_access: str = "SELECT 1"  # replicas find out by polling
    parameter: str = "$"

    @lru_cache(maxsize=512)  # noqa: B019 (two flavours exist, and both are constants)
    def render(self, sql: str, *, is_change: bool = False) -> str:
        """The SQL for this database."""
        own = {
            "{now}": self.now_of_change if is_change else self.now,
            "{locked}": self.locked,
            "{unlocked_only}": self.unlocked_only,
            "{notify_access}": self.notify_access,
            "$": self.parameter,
        }
        for word, phrase in own.items():
            sql = sql.replace(word, phrase)
        return sql


_COLUMN_OF: Final = {"key": "client_key", "before": "before_send"}
_FIELDS: Final = Intent.__struct_fields__
_LISTS: Final[Mapping[str, Any]] = {
    "before": msgspec.json.Decoder(Look | None),
    "attempts": msgspec.json.Decoder(tuple[IntentAttempt, ...]),
    "looks": msgspec.json.Decoder(tuple[Look, ...]),
    "surplus": msgspec.json.Decoder(tuple[str, ...]),
}
_READ: Final = tuple(
    (_FIELDS.index(name), read)
    for name, read in {
        **{name: decoder.decode for name, decoder in _LISTS.items()},
        "pinned": bool,
        "state": IntentState,
    }.items()
)

_NEW_FIELDS: Final = NewIntent.__struct_fields__
_CONVERTED: Final = tuple((_NEW_FIELDS.index(name), name) for name in ("pinned", "before"))
NEW_COLUMNS: Final = tuple(_COLUMN_OF.get(name, name) for name in _NEW_FIELDS)
"""The columns of :class:`NewIntent`: without state, lease, findings and times."""

COLUMNS: Final = ", ".join(_COLUMN_OF.get(name, name) for name in _FIELDS)
"""The columns that :func:`intent_of` reads, in this order; other columns may follow in a row."""


def intent_of(row: Row) -> Intent:
    """The intent in a row that begins with :data:`COLUMNS`."""
    values = list(row[: len(_FIELDS)])
    for index, read in _READ:
        values[index] = read(values[index])
    return Intent(**dict(zip(_FIELDS, values, strict=True)))


def struct_of(model: type[StructT], row: Row, **read: Callable[[Any], object]) -> StructT:
    """The struct in a row that has the columns of its fields, in their order. ``read`` converts the values of some."""
    values: dict[str, Any] = dict(zip(model.__struct_fields__, row, strict=True))
    return model(**values | {name: convert(values[name]) for name, convert in read.items()})


def surplus_of(stored: str) -> tuple[str, ...]:
    """The runtime ids in a value of the column ``surplus``."""
    ids: tuple[str, ...] = _LISTS["surplus"].decode(stored)
    return ids


def columns_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an intent as columns with their stored values."""
    return {_COLUMN_OF.get(name, name): _stored(name, value) for name, value in values.items()}


def stored_of_new(new: NewIntent) -> list[Any]:
    """The stored values of a new intent, in the order of :data:`NEW_COLUMNS`."""
    values = list(msgspec.structs.astuple(new))
    for index, name in _CONVERTED:
        values[index] = _stored(name, values[index])
    return values


def _stored(name: str, value: Any) -> Any:
    if name in _LISTS:
        return msgspec.json.encode(value).decode()
    return int(value) if name == "pinned" else value


def placeholders(count: int, first: int = 1) -> str:
    """``$1, $2, …``"""
    return ", ".join(f"${number}" for number in range(first, first + count))


def in_states(states: Collection[IntentState]) -> str:
    """A list of states for ``IN``."""
    return "(" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"


def any_state(states: Collection[IntentState]) -> str:
    """The condition that an intent is in one of the states, in the words of the partial indexes: SQLite uses them for
    no other words, and for no parameters."""
    return "(" + " OR ".join(f"state = '{state}'" for state in sorted(states)) + ")"
