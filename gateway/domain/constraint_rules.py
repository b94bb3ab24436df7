"""The constraints of limited principals, applied to requests (docs/access.md#constraints)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from gateway.domain.access import Principal
from gateway.domain.config import Resources, RuntimeConfig
from gateway.domain.constraints import Allowance, Reference, ReferenceKind, not_allowed
from gateway.domain.errors import FieldError, PermissionDenied, pointer
from gateway.domain.requests import (
    CreateBrowser,
    CreateDurable,
    CreateRequest,
    EphemeralLaunch,
    ProfileLaunch,
    StartRequest,
)

CreateT = TypeVar("CreateT", bound=CreateRequest)

SHORTEST_LIMIT = 60
"""The smallest ``runtime_limit_seconds``. A shorter maximum lifetime is enforced by the gateway alone."""


def require_allowed(
    principal: Principal,
    request: CreateRequest | StartRequest | RuntimeConfig,
    further: Callable[[Allowance], Iterable[FieldError]] = lambda _allowance: (),
) -> None:
    """Raise :class:`PermissionDenied` with the pointers of everything in a request that the caller's constraints do not
    allow. ``further`` returns the faults that only the provider's adapter knows. A config is at ``#/config``."""
    allowance = principal.allowance
    if allowance is None:
        return
    if isinstance(request, CreateRequest):
        found = list(_of_create(allowance, request))
    elif isinstance(request, StartRequest):
        found = list(_of_start(allowance, request))
    else:
        found = list(_of_config(allowance, request))
    refuse([*found, *further(allowance)])


def require_allowed_project(principal: Principal, project: str, at: str) -> None:
    """Raise :class:`PermissionDenied` at a pointer for a project that the caller's constraints do not allow."""
    if principal.allowance is not None:
        refuse(principal.allowance.refused([Reference(ReferenceKind.PROJECT, project, at)]))


def refuse(faults: Iterable[FieldError]) -> None:
    """Raise :class:`PermissionDenied` with the faults, one for each pointer, if there are any."""
    by_pointer = {fault.pointer: fault for fault in faults}
    if by_pointer:
        errors = list(by_pointer.values())
        raise PermissionDenied(errors[0].detail, errors=errors)


def with_bounds(principal: Principal, request: CreateT, *, limits: bool) -> CreateT:
    """The create with what the caller's constraints fill in: the time limit, where ``limits`` says that the provider
    has one, and a driver."""
    allowance, values = principal.allowance, dict[str, Any]()
    if allowance is None:
        return request
    if limits and isinstance(request, CreateDurable) and not request.sent("runtime_limit_seconds"):
        values["runtime_limit_seconds"] = limit_of(allowance)
    if isinstance(request, CreateBrowser) and not request.sent("driver") and allowance.drivers:
        values["driver"] = min(allowance.drivers)
    values = {name: value for name, value in values.items() if value is not None}
    return request.model_copy(update=values) if values else request


def start_with_bounds(principal: Principal, request: StartRequest) -> StartRequest:
    """The start with the caller's maximum lifetime as its limit, if it has none."""
    limit = limit_of(principal.allowance)
    if limit is None or request.runtime_limit_seconds is not None:
        return request
    return request.model_copy(update={"runtime_limit_seconds": limit})


def limit_of(allowance: Allowance | None) -> int | None:
    """The maximum lifetime as a provider's time limit."""
    longest = None if allowance is None else allowance.max_lifetime
    return None if longest is None else max(longest, SHORTEST_LIMIT)


def lifetime_faults(allowance: Allowance, seconds: float | None, at: str) -> Iterator[FieldError]:
    """The fault of a time limit that is longer than the maximum lifetime."""
    longest = allowance.max_lifetime
    if seconds is not None and longest is not None and seconds > longest:
        yield not_allowed(f"The caller's runtimes may live for at most {longest} seconds.", at)


def _of_create(allowance: Allowance, request: CreateRequest) -> Iterator[FieldError]:
    if isinstance(request, CreateDurable):
        if request.project is not None:
            yield from allowance.refused([Reference(ReferenceKind.PROJECT, request.project, "#/project")])
        limit = request.runtime_limit_seconds if request.sent("runtime_limit_seconds") else None
        yield from lifetime_faults(allowance, limit, "#/runtime_limit_seconds")
        yield from _of_config(allowance, request.config or RuntimeConfig())
    elif isinstance(request, CreateBrowser):
        if allowance.drivers is not None and request.sent("driver") and request.driver not in allowance.drivers:
            allowed = ", ".join(sorted(allowance.drivers))
            yield not_allowed(f"The caller may use only these drivers: {allowed}.", "#/driver")
        if request.sent("launch"):
            yield from allowance.refused(_of_launch(request.launch))


def _of_launch(launch: ProfileLaunch | EphemeralLaunch) -> Iterator[Reference]:
    if isinstance(launch, ProfileLaunch):
        yield Reference(ReferenceKind.PROFILE, launch.profile_id, "#/launch/profile_id")
        return
    for index, extension in enumerate(launch.extension_ids):
        yield Reference(ReferenceKind.EXTENSION, extension, pointer("launch", "extension_ids", index))
    if launch.proxy is not None:
        yield Reference(ReferenceKind.PROXY_HOST, launch.proxy.host, "#/launch/proxy/host")


def _of_start(allowance: Allowance, request: StartRequest) -> Iterator[FieldError]:
    yield from allowance.refused(_secrets(request.secret_ids or (), "secret_ids"))
    yield from lifetime_faults(allowance, request.runtime_limit_seconds, "#/runtime_limit_seconds")


def _of_config(allowance: Allowance, config: RuntimeConfig) -> Iterator[FieldError]:
    """Defaults count as the values that they are. Unknown members are refused where they could be references."""
    source = config.build.source
    if not allowance.permits_source(source.kind, source.ref):
        yield allowance.source_fault("#/config/build/source")
    yield from allowance.refused(_secrets(config.secrets.secret_ids, "config", "secrets", "secret_ids"))
    unknown: list[tuple[str, ...]] = [("build", "source", name) for name in source.model_extra or ()]
    unknown += [("secrets", name) for name in config.secrets.model_extra or ()]
    if allowance.cpu_cores is not None or allowance.memory_mb is not None:
        yield from _of_resources(allowance, config.resources)
        unknown += [("resources", name) for name in config.resources.model_extra or ()]
    for path in unknown:
        yield not_allowed("The caller may not send unknown members here.", pointer("config", *path))
    timeout = config.sandbox.timeout_seconds
    yield from lifetime_faults(allowance, timeout, "#/config/sandbox/timeout_seconds")


def _of_resources(allowance: Allowance, resources: Resources) -> Iterator[FieldError]:
    for name, bound in (("cpu_cores", allowance.cpu_cores), ("memory_mb", allowance.memory_mb)):
        value = getattr(resources, name)
        if bound is not None and value > bound:
            detail = (
                f"The caller may use at most {bound}; without a value it is {Resources.model_fields[name].default}."
            )
            yield not_allowed(detail, pointer("config", "resources", name))


def _secrets(ids: Iterable[str], *at: str) -> Iterator[Reference]:
    for index, secret in enumerate(ids):
        yield Reference(ReferenceKind.SECRET, secret, pointer(*at, index))
