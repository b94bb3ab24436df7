"""The base of all stores: every operation of the contract as steps, which a subclass runs in a transaction."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from gateway.domain.base_urls import same_address
from gateway.domain.errors import StoreUnavailable
from gateway.domain.intents import Intent
from gateway.domain.moves import MoveState
from gateway.ports.moves import StoredMove
from gateway.ports.whole_store import WholeStore
from gateway.storage import (
    access_rows,
    audit_rows,
    end_rows,
    intent_reads,
    intent_writes,
    kept_create_rows,
    move_rows,
    place_rows,
    relocation_rows,
    spellings,
    upkeep,
)
from gateway.storage.migrations import SchemaStatus
from gateway.storage.sql import Operation, Steps

P = ParamSpec("P")
T = TypeVar("T")

RETRY_AFTER: Final = 2.0  # seconds; the Retry-After of responses while the store is down


def unavailable(why: str) -> StoreUnavailable:
    """The error for any failure of the store. Clients see ``why``: a sentence without internal details."""
    return StoreUnavailable(why, retry_after=RETRY_AFTER)


def require_usable(status: SchemaStatus) -> None:
    """Raise :class:`StoreUnavailable` for a schema that this program cannot use."""
    if status.fault is not None:
        raise unavailable(f"The store cannot be used: {status.fault}.")


def _reads(steps: Callable[P, Steps[T]]) -> "Callable[Concatenate[SqlStore, P], Coroutine[Any, Any, T]]":
    """The method of a store that runs these steps, which only read."""

    def method(store: "SqlStore", /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return store._read(lambda: steps(*args, **kwargs))

    return method


def _writes(steps: Callable[P, Steps[T]]) -> "Callable[Concatenate[SqlStore, P], Coroutine[Any, Any, T]]":
    """The method of a store that runs these steps in a transaction."""

    def method(store: "SqlStore", /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return store._write(lambda: steps(*args, **kwargs))

    return method


class SqlStore(WholeStore):
    """The whole contract, except how statements reach the database."""

    @abstractmethod
    async def schema(self) -> SchemaStatus:
        """The status of the schema. Raises :class:`StoreUnavailable`."""

    @abstractmethod
    async def upgrade(self) -> SchemaStatus:
        """Apply the missing migrations, one process at a time; creates the store if it does not exist. Idempotent.
        Raises :class:`StoreUnavailable`."""

    async def outdated(self) -> str | None:
        status = await self.schema()
        return status.fault if status.known < status.readable_from else None

    @abstractmethod
    async def _write(self, operation: Operation[T]) -> T:
        """Run the steps in one transaction. It is on disk when this returns."""

    @abstractmethod
    async def _read(self, operation: Operation[T]) -> T:
        """Run steps that only read."""

    now = _reads(intent_reads.now)
    begin = _writes(intent_writes.begin)
    move = _writes(intent_writes.move)
    update = _writes(intent_writes.update)
    record_created = _writes(intent_writes.record_created)
    decide = _writes(intent_writes.decide)

    async def claim_due(self, holder: str, lease: float, limit: int) -> Sequence[Intent]:
        if not await self._read(intent_reads.is_any_due):
            return []  # this read spares every replica one write transaction per second
        return await self._write(lambda: upkeep.claim_due(holder, lease, limit))

    get = _reads(intent_reads.get)
    by_key = _reads(intent_reads.by_key)
    by_name = _reads(intent_reads.by_name)
    made_under = _reads(intent_reads.made_under)
    list = _reads(intent_reads.listed)
    counts = _reads(intent_reads.counts)
    decisions = _reads(intent_reads.decisions)

    async def base_urls(self, api: str, base_url: str, own_paths: tuple[str, ...]) -> Sequence[str]:
        address = same_address(base_url, own_paths)
        known = await self._read(lambda: spellings.known_spellings(api, address))
        return known or await self._write(lambda: spellings.register_spelling(api, base_url, own_paths))

    keep_spec = _writes(kept_create_rows.keep_spec)
    specs = _reads(kept_create_rows.specs)
    drop_spec = _writes(kept_create_rows.drop_spec)
    acquire_leadership = _writes(upkeep.acquire_leadership)
    purge = _writes(upkeep.purge)
    access_version = _reads(access_rows.version)
    access_data = _reads(access_rows.access_data)

    async def listen(self, changed: Callable[[], object]) -> None:
        """Only a database server can notify."""

    keys = _reads(access_rows.keys)
    principals = _reads(access_rows.principals)
    add_key = _writes(access_rows.add_key)
    rotate_key = _writes(access_rows.rotate_key)
    delete_key = _writes(access_rows.delete_key)
    disable = _writes(access_rows.disable)
    delete_principal = _writes(access_rows.delete_principal)
    keys_used = _writes(access_rows.keys_used)
    assign_owner = _writes(access_rows.assign_owner)
    forget_owner = _writes(access_rows.forget_owner)
    revoke = _writes(access_rows.revoke)
    add_releases = _writes(place_rows.add_releases)
    releases = _reads(place_rows.releases_of_others)
    plan_end = _writes(end_rows.plan)
    planned_end = _reads(end_rows.end_of)
    planned_ends = _reads(end_rows.ends)
    take_ends = _writes(end_rows.take)
    keep_end = _writes(end_rows.keep)
    drop_end = _writes(end_rows.drop)
    take_place = _writes(place_rows.take)
    places = _reads(place_rows.places)
    set_place = _writes(place_rows.set_place)
    count_places = _writes(place_rows.count_places)
    add_events = _writes(audit_rows.add)
    audit_events = _reads(audit_rows.listed)
    purge_events = _writes(audit_rows.purge)
    add_move = _writes(move_rows.add_move)
    get_move = _reads(move_rows.get_move)
    list_moves = _reads(move_rows.list_moves)

    async def claim_moves(self, holder: str, lease: float, states: Collection[MoveState]) -> Sequence[StoredMove]:
        if not await self._read(lambda: move_rows.is_any_in(states)):
            return []  # as above
        return await self._write(lambda: move_rows.claim_moves(holder, lease, states))

    change_move = _writes(move_rows.change_move)
    add_move_items = _writes(move_rows.add_move_items)
    move_items = _reads(move_rows.move_items)
    count_move_items = _reads(move_rows.count_move_items)
    change_move_item = _writes(move_rows.change_move_item)
    enter_write = _writes(move_rows.enter_write)
    leave_write = _writes(move_rows.leave_write)
    hold_runtime = _writes(move_rows.hold_runtime)
    release_runtime = _writes(move_rows.release_runtime)
    switch_runtime = _writes(relocation_rows.switch_runtime)
    relocations = _reads(relocation_rows.relocations)
    kept_creates = _reads(kept_create_rows.kept_creates)
    keep_create = _writes(kept_create_rows.keep_create)
    keep_config = _writes(kept_create_rows.keep_config)
    drop_kept_create = _writes(kept_create_rows.drop_kept_create)
