"""Who calls, and what that caller may do (docs/access.md)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from gateway.domain.constraints import Allowance
from gateway.domain.errors import FieldError, PermissionDenied
from gateway.domain.limits import Limits
from gateway.domain.public_view import PublicView


class Permission(StrEnum):
    """One thing that a caller may do. The API and the settings call permissions ``scopes``; in the code a scope is a
    provider's tenancy."""

    READ = "runtimes:read"
    CREATE = "runtimes:create"
    LIFECYCLE = "runtimes:lifecycle"
    CONNECT = "runtimes:connect"
    CONFIG = "runtimes:config"
    NATIVE = "native"
    AUDIT = "audit"
    ADMIN = "admin"


PRINCIPAL_PATTERN: Final = r"^[A-Za-z0-9._-]{1,64}$"
"""The names of principals of the settings and of the API. Those of tokens contain a slash, so none can be one of
these."""

ALL_PERMISSIONS: Final = frozenset(Permission)
DEFAULT_PERMISSIONS: Final = ALL_PERMISSIONS - {Permission.ADMIN, Permission.AUDIT}
"""Those of a principal of the settings without ``scopes``."""


def with_implied(permissions: Iterable[Permission]) -> frozenset[Permission]:
    """The permissions, with those that they imply: ``admin`` implies all."""
    given = frozenset(permissions)
    return ALL_PERMISSIONS if Permission.ADMIN in given else given


@dataclass(frozen=True, slots=True, kw_only=True)
class Restrictions:
    """The only values that a principal may use; None means any. ``scopes`` are scopes of providers."""

    providers: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    scopes: frozenset[str] | None = None


Reader: TypeAlias = tuple[str, str | None, PublicView | None]
UNRESTRICTED: Final = Restrictions()
_NOTHING: Final = Allowance()


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. Keys and tokens only authenticate it, so idempotency keys, ownership and limits do not change with
    them. ``expires`` is in seconds since the epoch.

    ``owner`` is the name under which its runtimes are recorded: that of its group, or its own. ``own_only``: it sees
    and changes only runtimes of that owner. ``allow`` are the constraints that the settings give it, ``limits`` its
    limits. ``key_id`` identifies the key of this request. ``confined``: there are runtimes or providers that it may
    not see.
    """

    name: str
    permissions: frozenset[Permission] = ALL_PERMISSIONS
    restrictions: Restrictions = UNRESTRICTED
    own_only: bool = False
    group: str | None = None
    expires: float | None = None
    allow: Allowance | None = None
    limits: Limits | None = None
    view: PublicView | None = None
    key_id: str | None = field(default=None, compare=False)
    confined: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        confined = self.own_only or self.view is not None or self.restrictions != UNRESTRICTED
        object.__setattr__(self, "confined", confined)

    @property
    def owner(self) -> str:
        """The owner of the runtimes that it creates."""
        return self.name if self.group is None else self.group

    @property
    def reader(self) -> Reader:
        """What identifies the callers that are shown the same."""
        return self.name, self.group, self.view

    @property
    def allowance(self) -> Allowance | None:
        """The constraints of a limited caller, one with ``own_only`` or ``allow``; None for any other."""
        return _NOTHING if self.allow is None and self.own_only else self.allow

    @property
    def max_lifetime(self) -> int | None:
        """After how many seconds the instances that it starts end; None: never."""
        return None if self.allow is None else self.allow.max_lifetime

    @property
    def prepares_starts(self) -> bool:
        """Whether something has to be stored before an instance of it is started: its end, or its place."""
        return self.max_lifetime is not None or (self.limits is not None and self.limits.has_places)

    def shown_id(self, runtime_id: str) -> str:
        """The id of a runtime as the caller knows it."""
        return runtime_id if self.view is None else self.view.seal(runtime_id)

    def plain_id(self, shown_id: str) -> str:
        """The id of the runtime that the caller knows by ``shown_id``. Raises :class:`NotFound`."""
        return shown_id if self.view is None else self.view.unseal(shown_id)

    def require_full_view(self) -> None:
        """Raise :class:`PermissionDenied` for a caller that may know nothing about providers."""
        if self.view is not None:
            raise PermissionDenied("A caller with the public view can use neither this nor a provider's own API.")

    @property
    def sees_part(self) -> bool:
        """Whether it sees only a part of a provider."""
        return self.own_only or self.restrictions.kinds is not None or self.restrictions.scopes is not None

    def require_native(self) -> None:
        """Raise :class:`PermissionDenied` for a caller that sees only a part of a provider: the pass-through, and what
        a dialect forwards, reach all of it."""
        if self.sees_part:
            raise PermissionDenied("A caller that sees only some runtimes cannot use the provider's whole API.")

    def require(self, permission: Permission) -> None:
        """Raise :class:`PermissionDenied` that names the permission, unless the caller has it."""
        if permission not in self.permissions:
            raise PermissionDenied(
                f"This call needs the scope {permission.value}, which the caller {self.name} does not have.",
                extra={"scope": permission.value},
            )

    def sees(self, provider: str, scope: str | None = None, kind: str | None = None) -> bool:
        """Whether a provider, and in it a scope and a kind where given, are within the restrictions."""
        only = self.restrictions
        return (
            (only.providers is None or provider in only.providers)
            and (only.scopes is None or scope is None or scope in only.scopes)
            and (only.kinds is None or kind is None or kind in only.kinds)
        )


ANONYMOUS: Final = Principal("anonymous")
"""Every caller of a gateway without keys."""

SYSTEM: Final = Principal("")
"""The gateway itself: probes, settling, and requests before their caller is known."""


def refuse_outside(
    values: Iterable[str],
    allowed: frozenset[str] | None,
    what: str,
    *,
    pointer: str | None = None,
    parameter: str | None = None,
) -> None:
    """Raise :class:`PermissionDenied` at the pointer or parameter if a value that the caller sent is not allowed,
    whether it exists or not."""
    if allowed is None or all(value in allowed for value in values):
        return
    detail = f"The caller may use only these {what}: {', '.join(sorted(allowed)) or 'none'}."
    error = FieldError(detail, "not_allowed", pointer=pointer, parameter=parameter)
    raise PermissionDenied(detail, errors=[error])


def refuse_named(
    caller: Principal, sent: Collection[str], *, pointer: str | None = None, parameter: str | None = None
) -> None:
    """Raise :class:`PermissionDenied` at the pointer or parameter if a caller that may know nothing about providers has
    sent the name of one, or of a scope."""
    if caller.view is not None and sent:
        detail = "A caller with the public view cannot name a provider or a provider's scope."
        error = FieldError(detail, "not_allowed", pointer=pointer, parameter=parameter)
        raise PermissionDenied(detail, errors=[error])
