"""What a limited principal may ask for (docs/access.md#constraints)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from gateway.domain.field_errors import FieldError
from gateway.domain.values import is_uuid

BUILTIN: Final = "builtin"
"""The kind of build source that every principal may use."""


class ReferenceKind(StrEnum):
    """What a value in a request refers to, by the name of its list in the settings."""

    PROFILE = "profile_ids"
    EXTENSION = "extension_ids"
    SECRET = "secret_ids"  # noqa: S105 (the name of a list)
    PROJECT = "projects"
    PROXY_HOST = "proxy.hosts"
    BUILD_SOURCE = "build_sources"


@dataclass(frozen=True, slots=True)
class Reference:
    """A value in a request that refers to something of the provider's account. ``value`` None: no list can allow it."""

    kind: ReferenceKind
    value: str | None
    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The constraints of a limited principal.

    References are denied unless they are in ``references``, in their :func:`canonical` form; ``build_sources`` are
    patterns of kind and ref. ``drivers`` and the bounds apply where they are not None. ``max_lifetime`` is in seconds.
    """

    references: frozenset[tuple[ReferenceKind, str]] = frozenset()
    build_sources: frozenset[tuple[str, str]] = frozenset()
    drivers: frozenset[str] | None = None
    cpu_cores: int | None = None
    memory_mb: int | None = None
    max_lifetime: int | None = None

    def listed(self, kind: ReferenceKind) -> list[str]:
        """The values of a kind that are allowed, sorted."""
        if kind is ReferenceKind.BUILD_SOURCE:
            return sorted(f"{source}/{ref}" for source, ref in self.build_sources)
        return sorted(value for listed, value in self.references if listed is kind)

    def permits(self, reference: Reference) -> bool:
        """Whether a reference, other than a build source, is listed."""
        value = reference.value
        return value is not None and (reference.kind, canonical(reference.kind, value)) in self.references

    def permits_source(self, kind: str, ref: str) -> bool:
        """Whether a build source is built in or matches a pattern. The two parts are matched separately."""
        return kind == BUILTIN or any(
            fnmatchcase(kind, source) and fnmatchcase(ref, pattern) for source, pattern in self.build_sources
        )

    def refused(self, references: Iterable[Reference]) -> list[FieldError]:
        """A fault for each reference that is not listed."""
        return [self._fault(reference) for reference in references if not self.permits(reference)]

    def source_fault(self, pointer: str) -> FieldError:
        return self._fault(Reference(ReferenceKind.BUILD_SOURCE, None, pointer))

    def _fault(self, reference: Reference) -> FieldError:
        allowed = ", ".join(self.listed(reference.kind)) or "none"
        return not_allowed(f"The caller may use only these {reference.kind}: {allowed}.", reference.pointer)


def canonical(kind: ReferenceKind, value: str) -> str:
    """The form in which references are compared: hosts and UUIDs in lower case."""
    if kind is ReferenceKind.PROXY_HOST:
        return value.lower().removesuffix(".")
    return value.lower() if is_uuid(value) else value


def not_allowed(detail: str, pointer: str) -> FieldError:
    return FieldError(detail, "not_allowed", pointer=pointer)
