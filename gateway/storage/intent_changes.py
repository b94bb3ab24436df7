"""The change of an intent's row, and the intent after it. That is computed: to read it back takes as long as the change
(:attr:`gateway.storage.sql.Statement.changed`)."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.domain.intents import Intent, IntentState
from gateway.storage.sql import Part, Statement, columns_of

_SETTLED: Final = frozenset({IntentState.DONE, IntentState.REFUSED, IntentState.ABSENT})
# The last writer of the row. The column keeps its old name: replicas of the previous version still use it during an
# upgrade, and a migration that renamed it would stop them.
WRITER: Final = "moved_by"
_UNCHANGED: Final = f" AND state = 'open' AND epoch = $4 AND {WRITER} = $5"


def write(
    intent: Intent,
    to: IntentState,
    epoch: int,
    writer: str,
    lease: float | None,
    look_in: float | None,
    values: Mapping[str, Any],
) -> Part[Intent]:
    """Change an intent whose row is locked."""
    statement, changed = change(intent, to, epoch, writer, lease, look_in, values)
    ((now,),) = yield statement
    return changed(now)


def change(
    intent: Intent,
    to: IntentState,
    epoch: int,
    writer: str,
    lease: float | None,
    look_in: float | None,
    values: Mapping[str, Any],
    *,
    if_unchanged: bool = False,
) -> tuple[Statement, Callable[[float], Intent]]:
    """The statement that changes an intent, and a function that returns the intent after a change at a time.

    ``if_unchanged``: nothing is changed unless the open intent's row is as its holder has written it."""
    columns = columns_of(values) | {
        "state": to,
        "epoch": epoch,
        "holder": None if lease is None else writer,
        WRITER: writer,
    }
    if look_in is None and to is IntentState.OPEN:
        look_in = lease or 0.0
    settled = intent.settled_at if to is intent.state else None
    settling = "{now}" if to in _SETTLED and settled is None else "settled_at" if settled else "NULL"
    compared = (intent.epoch, intent.holder) if if_unchanged else ()
    sql = _update(tuple(columns), settling, if_unchanged=if_unchanged)
    statement = Statement(sql, (intent.id, lease, look_in, *compared, *columns.values()), changed="updated_at")

    def changed(now: float) -> Intent:
        return msgspec.structs.replace(
            intent,
            **values,
            state=to,
            epoch=epoch,
            holder=columns["holder"],
            lease_until=None if lease is None else now + lease,
            due_at=None if look_in is None else now + look_in,
            updated_at=now,
            settled_at=now if settling == "{now}" else settled,
        )

    return statement, changed


@lru_cache(maxsize=128)
def _update(columns: tuple[str, ...], settled_at: str, *, if_unchanged: bool) -> str:
    sets = [f"{name} = ${number}" for number, name in enumerate(columns, 6 if if_unchanged else 4)]
    return (
        f"UPDATE intents SET {', '.join(sets)}, updated_at = {{now}},"
        " lease_until = {now} + CAST($2 AS DOUBLE PRECISION), due_at = {now} + CAST($3 AS DOUBLE PRECISION),"
        f" settled_at = {settled_at} WHERE id = $1{_UNCHANGED if if_unchanged else ''}"
    )
