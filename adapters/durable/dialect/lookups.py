"""What the durable API's clients ask before and beside runtimes: users, organizations, workspaces, projects, logs.

All of it is read from the provider. A scope that a rule of the settings leads somewhere else is shown under the keys
that it was asked for, so that a client which follows what it reads stays in it. What tells of the account is shown
without what its names tell to be secrets: the account is the gateway's, not the caller's.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from adapters.durable import wire
from adapters.durable.adapter import DurableAdapter
from adapters.durable.dialect.bodies import in_native_names, parse_project
from adapters.durable.dialect.forwarding import API, accounts, answered, durable, read, workspace
from adapters.durable.listing import FIND_PAGES, MAX_LIMIT
from adapters.durable.mapping import encode
from gateway.domain.errors import GatewayError, NotFound, ProviderBadResponse
from gateway.domain.operations import Operation
from gateway.domain.pages import ListFilter, ProviderQuery, UnreadableRow
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.context import RequestContext
from gateway.ports.dialect import Dialect, DialectAnswer, DialectRequest, DialectRoute, DialectTarget
from gateway.ports.redaction import without_secrets
from gateway.ports.transport import Call

_ORG: Final = "/api/v1/org/{org}"
_WORKSPACE: Final = _ORG + "/ws/{workspace}"


async def get_user(dialect: Dialect, _request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The user of the gateway's first account that answers: every command of ``dn`` asks for it, also those for the
    workspace of another account."""
    failed: GatewayError | None = None
    for adapter in _distinct(dialect):
        try:
            async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                _, found = await read(adapter, adapter.calls.user_path, call)
        except GatewayError as error:
            failed = failed or error
        else:
            return answered(without_secrets(found))
    raise failed or _no_provider()


async def list_organizations(dialect: Dialect, _request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The organizations in which a provider of this gateway serves."""
    shown: dict[str, Any] = {}
    for adapter in accounts(dialect.gateway):
        async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
            path = adapter.calls.path("user", "organizations")
            _, found = await read(adapter, path, call, decode=wire.any_objects.decode)
        pinned = adapter.settings.scope
        served = found if pinned is None else [org for org in found if org.get("key") == _org_of(pinned)]
        for org in served:
            shown.setdefault(str(org.get("key")), org)
    return answered(without_secrets(list(shown.values())))


async def list_secrets(dialect: Dialect, _request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The stored secrets of the gateway's account, masked by the provider. Their path names no scope: over several
    accounts an id of one could be sent to another, so there they are refused."""
    known = _distinct(dialect)
    if len(known) > 1:
        raise NotFound("This gateway has several accounts, and secrets belong to one; name them by secrets.secret_ids.")
    for adapter in known:
        async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
            _, found = await read(
                adapter, adapter.calls.path("user", "secrets"), call, decode=wire.stored_secrets.decode
            )
        return answered(found)
    raise _no_provider()


async def get_organization(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """An organization in which a provider serves."""
    asked = request.parameters["org"]
    adapter, org = next(_serving(dialect, asked))
    async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
        _, found = await read(adapter, adapter.calls.path("org", org), call)
    return answered(without_secrets({**found, "key": asked}))


async def list_workspaces(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The workspaces of an organization that are served: those that are named in the settings, and those that an
    open provider shows."""
    asked = request.parameters["org"]
    shown: dict[str, Any] = {}
    for target in _targets(dialect, asked):
        adapter, (_, name) = durable(target.adapter), target.asked_scope.split("/", 1)
        async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
            _, found = await read(adapter, adapter.calls.workspace_path(target.scope), call)
        shown[name] = {**found, "key": name}
    open_one = _open(dialect, asked)
    if open_one is not None:
        async with dialect.gateway.call_scope(open_one, Operation.GET, ctx) as call:
            path = open_one.calls.path("org", asked, "ws")
            _, listed = await read(open_one, path, call, decode=wire.workspaces)
        for found in listed:
            shown.setdefault(str(found.get("key")), found)
    elif not shown:
        raise _nobody(asked)
    return answered(without_secrets(list(shown.values())))


async def get_workspace(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """A workspace that is served."""
    target, asked = _workspace(dialect, request, ctx), request.parameters["workspace"]
    adapter = durable(target.adapter)
    async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
        _, found = await read(adapter, adapter.calls.workspace_path(target.scope), call)
    return answered(without_secrets({**found, "key": asked}))


async def list_projects(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The projects of a workspace, a bare array."""
    target = _workspace(dialect, request, ctx)
    adapter = durable(target.adapter)
    async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
        path = adapter.calls.workspace_path(target.scope, "projects")
        answer, _ = await read(adapter, path, call, decode=wire.any_objects.decode)
    return answer


async def get_project(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """A project, by key or UUID."""
    target = _workspace(dialect, request, ctx)
    adapter = durable(target.adapter)
    async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
        path = adapter.calls.workspace_path(target.scope, "projects", request.parameters["project"])
        answer, _ = await read(adapter, path, call)
    return answer


async def create_project(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """Make a project. To limits and metrics it is work of the kind ``create``."""
    target = _workspace(dialect, request, ctx)
    adapter, project = durable(target.adapter), parse_project(request.body)
    body = encode({field: getattr(project, field) for field in sorted(project.model_fields_set)}, "#")
    try:
        async with dialect.gateway.call_scope(adapter, Operation.CREATE, ctx) as call:
            path = adapter.calls.workspace_path(target.scope, "projects")
            response = await adapter.calls.send(Operation.CREATE, "POST", path, call, body=body)
            adapter.calls.decoded(Operation.CREATE, response, wire.any_object.decode)
    except GatewayError as error:
        raise in_native_names(error) from error.__cause__
    return DialectAnswer(response.status, response.body)


async def get_logs(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
    """The logs of a sandbox. The path names no workspace: the accounts of the organization are asked in turn, each only
    for sandboxes of the workspaces that it serves."""
    org, sandbox = request.parameters["org"], request.parameters["sandbox"]
    missing: NotFound | None = None
    for adapter, there in _serving(dialect, org):
        path = adapter.calls.path("org", there, "sandboxes", sandbox, "logs")
        scopes = _pinned_scopes(dialect, adapter, there)
        try:
            async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                if scopes is None or await _is_in_use(adapter, scopes, sandbox, call):
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
    DialectRoute("POST", _WORKSPACE + "/projects", "create_project", create_project),
    DialectRoute("GET", _WORKSPACE + "/projects/{project}", "get_project", get_project),
    DialectRoute("GET", _ORG + "/sandboxes/{sandbox}/logs", "get_logs", get_logs),
)
"""The routes of this module."""


def _workspace(dialect: Dialect, request: DialectRequest, ctx: RequestContext) -> DialectTarget:
    return workspace(dialect.gateway, dialect.prefix, request.parameters["org"], request.parameters["workspace"], ctx)


def _distinct(dialect: Dialect) -> Collection[DurableAdapter]:
    """One provider of each account, in the order in which they are preferred."""
    found: dict[tuple[str, str], DurableAdapter] = {}
    for adapter in accounts(dialect.gateway):
        found.setdefault(_account(adapter), adapter)
    return found.values()


def _targets(dialect: Dialect, org: str) -> Iterator[DialectTarget]:
    for target in dialect.gateway.targets(dialect.prefix, API):
        if _org_of(target.asked_scope) == org:
            yield target


def _open(dialect: Dialect, org: str) -> DurableAdapter | None:
    """The provider that serves what no provider is pinned to, if the organization's key can be one."""
    for adapter in accounts(dialect.gateway):
        if adapter.settings.scope is None and _is_slug(adapter, org):
            return adapter
    return None


def _is_slug(adapter: DurableAdapter, org: str) -> bool:
    try:
        adapter.parse_scope(f"{org}/any")
    except ValueError:
        return False
    return True


def _serving(dialect: Dialect, org: str) -> Iterator[tuple[DurableAdapter, str]]:
    """Who serves in an organization, each account once, and what the organization is called there.

    Raises :class:`NotFound` where nobody does.
    """
    known = [(durable(target.adapter), _org_of(target.scope)) for target in _targets(dialect, org)]
    open_one = _open(dialect, org)
    if open_one is not None:
        known.append((open_one, org))
    if not known:
        raise _nobody(org)
    distinct: dict[tuple[str, ...], tuple[DurableAdapter, str]] = {}
    for adapter, there in known:
        distinct.setdefault((*_account(adapter), there), (adapter, there))
    yield from distinct.values()


def _pinned_scopes(dialect: Dialect, adapter: DurableAdapter, org: str) -> Collection[str] | None:
    """The workspaces of an organization in which an account serves; None where it serves all of them."""
    scopes = [each.settings.scope for each in accounts(dialect.gateway) if _account(each) == _account(adapter)]
    if None in scopes:
        return None
    return [scope for scope in scopes if scope is not None and _org_of(scope) == org]


async def _is_in_use(adapter: DurableAdapter, scopes: Iterable[str], sandbox: str, call: Call) -> bool:
    """Whether a runtime of one of the workspaces has this sandbox now.

    Raises :class:`ProviderBadResponse` where their lists do not end, or have rows that cannot be read: that proves
    nothing.
    """
    wanted = ListFilter(states=frozenset({State.RUNNING, State.PAUSED}))
    unclear: UnreadableRow | None = None
    for scope in scopes:
        cursor = None
        for _ in range(FIND_PAGES):
            page = await adapter.list(ProviderQuery(scope=scope, filter=wanted, limit=MAX_LIMIT, cursor=cursor), call)
            if any(sandbox in _sandboxes(runtime) for runtime in page.items):
                return True
            unclear = next(iter(page.unreadable), unclear)
            cursor = page.next_cursor
            if cursor is None:
                break
        else:
            raise ProviderBadResponse(f"The list of {scope} did not end within {FIND_PAGES} pages.")
    if unclear is not None:
        raise ProviderBadResponse(f"A row that cannot be read may have this sandbox: {unclear.pointer}.")
    return False


def _sandboxes(runtime: Runtime) -> Collection[str | None]:
    instance = runtime.durable.instance if runtime.durable is not None else None
    return () if instance is None else (instance.provider_instance_id, instance.id)


def _account(adapter: DurableAdapter) -> tuple[str, str]:
    return adapter.settings.base_url, adapter.settings.token.get_secret_value()


def _org_of(scope: str) -> str:
    return scope.partition("/")[0]


def _no_provider() -> NotFound:
    return NotFound("This gateway has no provider of this API.")


def _nobody(org: str) -> NotFound:
    return NotFound(f"No provider of this gateway serves {org}.")
