"""The owners of runtimes: whose a runtime is, and what a caller sees of it (docs/access.md#ownership)."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from cachetools import LRUCache

from gateway.domain.access import Principal
from gateway.domain.ids import SEPARATOR, RuntimeRef, b64url
from gateway.domain.ownership import inward, outward, refuse_suffix, suffix_in, suffix_of
from gateway.domain.runtime import Runtime

_MAX_NAMES = 10_000


class Owners:
    """Knows the owner of a runtime by its assignment, and otherwise by the suffix of its name at the provider."""

    def __init__(self) -> None:
        self._assigned: Mapping[str, str] = {}
        self._declared: Mapping[str, str] = {}
        self._learned: LRUCache[str, str] = LRUCache(_MAX_NAMES)

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
        """Let this owner, which is not declared, be shown by its name."""
        self._learned[suffix_of(owner)] = owner

    def owner_of(self, runtime: Runtime) -> str | None:
        """The owner's name; None where it is not known. ``runtime.owner`` is that of the runtime's spec, if any."""
        assigned = self._assigned.get(runtime.id)
        if assigned is not None:
            return assigned
        suffix = suffix_in(runtime.name)
        if suffix is None:
            return runtime.owner
        return self._declared.get(suffix) or self._learned.get(suffix)

    def owns(self, principal: Principal, runtime: Runtime) -> bool:
        """Whether a runtime, as its provider names it, belongs to the caller or its group."""
        assigned = self._assigned.get(runtime.id)
        if assigned is not None:
            return assigned == principal.owner
        return suffix_in(runtime.name) == suffix_of(principal.owner)

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
        owner, name = self.owner_of(runtime), outward(runtime.name)
        if owner == runtime.owner and name == runtime.name:
            return runtime
        # (A provider may use the name as the display name.)
        display_name = name if runtime.display_name == runtime.name else runtime.display_name
        return msgspec.structs.replace(runtime, owner=owner, name=name, display_name=display_name)

    def native_name(self, name: str, principal: Principal) -> str | None:
        """The only name at a provider that a runtime of this name can have for the caller; None if there are several:
        runtimes that were assigned keep the name that they had, and unlimited callers see those of all owners."""
        if not principal.own_only:
            return None if self._declared or self._learned else name
        return None if principal.owner in self._assigned.values() else name + suffix_of(principal.owner)

    def addresses(self, name: str, principal: Principal) -> Sequence[str]:
        """The names at the provider that a runtime can have which a caller of a dialect calls by this name: runtimes
        that were assigned keep the name that they had."""
        if not principal.own_only:
            return [name]
        owned = name + suffix_of(principal.owner)
        return [owned, name] if principal.owner in self._assigned.values() else [owned]

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
