"""The store's interface for places: the runtimes of owners with a limit on them (docs/access.md#limits), and for the
planned ends of instances (docs/access.md#maximum-lifetime). The rules of :mod:`gateway.ports.store` apply.

A place is of one runtime: from the transaction that writes the intent of its create on, or from its start on, until it
is known not to exist, or to be stopped or failed. It is given back by the transitions of the intent to ``refused`` and
``absent``, and by the proof that the runtime existed before (``lifetime`` None in :meth:`Store.record_created`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.domain.ids import RuntimeRef

GRACE: Final = 30.0
"""Seconds for which a place that is taken for an instance stays, whatever a count finds."""

HELD: Final = 20
"""The maximum number of places that a refusal shows."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """``id`` is that of the intent, or of the runtime if it was not created for a place. ``name`` is the name at the
    provider. ``runtime_id`` is the provider's id, None until it is known. ``running``: it has an instance that starts,
    runs or stops. ``changed_at`` is the time of the last change, 0 for a place that is not stored."""

    id: str
    owner: str
    provider: str
    scope: str
    name: str | None
    runtime_id: str | None
    running: bool
    changed_at: float = 0.0


class PlaceClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a place of ``owner``, and for one among its ``running`` if it ``starts`` an instance. ``running``
    and ``runtimes`` are the limits, None for any number. The last count may be ``count_after`` seconds old, and as old
    as it is if that is None."""

    owner: str
    starts: bool
    running: int | None
    runtimes: int | None
    count_after: float | None


class NoPlace(Exception):
    """Nothing was written. ``limit`` is the name of the limit that is reached, with its ``value``, how much of it is
    ``used``, and the first places; None: the places have to be counted first. ``counted`` is how many seconds ago they
    were; None: never, or in the future."""

    def __init__(
        self,
        counted: float | None,
        *,
        limit: str | None = None,
        value: int = 0,
        used: int = 0,
        held: Sequence[Place] = (),
    ) -> None:
        super().__init__(limit)
        self.counted = counted
        self.limit = limit
        self.value = value
        self.used = used
        self.held = held


class PlaceStore(ABC):
    """Stores places. :meth:`Store.begin` and :meth:`Store.move` take them too. Only what takes one raises
    :class:`NoPlace`."""

    @abstractmethod
    async def take_place(self, place: Place, claim: PlaceClaim) -> None:
        """Take a place for a runtime that is about to be started, unless it has one already. Raises
        :class:`NoPlace`."""

    @abstractmethod
    async def places(self, owner: str) -> Sequence[Place]:
        """All places of an owner."""

    @abstractmethod
    async def set_place(self, provider: str, runtime_id: str, *, running: bool | None) -> None:
        """Whether a runtime has an instance; None: its place is given back. Does nothing without a place."""

    @abstractmethod
    async def count_places(self, owner: str, found: Sequence[Place], gone: Sequence[Place]) -> None:
        """Record what a count of the owner's runtimes has found, and the time. Places that have changed since they were
        read stay as they are, and so do running ones that have changed in the last :data:`GRACE` seconds: their start
        may still be on its way. A place that is not stored is inserted, unless another one is of the same runtime, or
        of its name and without a runtime so far."""


class PlannedEnd(msgspec.Struct, frozen=True, kw_only=True):
    """When the gateway ends the instance of a runtime that ``principal`` started.

    ``runtime_id`` is the provider's id, and ``name`` the name at the provider, where it is known. ``due_at`` is in
    seconds since the epoch; ``due_in`` and ``look_in`` are the seconds until the end, and until the runtime is read
    next, at the time of the call. ``instance`` is the provider's id of the instance, None until it was read.
    """

    provider: str
    runtime_id: str
    scope: str
    name: str | None
    principal: str
    due_at: float
    due_in: float
    look_in: float
    instance: str | None


class EndStore(ABC):
    """Stores one planned end per runtime. That of a create is planned by the store itself, in the transaction that
    records the proof that its runtime exists (``NewIntent.lifetime``)."""

    @abstractmethod
    async def plan_end(self, provider: str, ref: RuntimeRef, principal: str, lifetime: float) -> PlannedEnd:
        """Plan the end of the instance that is about to be started, ``lifetime`` seconds from now. Replaces the end
        that the runtime had."""

    @abstractmethod
    async def planned_end(self, provider: str, runtime_id: str) -> PlannedEnd | None:
        """The planned end of a runtime, or None."""

    @abstractmethod
    async def planned_ends(self, limit: int) -> Sequence[PlannedEnd]:
        """The next ends, by the time at which the runtime is read next."""

    @abstractmethod
    async def take_ends(self, limit: int, postpone: float) -> Sequence[PlannedEnd]:
        """Take at most ``limit`` ends whose runtime is to be read now. They are due to be read again in ``postpone``
        seconds, so other replicas do not take them before that."""

    @abstractmethod
    async def keep_end(self, end: PlannedEnd, *, instance: str | None, look_in: float | None) -> bool:
        """Store the instance of a planned end, and in how many seconds to read the runtime again; None: when it is
        due. False, and no change, if it was replaced since."""

    @abstractmethod
    async def drop_end(self, end: PlannedEnd) -> bool:
        """Delete a planned end. False, and no change, if it was replaced since."""
