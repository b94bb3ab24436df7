"""The base of all stores: every operation of the contract as steps, which a subclass runs in a transaction."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

from gateway.domain.base_urls import same_address
from gateway.domain.errors import StoreUnavailable
from gateway.domain.ids import RuntimeRef
from gateway.domain.intents import Actor, Intent, IntentState, NewIntent, transition
from gateway.ports.audit import AuditEvent, AuditQuery
from gateway.ports.data_plane import Revocation
from gateway.ports.ends import PlannedEnd
from gateway.ports.intent_query import IntentQuery
from gateway.ports.owners import OwnerAssignment
from gateway.ports.places import Place, PlaceClaim
from gateway.ports.principals import AccessData, KeyRefused, NewKey, StoredKey, StoredPrincipal
from gateway.ports.store import (
    NO_CHANGES,
    Changes,
    Conflict,
    Counts,
    Decision,
    DecisionRecord,
    Inserted,
    NameTaken,
    Stale,
    Updated,
    Version,
)
from gateway.ports.whole_store import WholeStore
from gateway.storage import (
    access_rows,
    audit_rows,
    end_rows,
    intent_reads,
    intent_writes,
    place_rows,
    spec_rows,
    spellings,
    upkeep,
)
from gateway.storage.migrations import SchemaStatus
from gateway.storage.sql import Operation

T = TypeVar("T")

RETRY_AFTER: Final = 2.0  # seconds; the Retry-After of responses while the store is down
_TARGET_FIELDS: Final = frozenset({"namespace", "provider", "scope"})


def unavailable(why: str) -> StoreUnavailable:
    """The error for any failure of the store. Clients see ``why``: a sentence without internal details."""
    return StoreUnavailable(why, retry_after=RETRY_AFTER)


def require_usable(status: SchemaStatus) -> None:
    """Raise :class:`StoreUnavailable` for a schema that this program cannot use."""
    if status.fault is not None:
        raise unavailable(f"The store cannot be used: {status.fault}.")


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

    async def now(self) -> float:
        return await self._read(intent_reads.now)

    async def begin(
        self,
        new: NewIntent,
        holder: str,
        lease: float,
        *,
        instead_of: Version | None = None,
        claim: PlaceClaim | None = None,
    ) -> Inserted | Conflict:
        return await self._write(lambda: intent_writes.begin(new, holder, lease, instead_of, claim))

    async def move(
        self,
        version: Version,
        to: IntentState,
        who: Actor,
        holder: str,
        *,
        lease: float | None = None,
        look_in: float | None = None,
        changes: Changes = NO_CHANGES,
        claim: PlaceClaim | None = None,
    ) -> Updated | Stale | NameTaken:
        step = transition(version.state, to, who)
        if to is IntentState.DONE or who is Actor.OPERATOR:
            raise ValueError("proof needs record_created, and an operator's decision needs decide")
        if step.next_epoch and lease is None:
            raise ValueError("an open intent needs a lease")
        if not step.next_epoch:
            _check_target_unchanged(changes)
        return await self._write(lambda: intent_writes.move(version, to, who, holder, lease, look_in, changes, claim))

    async def update(
        self,
        version: Version,
        holder: str,
        *,
        lease: float | None = None,
        look_in: float | None = None,
        changes: Changes = NO_CHANGES,
    ) -> Updated | Stale:
        _check_target_unchanged(changes)
        return await self._write(lambda: intent_writes.update(version, holder, lease, look_in, changes))

    async def record_created(
        self, intent_id: str, runtime_id: str, *, look_in: float | None = None, changes: Changes = NO_CHANGES
    ) -> Intent | None:
        _check_target_unchanged(changes)
        return await self._write(lambda: intent_writes.record_created(intent_id, runtime_id, look_in, changes))

    async def decide(
        self,
        version: Version,
        decision: Decision,
        operator: str,
        *,
        runtime_id: str | None = None,
        note: str | None = None,
        changes: Changes = NO_CHANGES,
    ) -> Updated | Stale:
        _check_target_unchanged(changes)
        if (decision is Decision.MADE) != (runtime_id is not None):
            raise ValueError("the decision made needs a runtime id, and absent must have none")
        return await self._write(
            lambda: intent_writes.decide(version, decision, operator, runtime_id, note, changes),
        )

    async def claim_due(self, holder: str, lease: float, limit: int) -> Sequence[Intent]:
        if not await self._read(intent_reads.is_any_due):
            return []  # this read spares every replica one write transaction per second
        return await self._write(lambda: intent_writes.claim_due(holder, lease, limit))

    async def get(self, intent_id: str) -> Intent | None:
        return await self._read(lambda: intent_reads.get(intent_id))

    async def by_key(self, principal: str, key: str) -> Intent | None:
        return await self._read(lambda: intent_reads.by_key(principal, key))

    async def by_name(
        self, namespace: str, kind: str, name: str, *, other_than: str | None = None, done: bool = False
    ) -> Intent | None:
        return await self._read(lambda: intent_reads.by_name(namespace, kind, name, other_than, done=done))

    async def made_under(self, namespace: str, kind: str, name: str, *, other_than: str) -> frozenset[str]:
        return await self._read(lambda: intent_reads.made_under(namespace, kind, name, other_than))

    async def list(self, query: IntentQuery) -> Sequence[Intent]:
        return await self._read(lambda: intent_reads.listed(query))

    async def counts(self) -> Counts:
        return await self._read(intent_reads.counts)

    async def decisions(self, limit: int) -> Sequence[DecisionRecord]:
        return await self._read(lambda: intent_reads.decisions(limit))

    async def base_urls(self, api: str, base_url: str, own_paths: tuple[str, ...]) -> Sequence[str]:
        address = same_address(base_url, own_paths)
        known = await self._read(lambda: spellings.known_spellings(api, address))
        return known or await self._write(lambda: spellings.register_spelling(api, base_url, own_paths))

    async def keep_spec(self, namespace: str, runtime_id: str, sealed: bytes) -> None:
        await self._write(lambda: spec_rows.keep_spec(namespace, runtime_id, sealed))

    async def specs(self, namespace: str, runtime_ids: Sequence[str]) -> Mapping[str, bytes]:
        return await self._read(lambda: spec_rows.specs(namespace, runtime_ids))

    async def drop_spec(self, namespace: str, runtime_id: str) -> None:
        await self._write(lambda: spec_rows.drop_spec(namespace, runtime_id))

    async def acquire_leadership(self, role: str, holder: str, lease: float) -> bool:
        return await self._write(lambda: upkeep.acquire_leadership(role, holder, lease))

    async def purge(self, *, settled: float, kept: float, limit: int) -> int:
        return await self._write(lambda: upkeep.purge(settled, kept, limit))

    async def access_version(self) -> str:
        return await self._read(access_rows.version)

    async def access_data(self) -> AccessData:
        return await self._read(access_rows.access_data)

    async def listen(self, changed: Callable[[], object]) -> None:
        """Only a database server can notify."""

    async def keys(self, principal: str | None = None) -> Sequence[StoredKey]:
        return await self._read(lambda: access_rows.keys(principal))

    async def principals(self) -> Sequence[StoredPrincipal]:
        return await self._read(access_rows.principals)

    async def add_key(self, new: NewKey, *, template: str | None, declared: bool, limit: int) -> StoredKey | KeyRefused:
        return await self._write(lambda: access_rows.add_key(new, template, declared, limit))

    async def rotate_key(self, key_id: str, new: NewKey, *, overlap: float) -> StoredKey | None:
        return await self._write(lambda: access_rows.rotate_key(key_id, new, overlap))

    async def delete_key(self, key_id: str) -> StoredKey | None:
        return await self._write(lambda: access_rows.delete_key(key_id))

    async def disable(self, name: str, disabled: bool, *, declared: bool) -> bool:
        return await self._write(lambda: access_rows.disable(name, disabled, declared))

    async def delete_principal(self, name: str) -> bool:
        return await self._write(lambda: access_rows.delete_principal(name))

    async def keys_used(self, key_ids: Collection[str]) -> None:
        await self._write(lambda: access_rows.keys_used(key_ids))

    async def assign_owner(self, runtime_id: str, owner: str, assigned_by: str) -> OwnerAssignment:
        return await self._write(lambda: access_rows.assign_owner(runtime_id, owner, assigned_by))

    async def forget_owner(self, runtime_id: str) -> bool:
        return await self._write(lambda: access_rows.forget_owner(runtime_id))

    async def revoke(self, runtime_id: str, principal: str) -> Revocation:
        return await self._write(lambda: access_rows.revoke(runtime_id, principal))

    async def plan_end(self, provider: str, ref: RuntimeRef, principal: str, lifetime: float) -> PlannedEnd:
        return await self._write(lambda: end_rows.plan(provider, ref, principal, lifetime))

    async def planned_end(self, provider: str, runtime_id: str) -> PlannedEnd | None:
        return await self._read(lambda: end_rows.end_of(provider, runtime_id))

    async def planned_ends(self, limit: int) -> Sequence[PlannedEnd]:
        return await self._read(lambda: end_rows.ends(limit))

    async def take_ends(self, limit: int, postpone: float) -> Sequence[PlannedEnd]:
        return await self._write(lambda: end_rows.take(limit, postpone))

    async def keep_end(self, end: PlannedEnd, *, instance: str | None, look_in: float | None) -> bool:
        return await self._write(lambda: end_rows.keep(end, instance, look_in))

    async def drop_end(self, end: PlannedEnd) -> bool:
        return await self._write(lambda: end_rows.drop(end))

    async def take_place(self, place: Place, claim: PlaceClaim) -> None:
        await self._write(lambda: place_rows.take(place, claim))

    async def places(self, owner: str) -> Sequence[Place]:
        return await self._read(lambda: place_rows.places(owner))

    async def set_place(self, provider: str, runtime_id: str, *, running: bool | None) -> None:
        await self._write(lambda: place_rows.set_place(provider, runtime_id, running))

    async def count_places(self, owner: str, found: Sequence[Place], gone: Sequence[Place]) -> None:
        await self._write(lambda: place_rows.count_places(owner, found, gone))

    async def add_events(self, events: Sequence[AuditEvent]) -> None:
        await self._write(lambda: audit_rows.add(events))

    async def audit_events(self, query: AuditQuery) -> Sequence[AuditEvent]:
        return await self._read(lambda: audit_rows.listed(query))

    async def purge_events(self, kept: float, limit: int) -> int:
        return await self._write(lambda: audit_rows.purge(kept, limit))


def _check_target_unchanged(changes: Changes) -> None:
    if _TARGET_FIELDS & changes.set().keys():
        raise ValueError("only a transition to open may change namespace, provider or scope")
