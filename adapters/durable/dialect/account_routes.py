"""Look-ups that the durable API's clients make besides runtimes: users, organizations, workspaces, projects, logs.

All data is read from the provider. If a rule of the settings maps the requested scope to another one, responses show
the requested keys, so that a client which follows them stays in its scope. Data about the account is returned without
the members whose names indicate secrets, because the account belongs to the gateway and not to the caller.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from adapters.durable import wire
from adapters.durable.adapter import DurableAdapter
from adapters.durable.calls import FIND_PAGES, MAX_LIMIT
from adapters.durable.dialect.bodies import in_native_names, parse_project
from adapters.durable.dialect.forwarding import API, accounts, durable, json_response, read, read_alone, target_of
from adapters.durable.mapping import encode
from gateway.domain.constraint_rules import require_allowed_project
from gateway.domain.errors import GatewayError, NotFound, PermissionDenied, ProviderBadResponse
from gateway.domain.pages import ListFilter, ProviderQuery, UnreadableRow
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation, Permission, State
from gateway.ports.context import RequestContext
from gateway.ports.dialect import Dialect, DialectAnswer, DialectRequest, DialectRoute, DialectTarget, View
from gateway.ports.redaction import without_secrets
from gateway.ports.transport import Call

_ORG: Final = "/api/v1/org/{org}"
_WORKSPACE: Final = _ORG + "/ws/{workspace}"


def _shown(document: Any) -> DialectAnswer:
    """The response without secrets. Raises :class:`ProviderBadResponse` for a document that is nested too deeply."""
    try:
        return json_response(without_secrets(document))
    except RecursionError as exc:
        raise ProviderBadResponse("The provider sent a document that is nested too deeply.") from exc


async def get_user(dialect: Dialect, _request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The user of the gateway's first account that responds.

    Every command of ``dn`` reads the user first, so one unavailable account must not fail commands for workspaces of
    another. Raises the first account's error when all accounts fail.
    """
    failed: GatewayError | None = None
    for adapter in distinct_accounts(dialect, ctx):
        try:
            _, found = await read_alone(dialect.gateway, adapter, adapter.calls.user_path, ctx)
        except GatewayError as error:
            failed = failed or error
        else:
            return _shown(found)
    raise failed or _no_provider()


async def list_organizations(dialect: Dialect, _request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The organizations that a provider of this gateway serves."""
    shown: dict[str, Any] = {}
    for adapter in accounts(dialect.gateway, ctx):
        path = adapter.calls.path("user", "organizations")
        _, found = await read_alone(dialect.gateway, adapter, path, ctx, decode=wire.any_objects.decode)
        pinned = adapter.settings.scope
        served = found if pinned is None else [org for org in found if org.get("key") == _org_of(pinned)]
        for org in served:
            shown.setdefault(str(org.get("key")), org)
    return _shown(list(shown.values()))


async def list_secrets(dialect: Dialect, _request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The stored secrets of the gateway's only account, with values masked by the provider.

    Raises :class:`PermissionDenied` for a caller that sees only its own runtimes, and :class:`NotFound` when there are
    several accounts: the path names no scope, so a caller could send the id of one account's secret to another.
    """
    _require_whole_account(ctx)
    known = distinct_accounts(dialect, ctx)
    if len(known) > 1:
        raise NotFound("This gateway has several accounts, and secrets belong to one; name them by secrets.secret_ids.")
    for adapter in known:
        path = adapter.calls.path("user", "secrets")
        _, found = await read_alone(dialect.gateway, adapter, path, ctx, decode=wire.stored_secrets.decode)
        return json_response(found)
    raise _no_provider()


async def get_organization(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    requested = request.parameters["org"]
    adapter, org = next(serving(dialect, requested, ctx))
    _, found = await read_alone(dialect.gateway, adapter, adapter.calls.path("org", org), ctx)
    return _shown({**found, "key": requested})


async def list_workspaces(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The served workspaces of an organization: those named in the settings, and those that an open provider lists.

    Raises :class:`NotFound` when no provider serves the organization.
    """
    org = request.parameters["org"]
    shown: dict[str, Any] = {}
    for target in _targets(dialect, org, ctx):
        adapter, (_, name) = durable(target.adapter), target.asked_scope.split("/", 1)
        _, found = await read_alone(dialect.gateway, adapter, adapter.calls.workspace_path(target.scope), ctx)
        shown[name] = {**found, "key": name}
    open_one = _open(dialect, org, ctx)
    if open_one is not None:
        path = open_one.calls.path("org", org, "ws")
        _, listed = await read_alone(dialect.gateway, open_one, path, ctx, decode=wire.workspaces)
        for found in listed:
            shown.setdefault(str(found.get("key")), found)
    elif not shown:
        raise _not_served(org)
    return _shown(list(shown.values()))


async def get_workspace(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    _, found = await _read_below(dialect, request, ctx)
    return _shown({**found, "key": request.parameters["workspace"]})


async def list_projects(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The projects of a workspace, as a bare array."""
    answer, _ = await _read_below(dialect, request, ctx, "projects", decode=wire.any_objects.decode)
    return answer


async def get_project(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    answer, _ = await _read_below(dialect, request, ctx, "projects", request.parameters["project"])
    return answer


async def create_project(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """Create a project. Limits and metrics count it as an upstream ``create``."""
    target = _target(dialect, request, ctx)
    adapter, project = durable(target.adapter), parse_project(request.body)
    require_allowed_project(ctx.principal, project.key or project.name, "#/key")
    body = encode(project.sent_fields(), "#")
    try:
        async with dialect.gateway.call_scope(adapter, Operation.CREATE, ctx) as call:
            path = adapter.calls.workspace_path(target.scope, "projects")
            response = await adapter.calls.send(Operation.CREATE, "POST", path, call, body=body)
            adapter.calls.decoded(Operation.CREATE, response, wire.any_object.decode)
    except GatewayError as error:
        raise in_native_names(error) from error.__cause__
    return DialectAnswer(response.status, response.body)


async def get_logs(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The logs of a sandbox.

    The path names no workspace, so the accounts of the organization are queried in turn, each as :func:`may_see`
    permits. Raises :class:`NotFound` when no account has it.
    """
    org, sandbox = request.parameters["org"], request.parameters["sandbox"]
    missing: NotFound | None = None
    for adapter, provider_org in serving(dialect, org, ctx):
        path = adapter.calls.path("org", provider_org, "sandboxes", sandbox, "logs")
        try:
            async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                if await may_see(dialect, adapter, provider_org, sandbox, ctx, call):
                    answer, _ = await read(adapter, path, call)
                    return answer
        except NotFound as error:
            missing = missing or error
    raise missing or NotFound("Sandbox not found")


LOOKUPS: Final = (
    DialectRoute("GET", "/api/v1/user", "get_user", get_user),
    DialectRoute("GET", "/api/v1/user/organizations", "list_organizations", list_organizations),
    DialectRoute("GET", "/api/v1/user/secrets", "list_secrets", list_secrets),
    DialectRoute("GET", _ORG, "get_organization", get_organization),
    DialectRoute("GET", _ORG + "/ws", "list_workspaces", list_workspaces),
    DialectRoute("GET", _WORKSPACE, "get_workspace", get_workspace),
    DialectRoute("GET", _WORKSPACE + "/projects", "list_projects", list_projects),
    DialectRoute("POST", _WORKSPACE + "/projects", "create_project", create_project, permission=Permission.CREATE),
    DialectRoute("GET", _WORKSPACE + "/projects/{project}", "get_project", get_project),
    DialectRoute("GET", _ORG + "/sandboxes/{sandbox}/logs", "get_logs", get_logs),
)
"""The routes of this module."""


def _target(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectTarget:
    return target_of(dialect.gateway, dialect.prefix, request.parameters["org"], request.parameters["workspace"], ctx)


async def _read_below(
    dialect: Dialect,
    request: DialectRequest,
    ctx: RequestContext,
    *segments: str,
    decode: Callable[[bytes], Any] = wire.any_object.decode,
) -> tuple[DialectAnswer, Any]:
    """Read the workspace that the path names, or a resource below it."""
    target = _target(dialect, request, ctx)
    adapter = durable(target.adapter)
    path = adapter.calls.workspace_path(target.scope, *segments)
    return await read_alone(dialect.gateway, adapter, path, ctx, decode=decode)


def distinct_accounts(dialect: Dialect, ctx: RequestContext) -> Collection[DurableAdapter]:
    """One provider per account, the preferred one first."""
    found: dict[tuple[str, str], DurableAdapter] = {}
    for adapter in accounts(dialect.gateway, ctx):
        found.setdefault(_account(adapter), adapter)
    return found.values()


def _targets(dialect: Dialect, org: str, ctx: RequestContext) -> Iterator[DialectTarget]:
    for target in dialect.gateway.targets(ctx, dialect.prefix, API):
        if _org_of(target.asked_scope) == org:
            yield target


def _open(dialect: Dialect, org: str, ctx: RequestContext) -> DurableAdapter | None:
    """The open provider, which serves the scopes without a pinned one; None if the key cannot be an organization's."""
    for adapter in accounts(dialect.gateway, ctx):
        if adapter.settings.scope is None and _is_slug(adapter, org):
            return adapter
    return None


def _is_slug(adapter: DurableAdapter, org: str) -> bool:
    try:
        adapter.parse_scope(f"{org}/any")
    except ValueError:
        return False
    return True


def serving(dialect: Dialect, org: str, ctx: RequestContext) -> Iterator[tuple[DurableAdapter, str]]:
    """The providers that serve an organization, one per account, each with the organization's key at the provider.

    Raises :class:`NotFound` when none does.
    """
    known = [(durable(target.adapter), _org_of(target.scope)) for target in _targets(dialect, org, ctx)]
    open_one = _open(dialect, org, ctx)
    if open_one is not None:
        known.append((open_one, org))
    if not known:
        raise _not_served(org)
    distinct: dict[tuple[str, ...], tuple[DurableAdapter, str]] = {}
    for adapter, provider_org in known:
        distinct.setdefault((*_account(adapter), provider_org), (adapter, provider_org))
    yield from distinct.values()


def _pinned_scopes(dialect: Dialect, adapter: DurableAdapter, org: str, ctx: RequestContext) -> Collection[str] | None:
    """The scopes of an organization to which an account is pinned; None if the account also has an open provider."""
    scopes = [each.settings.scope for each in accounts(dialect.gateway, ctx) if _account(each) == _account(adapter)]
    if None in scopes:
        return None
    return [scope for scope in scopes if scope is not None and _org_of(scope) == org]


async def may_see(
    dialect: Dialect, adapter: DurableAdapter, org: str, sandbox: str, ctx: RequestContext, call: Call
) -> bool:
    """Whether the caller may see a sandbox, if the account has it: of a pinned account only one that a runtime of its
    workspaces has now, and of every account only one of a runtime that the caller may see. Raises as a list does."""
    scopes, view = _pinned_scopes(dialect, adapter, org, ctx), dialect.gateway.view(adapter, ctx)
    if scopes is None and ctx.principal.sees_part:
        _, listed = await read(adapter, adapter.calls.path("org", org, "ws"), call, decode=wire.workspaces)
        scopes = [f"{org}/{found.get('key')}" for found in listed]
    return scopes is None or await _is_in_use(adapter, scopes, sandbox, view, call)


async def _is_in_use(adapter: DurableAdapter, scopes: Iterable[str], sandbox: str, view: View, call: Call) -> bool:
    """Whether a runtime of one of the workspaces that the caller may see has this sandbox now.

    Raises :class:`ProviderBadResponse` when it is not found and a list does not end within ``FIND_PAGES`` pages, or has
    unreadable rows without a partial view, because that does not prove that it is unused.
    """
    view.require_current()
    wanted = ListFilter(states=frozenset({State.RUNNING, State.PAUSED}), visible=view.sees)
    unreadable: UnreadableRow | None = None
    for scope in scopes:
        cursor = None
        for _ in range(FIND_PAGES):
            page = await adapter.list(ProviderQuery(scope=scope, filter=wanted, limit=MAX_LIMIT, cursor=cursor), call)
            if any(sandbox in _sandboxes(runtime) for runtime in page.items):
                return True
            unreadable = next(iter(page.unreadable), unreadable)
            cursor = page.next_cursor
            if cursor is None:
                break
        else:
            raise ProviderBadResponse(f"The list of {scope} did not end within {FIND_PAGES} pages.")
    if unreadable is not None and not view.partial:
        raise ProviderBadResponse(f"An unreadable row may have this sandbox: {unreadable.pointer}.")
    return False


def _sandboxes(runtime: Runtime) -> Collection[str | None]:
    instance = runtime.durable.instance if runtime.durable is not None else None
    return () if instance is None else (instance.provider_instance_id, instance.id)


def _account(adapter: DurableAdapter) -> tuple[str, str]:
    return adapter.settings.base_url, adapter.settings.token.get_secret_value()


def _org_of(scope: str) -> str:
    return scope.partition("/")[0]


def _require_whole_account(ctx: RequestContext) -> None:
    if ctx.principal.own_only:
        raise PermissionDenied("A caller that sees only its own runtimes cannot use what belongs to the whole account.")


def _no_provider() -> NotFound:
    return NotFound("This gateway has no provider of this API.")


def _not_served(org: str) -> NotFound:
    return NotFound(f"No provider of this gateway serves {org}.")
