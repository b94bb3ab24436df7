"""The places of owners with limits, and releases of instances. Places are taken under the lock of the owner's row, so
that all replicas together take as many as there are. It is the last lock that a transaction acquires."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from gateway.domain.intents import Intent, NewIntent
from gateway.ports.places import GRACE, HELD, NoPlace, Place, PlaceClaim
from gateway.storage.sql import Part, Row, Statement, Steps, struct_of

_COLUMNS: Final = "id, owner, provider, scope, name, runtime_id, running, changed_at"
_LOCK_OWNER: Final = (
    "INSERT INTO place_owners (owner, counted_at) VALUES ($1, NULL)"
    " ON CONFLICT (owner) DO UPDATE SET owner = excluded.owner RETURNING {now} - counted_at"
)
_COUNTED: Final = (
    "INSERT INTO place_owners (owner, counted_at) VALUES ($1, {now})"
    " ON CONFLICT (owner) DO UPDATE SET counted_at = excluded.counted_at"
)
_SAME: Final = f"SELECT {_COLUMNS} FROM places WHERE id = $1 OR (provider = $2 AND runtime_id = $3)"
_TWINS: Final = f"{_SAME} OR (owner = $4 AND provider = $2 AND scope = $5 AND name = $6 AND runtime_id IS NOT NULL)"
_NAMED: Final = "SELECT id FROM places WHERE owner = $1 AND name = $2 AND runtime_id IS NULL"
_USE: Final = "SELECT count(*), COALESCE(sum(running), 0) FROM places WHERE owner = $1"
_HELD: Final = (
    f"SELECT {_COLUMNS} FROM places WHERE owner = $1 AND running >= $2 AND runtime_id IS NOT NULL ORDER BY id LIMIT $3"
)
_INSERT: Final = (
    f"INSERT INTO places ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, {{now}}) ON CONFLICT (id) DO NOTHING"
)
_RUN: Final = "UPDATE places SET running = $2, changed_at = {now} WHERE id = $1"
_UNCHANGED: Final = " AND changed_at = $2 AND (running = 0 OR changed_at <= (SELECT {now}) - $3)"
_MADE: Final = "UPDATE places SET provider = $2, scope = $3, runtime_id = $4, changed_at = {now} WHERE id = $1"
_OLD: Final = (
    "DELETE FROM places WHERE runtime_id IS NOT NULL AND owner IN"
    " (SELECT owner FROM place_owners WHERE counted_at <= (SELECT {now}) - $1)"
)


def take(place: Place, claim: PlaceClaim) -> Part[None]:
    """Take a place. Raises :class:`NoPlace`, with which the transaction is rolled back."""
    ((counted,),) = yield Statement(_LOCK_OWNER, (claim.owner,))
    if counted is not None and counted < 0:
        counted = None  # the database's clock was set back
    if claim.count_after is not None and (counted is None or counted > claim.count_after):
        raise NoPlace(counted)
    # A create under the name of the owner's runtime returns that one, unless it has ended: they need one place.
    name = place.name if place.runtime_id is None else None
    twins = (place.id, place.provider, place.runtime_id, place.owner, place.scope, name)
    same = _places((yield Statement(_TWINS, twins)))
    starts = claim.starts and not any(one.running for one in same)
    ((runtimes, running),) = yield Statement(_USE, (claim.owner,))
    if starts and claim.running is not None and running >= claim.running:
        held = yield Statement(_HELD, (claim.owner, 1, HELD))
        raise NoPlace(counted, limit="running", value=claim.running, used=running, held=_places(held))
    if not same and claim.runtimes is not None and runtimes >= claim.runtimes:
        held = yield Statement(_HELD, (claim.owner, 0, HELD))
        raise NoPlace(counted, limit="runtimes", value=claim.runtimes, used=runtimes, held=_places(held))
    if not any(place.id == one.id or place.runtime_id is not None for one in same):
        yield _inserted(place)
    elif starts:
        yield Statement(_RUN, (same[0].id, 1))


def take_for(intent: NewIntent, claim: PlaceClaim | None) -> Part[None]:
    """Take a place for the runtime that a create is about to make, if there is a claim."""
    if claim is not None:
        row = (intent.id, claim.owner, intent.provider, intent.scope, intent.name, None, claim.starts, 0.0)
        yield from take(struct_of(Place, row), claim)


def made(intent: Intent, runtime_id: str, *, existed: bool = False) -> Part[None]:
    """The runtime of a create is known. Another place of it, from a count, is not needed any more; if the runtime
    ``existed`` before, the place of the create is not."""
    if existed:
        yield give_back(intent.id)
    elif (yield Statement(_MADE, (intent.id, intent.provider, intent.scope, runtime_id), changed="changed_at")):
        other = "DELETE FROM places WHERE provider = $1 AND runtime_id = $2 AND id <> $3"
        yield Statement(other, (intent.provider, runtime_id, intent.id))


def give_back(intent_id: str) -> Statement:
    """The create has made nothing."""
    return Statement("DELETE FROM places WHERE id = $1", (intent_id,))


def places(owner: str) -> Steps[Sequence[Place]]:
    return _places((yield Statement(f"SELECT {_COLUMNS} FROM places WHERE owner = $1 ORDER BY id", (owner,))))


def set_place(provider: str, runtime_id: str, *, running: bool | None) -> Steps[None]:
    for place in _places((yield Statement(_SAME, ("", provider, runtime_id)))):
        if running is None:
            yield give_back(place.id)
        elif place.running is not running:
            yield Statement(_RUN, (place.id, int(running)))
    return None


def count_places(owner: str, found: Sequence[Place], gone: Sequence[Place]) -> Steps[None]:
    yield Statement(_COUNTED, (owner,))
    for place in gone:
        yield Statement("DELETE FROM places WHERE id = $1" + _UNCHANGED, (place.id, place.changed_at, GRACE))
    for place in found:
        if place.changed_at:
            values = (place.id, place.changed_at, GRACE, int(place.running))
            yield Statement("UPDATE places SET running = $4, changed_at = {now} WHERE id = $1" + _UNCHANGED, values)
            continue
        same = yield Statement(_SAME, (place.id, place.provider, place.runtime_id))
        if not same and not (yield Statement(_NAMED, (owner, place.name))):
            yield _inserted(place)
    return None


def forget(seconds: float) -> Statement:
    """Delete the places of owners that were not counted for so long: the next create counts them again."""
    return Statement(_OLD, (seconds,))


def _inserted(place: Place) -> Statement:
    values = (place.id, place.owner, place.provider, place.scope, place.name, place.runtime_id, int(place.running))
    return Statement(_INSERT, values)


def _places(rows: Sequence[Row]) -> list[Place]:
    return [struct_of(Place, row, running=bool) for row in rows]


KEPT: Final = 60.0
"""Seconds for which a release is kept."""

_RELEASED: Final = (
    "INSERT INTO releases (runtime_id, writer, released_at) VALUES ($1, $2, {now})"
    " ON CONFLICT (runtime_id) DO UPDATE SET writer = excluded.writer, released_at = excluded.released_at"
)
_OTHERS: Final = "SELECT runtime_id, released_at FROM releases WHERE writer <> $1 AND released_at > (SELECT {now}) - $2"
_DELETE_OLD: Final = "DELETE FROM releases WHERE released_at <= (SELECT {now}) - $1"


def add_releases(runtime_ids: Collection[str], writer: str) -> Steps[None]:
    """Record releases, in one order in all processes, so that they never wait for each other in a circle."""
    for runtime_id in sorted(runtime_ids):
        yield Statement(_RELEASED, (runtime_id, writer))
    yield Statement(_DELETE_OLD, (KEPT,))
    return None


def releases_of_others(writer: str, within: float) -> Steps[Mapping[str, float]]:
    """The releases of other processes."""
    rows = yield Statement(_OTHERS, (writer, within))
    return {row[0]: row[1] for row in rows}
