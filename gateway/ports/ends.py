"""The store's interface for the planned ends of instances (docs/access.md#maximum-lifetime). The rules of
:mod:`gateway.ports.store` apply."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from gateway.domain.ids import RuntimeRef


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
