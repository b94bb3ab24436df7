"""The store's interface for owners of runtimes that an administrator has assigned. The rules of
:mod:`gateway.ports.store` apply."""

from abc import ABC, abstractmethod

import msgspec


class OwnerAssignment(msgspec.Struct, frozen=True, kw_only=True):
    """``assigned_by``, an administrator, has assigned the runtime ``runtime_id`` to ``owner``. ``assigned_at`` is in
    seconds since the epoch."""

    runtime_id: str
    owner: str
    assigned_by: str
    assigned_at: float


class OwnerStore(ABC):
    """Stores owner assignments. They are a part of the access data (:mod:`gateway.ports.principals`)."""

    @abstractmethod
    async def assign_owner(self, runtime_id: str, owner: str, assigned_by: str) -> OwnerAssignment:
        """Assign a runtime to an owner. Replaces its earlier assignment."""

    @abstractmethod
    async def forget_owner(self, runtime_id: str) -> bool:
        """Delete the assignment of a runtime. Returns whether there was one."""
