"""The store's interface for principals, their keys, and the owners that an administrator has assigned. The rules of
:mod:`gateway.ports.store` apply.

Each change gives the access data (keys, principals and owners) a new version. Replicas compare it to find out whether
their copy is current.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum

import msgspec

from gateway.ports.data_plane import Revocation


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


class StoredPrincipal(msgspec.Struct, frozen=True, kw_only=True):
    """A principal that was made by the API: it has the rights of the principal ``template`` of the settings.
    ``template`` None: it is declared elsewhere, in the settings or by a token, and was disabled."""

    name: str
    template: str | None
    disabled: bool
    created_at: float


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to insert. ``digest`` is the SHA-256 of its text, ``prefix`` the beginning of the text. ``scopes`` None:
    all permissions of its principal. Times are in seconds since the epoch."""

    id: str
    digest: bytes
    prefix: str
    principal: str
    name: str | None = None
    scopes: tuple[str, ...] | None = None
    expires_at: float | None = None


class StoredKey(NewKey, frozen=True, kw_only=True):
    """A key in the store. ``last_used_at`` is exact to the minute."""

    created_at: float
    last_used_at: float | None = None


class AccessData(msgspec.Struct, frozen=True, kw_only=True):
    """All access data of one version. ``epoch`` identifies the store: another one, or one that was made again after a
    loss, has another epoch."""

    version: str
    epoch: str = ""
    keys: Sequence[StoredKey]
    principals: Sequence[StoredPrincipal]
    owners: Sequence[OwnerAssignment]
    revocations: Sequence[Revocation] = ()


class KeyRefused(StrEnum):
    """Why a key was not inserted."""

    NO_PRINCIPAL = "no_principal"  # and no template to make it from
    OTHER_TEMPLATE = "other_template"  # the principal exists and has another one
    FULL = "full"  # there are too many keys or principals


class PrincipalStore(ABC):
    """Stores keys and principals."""

    @abstractmethod
    async def access_version(self) -> str:
        """The current version of the access data."""

    @abstractmethod
    async def access_data(self) -> AccessData:
        """All access data. Changes during the call may be contained, although ``version`` is the one before."""

    @abstractmethod
    async def listen(self, changed: Callable[[], object]) -> None:
        """Call ``changed`` at once and after each change of the access data, until the task is cancelled. Raises
        :class:`StoreUnavailable` when the connection ends. Returns at once if this store cannot notify."""

    @abstractmethod
    async def keys(self, principal: str | None = None) -> Sequence[StoredKey]:
        """The keys of a principal, or all, oldest first."""

    @abstractmethod
    async def principals(self) -> Sequence[StoredPrincipal]:
        """All stored principals, by name."""

    @abstractmethod
    async def add_key(self, new: NewKey, *, template: str | None, declared: bool, limit: int) -> StoredKey | KeyRefused:
        """Insert a key. If its principal is neither stored nor ``declared`` elsewhere, it is made from ``template``.
        ``limit`` is the maximum of keys, and of principals. Repeated with the same id: the stored key again."""

    @abstractmethod
    async def rotate_key(self, key_id: str, new: NewKey, *, overlap: float) -> StoredKey | None:
        """Insert a key with the principal, name, scopes and end of the key ``key_id``, which ends after ``overlap``
        seconds at the latest; of ``new`` only id, digest and prefix are used. None: there is no such key, or it has
        ended. Repeated with the same new id: the stored key again."""

    @abstractmethod
    async def delete_key(self, key_id: str) -> StoredKey | None:
        """Delete a key and return it; None if it does not exist."""

    @abstractmethod
    async def disable(self, name: str, disabled: bool, *, declared: bool) -> bool:
        """Disable or enable a principal that is stored, or ``declared`` elsewhere. False: it is neither."""

    @abstractmethod
    async def delete_principal(self, name: str) -> bool:
        """Delete a principal that was made by the API, with its keys. False: no such principal exists."""

    @abstractmethod
    async def keys_used(self, key_ids: Collection[str]) -> None:
        """Record that these keys were used in the current minute. This does not change the version."""
