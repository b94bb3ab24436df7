"""Who calls, what that caller may do, and its limits (docs/access.md)."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Self, TypeAlias

from gateway.domain.constraints import Allowance
from gateway.domain.errors import FieldError, PermissionDenied, RateLimited, Source
from gateway.domain.public_view import PublicView
from gateway.domain.values import Permission

OF_ACCOUNT: Final = "provider_requests"
"""The name of the limit of the requests to a provider's account."""

_ROUNDING: Final = 0.001  # seconds; a request is admitted only after the moment at which a place becomes free


def share(bound: int, workers: int) -> int:
    """One worker's part of a bound: at least 1, unless the bound is 0."""
    return max(bound // workers, min(bound, 1))


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``amount`` requests in any ``seconds`` seconds, as a sliding window estimates it."""

    amount: int
    seconds: int

    def share(self, workers: int) -> Self:
        """The part of one of several workers, of which each counts alone."""
        return self if workers == 1 else replace(self, amount=share(self.amount, workers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a principal may use; None: any number. ``requests`` is its rate. ``running`` is the number of its instances
    that start, run or stop, ``runtimes`` that of its runtimes that are not stopped, failed or deleted, ``connections``
    that of its connections through the data plane of each process."""

    requests: Rate | None = None
    running: int | None = None
    runtimes: int | None = None
    connections: int | None = None

    @property
    def has_places(self) -> bool:
        """Whether the number of runtimes, or of those that run, is limited."""
        return self.running is not None or self.runtimes is not None


class Window(NamedTuple):
    """The requests of the current window and of the one before it. ``left``: the seconds until the current one ends."""

    previous: int
    current: int
    left: float

    def used(self, rate: Rate) -> int:
        """The estimated number of requests in the last ``rate.seconds`` seconds: those of the previous window count as
        far as it overlaps with them."""
        return math.floor(self.previous * self.left / rate.seconds) + self.current

    def wait(self, rate: Rate) -> float:
        """In how many seconds one more request is admitted, if the rate is used up."""
        if self.current >= rate.amount or not self.previous:
            return self.left + _ROUNDING
        return max(self.left - rate.seconds * (rate.amount - self.current) / self.previous, 0.0) + _ROUNDING


def rate_headers(rate: Rate, window: Window) -> tuple[str, str]:
    """The values of ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-11)."""
    remaining = max(rate.amount - window.used(rate), 0)
    seconds = math.ceil(window.left if remaining else window.wait(rate))
    return f'"requests";q={rate.amount};w={rate.seconds}', f'"requests";r={remaining};t={max(seconds, 1)}'


def rate_limited(rate: Rate, window: Window, *, provider: str | None = None) -> RateLimited:
    """The error for a request that exceeds the caller's rate, or that of a ``provider``'s account."""
    whose = "The caller" if provider is None else f"The gateway's account at the provider {provider}"
    name = "requests" if provider is None else OF_ACCOUNT
    return RateLimited(
        f"{whose} may send {rate.amount} requests in {rate.seconds} seconds; nothing was done.",
        source=Source.GATEWAY,
        retry_after=window.wait(rate),
        provider=provider,
        extra={"limit": limit_of(name, rate.amount, max(window.used(rate), rate.amount))},
    )


def limit_of(name: str, value: int, used: int) -> dict[str, Any]:
    """The member ``limit`` of a problem."""
    return {"name": name, "value": value, "used": used}


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
