"""The owners of runtimes: whose a runtime is, and what a caller sees of it (docs/access.md#ownership)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from cachetools import LRUCache

from gateway.domain.access import Principal
from gateway.domain.errors import NotFound, StoreUnavailable
from gateway.domain.ids import SEPARATOR, RuntimeRef, b64url, b64url_bytes, bytes_from_b64url, parse_runtime_id
from gateway.domain.ownership import SUFFIX_START, inward, outward, refuse_suffix, suffix_in, suffix_of
from gateway.domain.runtime import Runtime
from gateway.ports.provider import ProviderAdapter
from gateway.ports.sealing import Cell, Sealer, Unreadable

MAX_MARK: Final = 256
"""The maximum number of characters of a mark."""

_MAX_NAMES = 10_000
_MARKS: Final = "owner_marks"


class Owners:
    """Knows the owner of a runtime: by its assignment, else by its mark at the provider (``runtime.owner``, which may
    be that of its spec if it has neither mark nor suffix), else by the suffix of its name at the provider.

    ``sealer`` seals and opens marks; without one no marks are made. ``are_current``: whether the assignments are recent
    enough to be relied on."""

    def __init__(self) -> None:
        self._assigned: Mapping[str, str] = {}
        self._declared: Mapping[str, str] = {}
        self._learned: LRUCache[str, str] = LRUCache(_MAX_NAMES)
        self.sealer: Sealer | None = None
        self.are_current: Callable[[], bool] = lambda: True

    def assign(self, assigned: Mapping[str, str]) -> None:
        """Replace all assignments: the owner of each assigned runtime, by its public id."""
        self._assigned = assigned

    def assign_one(self, runtime_id: str, owner: str | None) -> None:
        """Change the assignment of one runtime; None removes it."""
        others = {known: other for known, other in self._assigned.items() if known != runtime_id}
        self._assigned = others if owner is None else {**others, runtime_id: owner}

    def declare(self, owners: Iterable[str]) -> None:
        """Replace the owners whose names are known, so that their suffixes can be shown as names."""
        self._declared = {suffix_of(owner): owner for owner in owners}

    def learn(self, owner: str) -> None:
        """Show this owner, which is not declared, by its name."""
        self._learned[suffix_of(owner)] = owner

    def owner_of(self, runtime: Runtime) -> str | None:
        """The owner's name; None where it is not known."""
        return self._owner(runtime, suffix_in(runtime.name))

    def _owner(self, runtime: Runtime, suffix: str | None) -> str | None:
        known = self._assigned.get(runtime.id) or runtime.owner
        if known is not None or suffix is None:
            return known
        return self._declared.get(suffix) or self._learned.get(suffix)

    def owns(self, principal: Principal, runtime: Runtime) -> bool:
        """Whether a runtime, as its provider names it, belongs to the caller or its group."""
        known = self._assigned.get(runtime.id) or runtime.owner
        if known is not None:
            return known == principal.owner
        return suffix_in(runtime.name) == suffix_of(principal.owner)

    def mark(self, principal: Principal, provider: str, name: str | None) -> str | None:
        """The sealed name of the owner of a runtime that has this name at its provider, for which alone it is made; the
        same text while the sealing key is the same. None for callers without ``own_only``, whose runtimes no ownership
        protects, for a runtime of another owner, and for a name that is too long for a label."""
        return self.mark_of(principal.owner, provider, name) if principal.own_only else None

    def mark_of(self, owner: str, provider: str, name: str | None) -> str | None:
        """The sealed name of an owner, as :meth:`mark`."""
        if self.sealer is None or suffix_in(name) != suffix_of(owner):
            return None
        mark = b64url_bytes(self.sealer.seal_fixed(owner.encode(), Cell(_MARKS, provider, name or "")))
        return mark if len(mark) <= MAX_MARK else None

    def owner_of_mark(self, provider: str, name: str | None, mark: object) -> str | None:
        """The owner in a mark; None if the mark cannot be read, or was made for another runtime."""
        if self.sealer is None or not isinstance(mark, str) or len(mark) > MAX_MARK:
            return None
        try:
            return self.sealer.unseal(bytes_from_b64url(mark), Cell(_MARKS, provider, name or "")).decode()
        except (Unreadable, ValueError):
            return None

    def require_current(self, principal: Principal) -> None:
        """Before a call on one runtime: raise :class:`StoreUnavailable` if the caller sees only its own runtimes, and
        the runtime may have been assigned to it, or to somebody else, without this process knowing it."""
        if principal.own_only and not self.are_current():
            detail = "The owner of the runtime cannot be checked, because the store cannot be reached."
            raise StoreUnavailable(detail, retry_after=2.0)

    def may_have_owned(self, principal: Principal, ref: RuntimeRef) -> bool:
        """Whether the address of a runtime that does not exist any longer shows that it was the caller's, and no
        runtime of this name was assigned to somebody else."""
        if ref.name is None or suffix_in(ref.name) != suffix_of(principal.owner):
            return False
        named = f"{b64url(ref.name)}{SEPARATOR}"
        return not any(named in known and owner != principal.owner for known, owner in self._assigned.items())

    def sees(self, principal: Principal, runtime: Runtime) -> bool:
        """Whether a caller may see a runtime, as its provider names it."""
        return principal.sees(runtime.provider, runtime.scope, runtime.kind) and (
            not principal.own_only or self.owns(principal, runtime)
        )

    def shown(self, runtime: Runtime) -> Runtime:
        """A runtime as callers see it: with its owner, and without the suffix of its name."""
        suffix = suffix_in(runtime.name)
        if suffix is None and runtime.id not in self._assigned:
            return runtime
        name = runtime.name if suffix is None else (runtime.name or "")[: -len(suffix)]
        # (A provider may use the name as the display name.)
        display_name = name if runtime.display_name == runtime.name else runtime.display_name
        owner = self._owner(runtime, suffix)
        return msgspec.structs.replace(runtime, owner=owner, name=name, display_name=display_name)

    def shown_rows(self, rows: Sequence[Runtime]) -> Sequence[Runtime]:
        """As :meth:`shown`, for the rows of a list, few of which have an owner."""
        assigned = self._assigned
        return [self.shown(row) if row.id in assigned or SUFFIX_START in (row.name or "") else row for row in rows]

    def native_name(self, name: str, principal: Principal) -> str | None:
        """The only name at a provider that a runtime of this name can have for the caller; None if there are several:
        runtimes that were assigned keep the name that they had, and unlimited callers see those of all owners."""
        if not principal.own_only:
            return None if self._declared or self._learned else name
        return None if principal.owner in self._assigned.values() else name + suffix_of(principal.owner)

    def addresses(self, name: str, principal: Principal, adapter: ProviderAdapter[Any]) -> Sequence[str]:
        """The names at the provider that a runtime can have which a caller of a dialect calls by this name: runtimes
        that were assigned keep the name that they had. Where their ids contain it, it is known, also with the suffix of
        another owner."""
        if not principal.own_only:
            return [name]
        owned = name + suffix_of(principal.owner)
        assigned = [known for known, owner in self._assigned.items() if owner == principal.owner]
        named = (_name_in(known, adapter) for known in assigned)
        found = [owned, *(other for other in named if outward(other) == name and other is not None)]
        return list(dict.fromkeys([*found, name] if assigned else found))

    def name_at_provider(self, name: str, principal: Principal) -> str:
        """The name at the provider of a runtime that the caller names. Raises :class:`ValidationFailed` for a name that
        is too long, or that ends like a suffix."""
        refuse_suffix(name)
        if not principal.own_only:
            return name
        self.learn(principal.owner)
        return inward(name, principal.owner)

    def is_foreign(self, principal: Principal, runtime: Runtime) -> bool:
        """Whether a runtime that has the name of the caller's create belongs to somebody else."""
        return principal.own_only and not self.owns(principal, runtime)


def _name_in(runtime_id: str, adapter: ProviderAdapter[Any]) -> str | None:
    """The name at the provider in the id of a runtime; None for an id of another provider, or without a name."""
    try:
        provider, reference = parse_runtime_id(runtime_id)
        return adapter.parse_reference(reference).name if provider == adapter.name else None
    except NotFound:
        return None
