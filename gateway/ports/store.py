"""What a store is: the memory of creates that outlives a process, shared by all replicas.

Rules for all methods:

- They raise :class:`StoreUnavailable` for any trouble of the store itself (gone, full, locked, too slow, not migrated,
  damaged), within a bounded time, and never wait longer. They work again by themselves once the store does.
- When a write returns, it is on the disk and every replica sees it. When a write raises, nobody knows whether it
  happened: it may be repeated with the same arguments, and then answers as if it had happened once.
- A write happens entirely or not at all, in one order for all replicas.
- Every time is seconds since the epoch by the database's own clock, whatever the clocks of the replicas say.
- A store seals nothing: what is secret is given to it sealed (:mod:`gateway.ports.sealing`).
- A cancelled call may or may not have happened, as one that raised.

A *holder* is a word that is unique to one task: a lease is its own as long as nobody took it over, even when it ended.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from gateway.domain.intents import Actor, Intent, IntentAttempt, IntentState, Look, NewIntent


class ConflictReason(StrEnum):
    """What an intent was found by."""

    KEY = "key"  # of the same principal and key
    NAME = "name"  # it has the name for itself in the namespace
    PIN = "pin"  # it went to another namespace, and named no provider either


@dataclass(frozen=True, slots=True)
class Inserted:
    """The intent was written: it is open in epoch 1, and the lease is the holder's."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written, because of this other intent."""

    intent: Intent
    by: ConflictReason


@dataclass(frozen=True, slots=True)
class Updated:
    """The intent was changed, and this is what it is now."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Stale:
    """Nothing was changed: the intent is in another state or epoch by now, or its lease is somebody else's.
    ``intent`` is what it is now, None when it is gone."""

    intent: Intent | None


@dataclass(frozen=True, slots=True)
class NameTaken:
    """Nothing was changed: another intent has the name in that namespace, or holds a pinned one to another."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Version:
    """The intent as the caller knows it: a change of anything newer is refused."""

    id: str
    state: IntentState
    epoch: int

    @classmethod
    def of(cls, intent: Intent) -> "Version":
        """The version of an intent that was read."""
        return cls(intent.id, intent.state, intent.epoch)


class Changes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What else changes about an intent; what is left out stays as it is. The fields are those of :class:`Intent`.

    Lists are whole: who has the lease knows what it read."""

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
    attempts: tuple[IntentAttempt, ...] | msgspec.UnsetType = msgspec.UNSET
    looks: tuple[Look, ...] | msgspec.UnsetType = msgspec.UNSET
    outcome: bytes | msgspec.UnsetType | None = msgspec.UNSET
    reason: str | msgspec.UnsetType | None = msgspec.UNSET

    def __repr__(self) -> str:
        return f"Changes({', '.join(self.set())})"

    def set(self) -> dict[str, object]:
        """The fields that change, with their new values."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in values if value is not msgspec.UNSET}


NO_CHANGES: Final = Changes()


class Decision(StrEnum):
    """What a person decides about a parked intent."""

    MADE = "made"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A line of the audit trail: who decided what about which intent, when and with which words."""

    at: float
    operator: str
    intent_id: str
    decision: Decision
    runtime_id: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class IntentQuery:
    """Which intents to list, newest first. ``before`` is (created_at, id) of the last one of the page before."""

    states: frozenset[IntentState] = frozenset(IntentState)
    surplus_only: bool = False
    limit: int = 50
    before: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """For metrics: how many intents are in each unsettled state, how many have surplus runtimes, and the age in
    seconds of the oldest unsettled one (0 when there is none)."""

    unsettled: Mapping[IntentState, int] = field(default_factory=dict)
    surplus: int = 0
    oldest_age: float = 0.0


class Store(ABC):
    """Where intents, what was sent at creation, and decisions are kept."""

    @abstractmethod
    async def open(self) -> None:
        """Get ready. Idempotent. A store that cannot be reached now is no failure: the calls tell, until it is back.
        Raises ``ValueError`` for a configuration that can never work."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was begun and give every connection back. Idempotent."""

    @abstractmethod
    async def ping(self) -> None:
        """Make sure that the store answers, can be written to, and has a schema that this version knows."""

    @abstractmethod
    async def now(self) -> float:
        """The database's clock."""

    @abstractmethod
    async def begin(
        self, new: NewIntent, holder: str, lease: float, *, instead_of: Version | None = None
    ) -> Inserted | Conflict:
        """Write an intent, open in epoch 1 and the holder's for ``lease`` seconds; unless there is one

        - of its (principal, key), or
        - for a ``pinned`` one, another pinned one of its (principal, kind, name) in another namespace, for as long as
          that is kept and was not refused, or
        - of its (namespace, kind, name) in a state of ``NAMED``;

        the first of these answers. ``instead_of`` is an absent intent whose name this one takes over; that one stays
        as it is otherwise, and late proof still finds it. Repeated with the same ``new`` and holder before anything
        else happened to it: ``Inserted`` again.
        """

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
    ) -> Updated | Stale | NameTaken:
        """Take one step of ``gateway.domain.intents.TRANSITIONS``, as a compare-and-set on (id, state, epoch) and on
        the lease as the step's rule says. Proof goes through :meth:`record_created`, a person's decision through
        :meth:`decide`.

        ``lease``: the holder has it for so many seconds from now; None ends it. ``look_in``: the reconciler is due
        then; None: never, or at the lease's end while open. A step to ``open`` raises the epoch, needs a lease, and
        alone may change namespace, provider and scope. Repeated by the same holder: ``Updated`` again. Raises
        :class:`ForbiddenTransition` for a step that there is not, and ``ValueError`` for such arguments.
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
        """Write down what is known by now, or renew or end (None) the lease, without a step. The lease has to be the
        holder's. ``look_in`` as in :meth:`move`."""

    @abstractmethod
    async def record_created(
        self, intent_id: str, runtime_id: str, *, look_in: float | None = None, changes: Changes = NO_CHANGES
    ) -> Intent | None:
        """Take proof that a runtime exists, from anyone and in any epoch: the intent is ``done`` and its lease ended.

        ``changes`` are taken only by the call that makes it done; except that an ``outcome`` is also taken by a later
        call of the same runtime as long as there is none: the first one stays for good. ``look_in``: the reconciler is
        due then, for a second runtime that may yet turn up; None: never; taken only by the call that makes it done.
        The id of one that is done never changes: a second one is added to ``surplus`` once. Answers with the intent as
        it is then, None when it is gone.
        """

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
        """Settle a parked intent by hand, and write that into the audit trail in the same transaction. ``MADE`` needs
        the provider's id of the runtime, ``ABSENT`` must have none; else ``ValueError``."""

    @abstractmethod
    async def claim_due(self, holder: str, lease: float, limit: int) -> Sequence[Intent]:
        """Take the lease of at most ``limit`` intents whose time has come and whose lease nobody has, longest due
        first. Two replicas that ask at once get different ones, without waiting for each other."""

    @abstractmethod
    async def get(self, intent_id: str) -> Intent | None:
        """One intent as it is now."""

    @abstractmethod
    async def by_key(self, principal: str, key: str) -> Intent | None:
        """The intent of a principal's ``Idempotency-Key``."""

    @abstractmethod
    async def by_name(
        self, namespace: str, kind: str, name: str, *, other_than: str | None = None, done: bool = False
    ) -> Intent | None:
        """The intent that has the name for itself, or else the newest one that had it; never the one whose id is
        ``other_than``. ``done``: only among those that are done."""

    @abstractmethod
    async def made_under(self, namespace: str, kind: str, name: str, *, other_than: str) -> frozenset[str]:
        """The provider's ids of all runtimes that intents of the name are done with, surplus included; without those
        of the intent ``other_than``."""

    @abstractmethod
    async def list(self, query: IntentQuery) -> Sequence[Intent]:
        """A page of intents. What existed throughout is neither skipped nor repeated over the pages."""

    @abstractmethod
    async def counts(self) -> Counts:
        """How much is unsettled."""

    @abstractmethod
    async def decisions(self, limit: int) -> Sequence[DecisionRecord]:
        """The newest lines of the audit trail, newest first. They are never dropped."""

    @abstractmethod
    async def keep_spec(self, namespace: str, runtime_id: str, sealed: bytes) -> None:
        """Keep what was sent when a runtime was made. Another one for the same runtime replaces it."""

    @abstractmethod
    async def specs(self, namespace: str, runtime_ids: Sequence[str]) -> Mapping[str, bytes]:
        """What was kept for those of the runtimes that something was kept for."""

    @abstractmethod
    async def drop_spec(self, namespace: str, runtime_id: str) -> None:
        """Forget what was kept for a runtime. Nothing to forget is fine."""

    @abstractmethod
    async def acquire_leadership(self, role: str, holder: str, lease: float) -> bool:
        """Take or keep a duty that one replica has at a time (active probes) for ``lease`` seconds; whether it is the
        holder's now. An ended lease is free for anyone."""

    @abstractmethod
    async def purge(self, *, settled: float, kept: float, limit: int) -> int:
        """Drop at most ``limit`` intents that settled more than ``settled`` seconds ago (``kept`` seconds for those
        with surplus), and as many specs older than ``kept`` seconds; return how many. Nothing unsettled is dropped,
        and no intent whose lease somebody has."""
