"""Who the callers are: the keys and principals of the settings and of the store, in memory in every replica.

A request is authenticated with one look-up here. :class:`gateway.services.access.replication.AccessReplica` keeps the
copy of the store's data current.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Self

from gateway.domain.access import ANONYMOUS, Principal, with_implied
from gateway.domain.errors import StoreUnavailable, Unauthenticated
from gateway.domain.values import Permission
from gateway.ports.clock import Clock, SystemClock
from gateway.ports.data_plane import Revocation, Revoked
from gateway.ports.principals import AccessData, StoredKey, StoredPrincipal
from gateway.services.access.owners import Owners

MAX_AGE: Final = 60.0
"""Seconds for which the copy is used while the store cannot be read."""

_DISABLED: Final = "The principal of this key is disabled."


class WrongKey(Exception):
    """The gateway does not know the key, or cannot accept the token for the reason in the message."""


class Directory:
    """All keys by the SHA-256 digest of their text, and all principals by name.

    Keys of the settings always work. While the copy of the store's data is older than :data:`MAX_AGE`, all others
    raise :class:`StoreUnavailable`: they may have been revoked, or made, meanwhile.
    """

    def __init__(self, clock: Clock, owners: Owners | None = None) -> None:
        """``owners`` receives the assignments, and the owners of limited principals."""
        self._clock = clock
        self._owners = owners or Owners()
        self._owners.are_current = lambda: not self.stale
        self.declared_keys: Mapping[bytes, Principal] = {}
        """The principals of the settings by the digests of their keys."""
        self.declared: Mapping[str, Principal] = {}
        """The principals of the settings by name."""
        self.templates: Mapping[str, str] = {}
        """The templates of the tokens' principals, by the name of their issuer."""
        self.stored: Mapping[str, StoredPrincipal] = {}
        """Those that were made by the API or disabled by name, as in the copy."""
        self.revoked = Revoked()
        """The revocations of connections, as in the copy."""
        self._stored_keys: Mapping[str, StoredKey] = {}
        self._assigned: Mapping[str, str] = {}
        self._found: dict[bytes, Principal] = {}
        self._refused: dict[bytes, str] = {}
        self._current_at: float | None = None
        self._begun = clock.monotonic()
        self.used: set[str] = set()
        """The ids of keys that were used since they were last taken from here."""

    @classmethod
    def without_store(cls) -> Self:
        """A directory of the settings only, whose copy of the store's data is empty and never ages."""
        made = cls(SystemClock())
        made.confirm(math.inf)
        return made

    def declare(self, keys: Mapping[bytes, Principal]) -> None:
        """Replace the keys and principals of the settings."""
        self.declared_keys = keys
        self.declared = {principal.name: principal for principal in keys.values()}
        self._combine()

    def load(self, data: AccessData) -> bool:
        """Replace the copy of the store's data. Returns whether principals, owners or revocations have changed, or
        a key was deleted."""
        before = self.stored, self._assigned, self.revoked.generations
        generations = {(one.runtime_id, one.principal): one.generation for one in data.revocations}
        self.revoked = Revoked(data.epoch, generations)
        self.stored = {one.name: one for one in data.principals}
        self._assigned = {one.runtime_id: one.owner for one in data.owners}
        keys, self._stored_keys = self._stored_keys, {key.id: key for key in data.keys}
        self._owners.assign(self._assigned)
        self._combine()
        deleted = keys.keys() - self._stored_keys.keys()
        return bool(deleted) or before != (self.stored, self._assigned, self.revoked.generations)

    def note(self, revocation: Revocation) -> None:
        """Add a revocation that this process has just stored."""
        key = revocation.runtime_id, revocation.principal
        self.revoked = Revoked(self.revoked.epoch, {**self.revoked.generations, key: revocation.generation})

    def confirm(self, read_at: float) -> None:
        """The copy was current at this time of the monotonic clock."""
        self._current_at = read_at

    @property
    def age(self) -> float:
        """How many seconds ago the copy was current; since the start, if it has never been."""
        return self._clock.monotonic() - (self._begun if self._current_at is None else self._current_at)

    @property
    def stale(self) -> bool:
        """Whether the copy is too old, or missing."""
        return self._current_at is None or self._clock.monotonic() - self._current_at > MAX_AGE

    def find(self, digest: bytes) -> Principal:
        """The principal of a key. Raises :class:`Unauthenticated`, :class:`StoreUnavailable`, and :class:`WrongKey` if
        no key has this digest."""
        found = self._found.get(digest)
        if found is None:
            if (reason := self._refused.get(digest)) is not None:
                raise Unauthenticated(reason)
            self._require_current()
            raise WrongKey
        if found.key_id is not None:
            self._require_current()
        if found.expires is not None and self._clock.now() >= found.expires:
            raise Unauthenticated("The key has expired.")
        if found.key_id is not None:
            self.used.add(found.key_id)
        return found

    def is_disabled(self, name: str) -> bool:
        """Whether a principal is disabled, as far as the copy shows."""
        stored = self.stored.get(name)
        return stored is not None and stored.disabled

    def learn_owner(self, principal: Principal) -> None:
        """Show the owner of a caller's runtimes by its name, although neither settings nor store contain it."""
        if principal.own_only:
            self._owners.learn(principal.owner)

    def still_calls(self, name: str, key_id: str | None) -> bool:
        """Whether a principal that called before, with the key ``key_id`` of the store if it is not None, may still
        call. Raises :class:`StoreUnavailable` while that is not known."""
        declared = self.declared.get(name)
        if declared is None or key_id is not None:
            self._require_current()
        if key_id is not None and key_id not in self._stored_keys:
            return False
        principal = self.principal(name)
        if principal is None:
            return name == ANONYMOUS.name and not self.declared_keys
        expired = principal.expires is not None and self._clock.now() >= principal.expires
        return not expired and not self.is_disabled(name) and Permission.CONNECT in principal.permissions

    def principal(self, name: str) -> Principal | None:
        """A principal of the settings, or one of the store or of a token with the rights of its template. None: there
        is none of this name, or its template is not in the settings."""
        if (declared := self.declared.get(name)) is not None:
            return declared
        issuer, of_a_token, _ = name.partition("/")
        stored = self.stored.get(name)
        template = self.templates.get(issuer) if of_a_token else None if stored is None else stored.template
        rights = None if template is None else self.declared.get(template)
        return None if rights is None else replace(rights, name=name)

    def _require_current(self) -> None:
        if self.stale:
            raise StoreUnavailable("The key cannot be checked, because the store cannot be reached.", retry_after=2.0)

    def _combine(self) -> None:
        found: dict[bytes, Principal] = {}
        refused: dict[bytes, str] = {}
        for key in self._stored_keys.values():
            principal = self.principal(key.principal)
            if principal is None:
                refused[key.digest] = f"The settings do not contain the rights of the principal {key.principal}."
            else:
                found[key.digest] = _with_key(principal, key)
        found |= self.declared_keys
        for digest in [digest for digest, principal in found.items() if self.is_disabled(principal.name)]:
            refused[digest] = _DISABLED
            del found[digest]
        self._found, self._refused = found, refused
        named = filter(None, map(self.principal, {*self.declared, *self.stored}))
        self._owners.declare({principal.owner for principal in named if principal.own_only})


def _with_key(principal: Principal, key: StoredKey) -> Principal:
    """The principal as a caller with this key."""
    ends = [end for end in (principal.expires, key.expires_at) if end is not None]
    permissions = principal.permissions
    if key.scopes is not None:
        known = [one for one in Permission if one.value in key.scopes]
        permissions &= with_implied(known)
    return replace(principal, permissions=permissions, expires=min(ends, default=None), key_id=key.id)
