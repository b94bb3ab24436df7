"""One SQL for both databases: statements as data, the few words that differ, and rows as intents.

An operation of the store is a generator: it yields statements and is sent their rows, and knows no database. Whoever
drives it runs all of it in one transaction.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from gateway.domain.intents import Intent, IntentAttempt, IntentState, Look, NewIntent

T = TypeVar("T")
Row: TypeAlias = Sequence[Any]


class Statement(NamedTuple):
    """SQL with ``$1``, ``$2``… and their values. Words in braces are the dialect's: ``{now}``, ``{locked}``,
    ``{unlocked_only}``."""

    sql: str
    values: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Rollback(Generic[T]):
    """The result of an operation that must leave nothing behind: its transaction is rolled back."""

    result: T


class RetryTransaction(Exception):
    """Another transaction came in between: the operation starts over."""


Steps: TypeAlias = Generator[Statement, Sequence[Row], T | Rollback[T]]
Operation: TypeAlias = Callable[[], Steps[T]]

TRIES: Final = 5  # of one operation, when others come in between


@dataclass(frozen=True, eq=False)
class SqlFlavour:
    """What a database calls things. ``migration_lock`` is the first statement of an upgrade; ``parameter`` comes before
    the number of a value."""

    now: str
    locked: str
    unlocked_only: str
    binary: str
    migration_lock: str
    parameter: str = "$"

    @lru_cache(maxsize=512)  # noqa: B019 (there are two dialects, and both stay)
    def render(self, sql: str) -> str:
        """The SQL in this database's words."""
        words = {"{now}": self.now, "{locked}": self.locked, "{unlocked_only}": self.unlocked_only, "$": self.parameter}
        for word, own in words.items():
            sql = sql.replace(word, own)
        return sql


_COLUMN_OF: Final = {"key": "client_key", "before": "before_send"}
_FIELDS: Final = tuple(field.name for field in fields(Intent))
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

_NEW_FIELDS: Final = tuple(field.name for field in fields(NewIntent))
NEW_COLUMNS: Final = tuple(_COLUMN_OF.get(name, name) for name in _NEW_FIELDS)
"""The columns of a new intent, without those that say how far it has come."""

COLUMNS: Final = ", ".join(_COLUMN_OF.get(name, name) for name in _FIELDS)
"""The columns that :func:`intent_of` reads, in its order; more may follow."""


def intent_of(row: Row) -> Intent:
    """The intent that a row of :data:`COLUMNS` holds."""
    values = list(row[: len(_FIELDS)])
    for index, read in _READ:
        values[index] = read(values[index])
    return Intent(**dict(zip(_FIELDS, values, strict=True)))


def surplus_of(stored: str) -> tuple[str, ...]:
    """The ids in a column ``surplus``."""
    ids: tuple[str, ...] = _LISTS["surplus"].decode(stored)
    return ids


def columns_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an intent as columns and what is stored in them."""
    return {_COLUMN_OF.get(name, name): _stored(name, value) for name, value in values.items()}


def stored_of_new(new: NewIntent) -> tuple[Any, ...]:
    """What is stored of a new intent in :data:`NEW_COLUMNS`."""
    return tuple(_stored(name, getattr(new, name)) for name in _NEW_FIELDS)


def _stored(name: str, value: Any) -> Any:
    if name in _LISTS:
        return msgspec.json.encode(value).decode()
    return int(value) if name == "pinned" else value


def placeholders(count: int, first: int = 1) -> str:
    """``$1, $2, …``"""
    return ", ".join(f"${number}" for number in range(first, first + count))


def in_states(states: Sequence[IntentState]) -> str:
    """A list of states for ``IN``, as literals, so that partial indexes are used."""
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"
