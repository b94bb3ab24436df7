"""The store interface: the durable record of creates, shared by all replicas.

Rules for all methods:

- They raise :class:`StoreUnavailable` within a bounded time for any failure of the store itself: unreachable, full,
  locked, too slow, not migrated, damaged. They work again without a restart once the store does.
- When a write returns, it is on disk and visible to every replica. A write that raised or was cancelled may or may not
  have happened. It may be repeated with the same arguments, and then returns what a single execution returns.
- A write is atomic, and all replicas see all writes in the same order.
- All times are seconds since the epoch by the database's clock; the clocks of the replicas are not used.
- A store does not encrypt: callers seal secret values before they store them (:mod:`gateway.ports.sealing`).

A *holder* is a text that is unique to one task. An expired lease still belongs to its holder until another takes it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from gateway.domain.intents import Actor, Intent, IntentAttempt, IntentState, Look, NewIntent
from gateway.ports.intent_query import IntentQuery
from gateway.ports.moves import StoredSpec
from gateway.ports.places import PlaceClaim


class ConflictReason(StrEnum):
    """Why an existing intent prevents a new one."""

    KEY = "key"  # it has the same principal and key
    NAME = "name"  # it holds the name in the namespace
    PIN = "pin"  # it is pinned to another namespace; neither create named a provider


class Inserted(msgspec.Struct, frozen=True):
    """It was inserted: open, in epoch 1, and the holder has its lease."""

    intent: Intent


class Conflict(msgspec.Struct, frozen=True):
    """Nothing was inserted, because of this existing intent."""

    intent: Intent
    by: ConflictReason


class Updated(msgspec.Struct, frozen=True):
    """The intent was updated; ``intent`` is its new value."""

    intent: Intent


class Stale(msgspec.Struct, frozen=True):
    """Nothing was changed: another state, epoch or lease. ``intent`` is its current value; None if it is deleted."""

    intent: Intent | None


class NameTaken(msgspec.Struct, frozen=True):
    """Nothing was changed: this other intent holds the name in that namespace, or pins it to another namespace."""

    intent: Intent


class Version(msgspec.Struct, frozen=True):
    """The version of an intent that the caller has read. A write fails as :class:`Stale` if the intent has changed."""

    id: str
    state: IntentState
    epoch: int

    @classmethod
    def of(cls, intent: Intent) -> "Version":
        """The version of this intent."""
        return cls(intent.id, intent.state, intent.epoch)


class Changes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """New values of fields of an :class:`Intent`. Fields that are unset do not change. A list replaces the stored list
    completely: the holder of the lease knows the list that it read."""

    namespace: str | msgspec.UnsetType = msgspec.UNSET
    provider: str | msgspec.UnsetType = msgspec.UNSET
    scope: str | msgspec.UnsetType = msgspec.UNSET
    target: str | msgspec.UnsetType = msgspec.UNSET
    request: bytes | msgspec.UnsetType | None = msgspec.UNSET
    provider_key: str | msgspec.UnsetType | None = msgspec.UNSET
    generation: int | msgspec.UnsetType = msgspec.UNSET
    digest: bytes | msgspec.UnsetType = msgspec.UNSET
    digest_version: str | msgspec.UnsetType = msgspec.UNSET
    before: Look | msgspec.UnsetType | None = msgspec.UNSET
    lifetime: float | msgspec.UnsetType | None = msgspec.UNSET
    attempts: tuple[IntentAttempt, ...] | msgspec.UnsetType = msgspec.UNSET
    looks: tuple[Look, ...] | msgspec.UnsetType = msgspec.UNSET
    outcome: bytes | msgspec.UnsetType | None = msgspec.UNSET
    reason: str | msgspec.UnsetType | None = msgspec.UNSET

    def __repr__(self) -> str:
        return f"Changes({', '.join(self.set())})"

    def set(self) -> dict[str, object]:
        """The fields that are set, with their new values."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in values if value is not msgspec.UNSET}


NO_CHANGES: Final = Changes()


class Decision(StrEnum):
    """An operator's decision about a parked intent."""

    MADE = "made"
    ABSENT = "absent"


class DecisionRecord(msgspec.Struct, frozen=True):
    """One entry of the audit trail: when which operator decided what about which intent, and the operator's note."""

    at: float
    operator: str
    intent_id: str
    decision: Decision
    runtime_id: str | None
    note: str | None


class Counts(msgspec.Struct, frozen=True):
    """For metrics: numbers of intents, and the age in seconds of the oldest unsettled one (0 without one)."""

    unsettled: Mapping[IntentState, int] = {}
    surplus: int = 0
    oldest_age: float = 0.0


class Store(ABC):
    """Stores intents, decisions, and what was sent in creates (specs)."""

    @abstractmethod
    async def open(self) -> None:
        """Prepare the store for use. Idempotent. Does not fail if the store cannot be reached now: other methods raise
        until it can. Raises ``ValueError`` for a configuration that can never work."""

    @abstractmethod
    async def close(self) -> None:
        """Complete the calls in progress, and close all connections. Idempotent."""

    @abstractmethod
    async def ping(self) -> None:
        """Check that the store responds, is writable, and has a schema that this version supports."""

    @abstractmethod
    async def outdated(self) -> str | None:
        """Why a newer version has made the store unusable for this program; None if it has not."""

    @abstractmethod
    async def now(self) -> float:
        """The current time of the database's clock."""

    @abstractmethod
    async def begin(
        self,
        new: NewIntent,
        holder: str,
        lease: float,
        *,
        instead_of: Version | None = None,
        claim: PlaceClaim | None = None,
    ) -> Inserted | Conflict:
        """Insert an intent: open, in epoch 1, with a lease of ``lease`` seconds for the holder. If one of these exists,
        nothing is inserted and :class:`Conflict` has the first of them:

        - ``KEY``: an intent of the same (principal, key);
        - ``PIN``: if the new intent is ``pinned``, another pinned intent of the same (principal, kind, name) in another
          namespace that was not refused, until it is purged;
        - ``NAME``: an intent of the same (namespace, kind, name) in a state of ``HOLDS_NAME``.

        ``instead_of`` is an absent intent whose name the new one takes over; late proof (:meth:`record_created`) can
        still find it. A ``claim`` takes a place too (:mod:`gateway.ports.places`). Repeated with the same ``new`` and
        holder before any other change: ``Inserted`` again."""

    @abstractmethod
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
        """Transition an intent to another state, by a step of ``gateway.domain.intents.TRANSITIONS``. It is a
        compare-and-set on (id, state, epoch), and on the lease as the step's rule requires. Proof that a runtime exists
        is recorded with :meth:`record_created`, and an operator's decision with :meth:`decide`.

        ``lease``: the holder gets the lease for this many seconds; None ends the lease. ``look_in``: in how many
        seconds the reconciler is due; None: never, or for an open intent at the end of the lease. A step to ``open``
        raises the epoch, requires a lease, is the only one that may change namespace, provider and scope, and takes a
        place as :meth:`begin` does; ``refused`` and ``absent`` give it back. Repeated by the same holder: ``Updated``
        again. Raises :class:`ForbiddenTransition` for a step that is not in the table, and ``ValueError`` for arguments
        that the step does not allow.
        """

    @abstractmethod
    async def update(
        self,
        version: Version,
        holder: str,
        *,
        lease: float | None = None,
        look_in: float | None = None,
        changes: Changes = NO_CHANGES,
    ) -> Updated | Stale:
        """Change fields of an intent without a transition, and renew the lease or end it (None). The holder must have
        the lease, otherwise :class:`Stale`. ``look_in`` as in :meth:`move`."""

    @abstractmethod
    async def record_created(
        self,
        intent_id: str,
        runtime_id: str,
        *,
        look_in: float | None = None,
        changes: Changes = NO_CHANGES,
        known: Intent | None = None,
        spec: StoredSpec | None = None,
    ) -> Intent | None:
        """Record the proof that a runtime exists, from any caller and in any epoch: the intent becomes ``done``, and
        its lease ends. Idempotent.

        Only the call that makes the intent done applies ``changes`` and ``look_in`` (when the reconciler looks for a
        second runtime that may still appear; None: never). Exception: if no ``outcome`` is stored, a later call for the
        same runtime stores its own; the first outcome is final. With a ``lifetime``, the end of the runtime is planned
        (:mod:`gateway.ports.places`), and of each surplus one. The runtime id of a done intent never changes: another
        id is added to ``surplus``, once. Returns the current intent; None if it does not exist.

        ``known`` is the open intent as its holder has it, which need not be read then unless another holder has written
        it since. A ``spec`` is stored too, as by :meth:`keep_spec`, also if the intent does not exist."""

    @abstractmethod
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
        """Settle a parked intent as the operator decided, and add that to the audit trail. Raises ``ValueError`` unless
        ``runtime_id``, the provider's id, is set for ``MADE`` and None for ``ABSENT``."""

    @abstractmethod
    async def claim_due(self, holder: str, lease: float, limit: int) -> Sequence[Intent]:
        """Take the lease of at most ``limit`` intents that are due and have no current lease, those due longest first;
        possibly none. Concurrent calls return different intents, without waiting for each other."""

    @abstractmethod
    async def get(self, intent_id: str) -> Intent | None:
        """The current value of one intent; None if it does not exist."""

    @abstractmethod
    async def by_key(self, principal: str, key: str) -> Intent | None:
        """The intent of a principal's ``Idempotency-Key``, or None."""

    @abstractmethod
    async def by_name(
        self, namespace: str, kind: str, name: str, *, other_than: str | None = None, done: bool = False
    ) -> Intent | None:
        """The intent that holds the name, otherwise the newest one of that name, or None. The intent
        ``other_than`` is excluded. ``done``: only done intents."""

    @abstractmethod
    async def made_under(self, namespace: str, kind: str, name: str, *, other_than: str) -> frozenset[str]:
        """The provider's ids of the runtimes, surplus included, of all done intents of this name but ``other_than``."""

    @abstractmethod
    async def list(self, query: IntentQuery) -> Sequence[Intent]:
        """One page of intents. Over all pages, intents that exist throughout are neither skipped nor repeated."""

    @abstractmethod
    async def counts(self) -> Counts:
        """The numbers of unsettled intents."""

    @abstractmethod
    async def decisions(self, limit: int) -> Sequence[DecisionRecord]:
        """The newest entries of the audit trail, newest first. Entries are never deleted."""

    @abstractmethod
    async def base_urls(self, api: str, base_url: str, own_paths: tuple[str, ...]) -> Sequence[str]:
        """The spellings of a base URL in namespaces, with any of ``own_paths``. All replicas use the first one."""

    @abstractmethod
    async def keep_spec(self, spec: StoredSpec) -> None:
        """Store the spec of a runtime: what was sent in its create. Replaces the one stored before."""

    @abstractmethod
    async def specs(self, namespace: str, runtime_ids: Sequence[str]) -> Mapping[str, bytes]:
        """The stored specs by runtime id. Runtimes without a spec are missing."""

    @abstractmethod
    async def drop_spec(self, namespace: str, runtime_id: str) -> None:
        """Delete the spec of a runtime. Does nothing without one."""

    @abstractmethod
    async def acquire_leadership(self, role: str, holder: str, lease: float) -> bool:
        """Take or renew, for ``lease`` seconds, a role that one replica has at a time. False: another holder has it."""

    @abstractmethod
    async def purge(self, *, settled: float, kept: float, limit: int) -> int:
        """Delete at most ``limit`` intents that were settled more than ``settled`` seconds ago (``kept`` with surplus)
        and have no current lease, at most ``limit`` specs and kept creates older than ``kept``, and places of owners
        without a count for as long. Returns the number of intents and specs. The creates of intents are kept."""
