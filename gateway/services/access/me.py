"""The caller, as the API shows it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from gateway.domain.access import Limits
from gateway.domain.constraints import Allowance, ReferenceKind
from gateway.domain.runtime import Model
from gateway.ports.context import RequestContext
from gateway.services.access.quotas import Quotas


class AllowedProxies(Model, frozen=True, kw_only=True):
    """The hosts of the proxies that the caller may use."""

    hosts: list[str]


class ResourceBounds(Model, frozen=True, kw_only=True):
    """The largest values that the caller may send; null means any."""

    cpu_cores: int | None
    memory_mb: int | None


class AllowedRequests(Model, frozen=True, kw_only=True):
    """The caller's constraints, by their names in the settings. ``drivers`` null: all. ``max_lifetime`` is in seconds;
    null: no limit."""

    profile_ids: list[str]
    extension_ids: list[str]
    secret_ids: list[str]
    projects: list[str]
    proxy: AllowedProxies
    build_sources: list[str]
    drivers: list[str] | None
    resources: ResourceBounds
    max_lifetime: int | None


class LimitUse(Model, frozen=True, kw_only=True):
    """A limit, and how much of it is used; null without the store."""

    value: int
    used: int | None


class RateUse(LimitUse, frozen=True, kw_only=True):
    """At most ``value`` requests in ``seconds`` seconds."""

    seconds: int


class LimitsUse(Model, frozen=True, kw_only=True):
    """The caller's limits; null means any number. The connections are those through this process."""

    requests: RateUse | None
    running: LimitUse | None
    runtimes: LimitUse | None
    connections: LimitUse | None


class Me(Model, frozen=True, kw_only=True):
    """The caller. ``scopes`` are its permissions. ``providers``, ``kinds`` and ``provider_scopes`` are the only ones
    that it may use; null means any. ``own_only``: it sees only runtimes of ``owner``, under which its own are recorded.
    ``allow`` are its constraints, in seconds and as lists of what is allowed, ``limits`` its limits; null: it has none.
    ``expires_at`` null: never."""

    object: Literal["me"] = "me"
    principal: str
    owner: str
    own_group: str | None
    own_only: bool
    view: Literal["full", "public"]
    scopes: list[str]
    providers: list[str] | None
    kinds: list[str] | None
    provider_scopes: list[str] | None
    allow: AllowedRequests | None
    limits: LimitsUse | None
    expires_at: str | None


async def me_of(ctx: RequestContext, quotas: Quotas) -> Me:
    """What a caller is shown about itself."""
    principal = ctx.principal
    only = principal.restrictions
    return Me(
        principal=principal.name,
        owner=principal.owner,
        own_group=principal.group,
        own_only=principal.own_only,
        view="full" if principal.view is None else "public",
        scopes=sorted(principal.permissions),
        providers=_sorted(only.providers),
        kinds=_sorted(only.kinds),
        provider_scopes=_sorted(only.scopes),
        allow=None if principal.allowance is None else _allowed(principal.allowance),
        limits=None if principal.limits is None else await _limits(principal.limits, ctx, quotas),
        expires_at=instant(principal.expires),
    )


async def _limits(limits: Limits, ctx: RequestContext, quotas: Quotas) -> LimitsUse:
    running, runtimes = (await quotas.used(ctx.principal) if limits.has_places else None) or (None, None)
    return LimitsUse(
        requests=_rate(ctx),
        running=None if limits.running is None else LimitUse(value=limits.running, used=running),
        runtimes=None if limits.runtimes is None else LimitUse(value=limits.runtimes, used=runtimes),
        connections=None
        if (allowed := quotas.connections_allowed(limits)) is None
        else LimitUse(value=allowed, used=quotas.connections_of(ctx.principal)),
    )


def _rate(ctx: RequestContext) -> RateUse | None:
    if ctx.rate is None:
        return None
    rate, window = ctx.rate
    return RateUse(value=rate.amount, used=min(window.used(rate), rate.amount), seconds=rate.seconds)


def _allowed(allowance: Allowance) -> AllowedRequests:
    return AllowedRequests(
        profile_ids=allowance.listed(ReferenceKind.PROFILE),
        extension_ids=allowance.listed(ReferenceKind.EXTENSION),
        secret_ids=allowance.listed(ReferenceKind.SECRET),
        projects=allowance.listed(ReferenceKind.PROJECT),
        proxy=AllowedProxies(hosts=allowance.listed(ReferenceKind.PROXY_HOST)),
        build_sources=allowance.listed(ReferenceKind.BUILD_SOURCE),
        drivers=_sorted(allowance.drivers),
        resources=ResourceBounds(cpu_cores=allowance.cpu_cores, memory_mb=allowance.memory_mb),
        max_lifetime=allowance.max_lifetime,
    )


def instant(seconds: float | None) -> str | None:
    """A time in seconds since the epoch, as the API shows it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _sorted(values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else sorted(values)
