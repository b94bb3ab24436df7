"""The durable API spoken inbound, at ``/durable/api/v1/…``: its own clients work with another base URL and key.

What comes in is checked by the gateway's own rules before a provider is called; what goes back is the provider's own
JSON, so that nothing is lost on the way. Only the routes below exist: nothing is forwarded that is not known here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from adapters.durable import wire
from adapters.durable.adapter import DurableAdapter
from adapters.durable.dialect import bodies
from adapters.durable.dialect.errors import native_error
from adapters.durable.dialect.forwarding import durable, read, workspace
from adapters.durable.dialect.lookups import LOOKUPS
from adapters.durable.mapping import capability_body, encode, reference, start_body
from gateway.domain.errors import GatewayError, NotFound, OutcomeUnknown, ProviderBadResponse, ValidationFailed
from gateway.domain.ids import RuntimeRef, format_runtime_id
from gateway.domain.operations import Operation
from gateway.domain.requests import CreateDurable
from gateway.domain.values import is_uuid
from gateway.ports.context import RequestContext
from gateway.ports.dialect import Dialect, DialectAnswer, DialectRequest, DialectRoute, DialectTarget
from gateway.ports.provider import Created
from gateway.ports.rows import PageRead, read_page
from gateway.ports.transport import Call

_RUNTIMES: Final = "/api/v1/org/{org}/ws/{workspace}/runtimes"
_RUNTIME: Final = _RUNTIMES + "/{runtime}"
_BINDINGS: Final = _RUNTIME + "/capabilities"

EMPTY_PAGES: Final = 20
"""How many empty pages in a row are read on for one page: the client takes an empty page for the end."""


class DurableDialect(Dialect):
    """Answers the clients of the durable API. A runtime is addressed by its UUID or by its key.

    Raises of the handlers: what the port's gateway and the adapter's calls raise, :class:`ValidationFailed` with the
    API's own field names, and :class:`NotFound`.
    """

    prefix: ClassVar[str] = "durable"
    families: ClassVar[tuple[str, ...]] = ("/",)
    fallback: ClassVar[bool] = True

    def failure(
        self,
        error: GatewayError,
        path: str,  # noqa: ARG002
        headers: Mapping[str, str],  # noqa: ARG002
        request_id: str,  # noqa: ARG002
    ) -> DialectAnswer:
        return native_error(error)

    async def create(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Ensure a runtime: 201 when it was made, 200 when it was there."""
        wanted, keyed = bodies.parse_create(request.body)
        target = self._target(request, ctx)
        if not keyed:
            wanted = await self._under_its_projects_key(target, wanted, ctx)
        try:
            made = await self.gateway.create(target, wanted, ctx)
        except GatewayError as error:
            raise bodies.in_native_names(error) from error.__cause__
        return DialectAnswer(201 if made.created else 200, made.native or await self._shown(target, made, ctx))

    async def list_runtimes(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """A page. It is empty only where the list ends. Rows are passed on as they came, whatever is in them; one that
        is no object, or nested too deeply, is left out."""
        query = bodies.parse_list(request.query)
        target = self._target(request, ctx)
        adapter = durable(target.adapter)
        async with self.gateway.call_scope(adapter, Operation.LIST, ctx) as call:
            for _ in range(EMPTY_PAGES):
                path = adapter.calls.runtimes_path(target.scope)
                response = await adapter.calls.send(Operation.LIST, "GET", path, call, query=query)
                page = adapter.calls.decoded(Operation.LIST, response, lambda body: _any_page(body, call))
                cursor = page.frame
                if cursor and ("cursor", cursor) in query:
                    raise adapter.calls.bad_response(response, "repeats the cursor of its list")
                if page.items or not cursor:
                    return DialectAnswer(response.status, page.body)
                query = [*(pair for pair in query if pair[0] != "cursor"), ("cursor", cursor)]
            raise adapter.calls.bad_response(response, f"answered {EMPTY_PAGES} empty pages in a row")

    async def get(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """A runtime."""
        return await self._on_runtime(Operation.GET, "GET", request, ctx)

    async def get_config(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Its config."""
        return await self._on_runtime(Operation.GET_CONFIG, "GET", request, ctx, "config")

    async def replace_config(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Replace its config wholesale with the document as it was sent (seed 001)."""
        wanted = bodies.parse_config(request.body)
        body = encode({"config": wanted.config.document}, "#/config")
        secrets = tuple(wanted.secret_values())
        return await self._on_runtime(
            Operation.REPLACE_CONFIG, "PUT", request, ctx, "config", body=body, secrets=secrets
        )

    async def start(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Start it; the answer holds the sandbox's token."""
        body = start_body(bodies.parse_start(request.body))
        try:
            return await self._on_runtime(Operation.START, "POST", request, ctx, "start", body=body)
        except GatewayError as error:
            raise bodies.in_native_names(error) from error.__cause__

    async def pause(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Pause it."""
        return await self._on_runtime(Operation.PAUSE, "POST", request, ctx, "pause")

    async def resume(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Wake it."""
        return await self._on_runtime(Operation.RESUME, "POST", request, ctx, "resume")

    async def reset(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Throw its sandbox away."""
        return await self._on_runtime(Operation.RESET, "POST", request, ctx, "reset")

    async def keepalive(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Push its expiry."""
        body = encode({"extend_seconds": bodies.parse_keepalive(request.body).extend_seconds}, "#")
        return await self._on_runtime(Operation.KEEPALIVE, "POST", request, ctx, "keepalive", body=body)

    async def list_capabilities(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Its bindings."""
        return await self._on_runtime(Operation.LIST_CAPABILITIES, "GET", request, ctx, "capabilities")

    async def install_capability(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Install a capability on it."""
        body = capability_body(bodies.parse_install(request.body))
        return await self._on_runtime(Operation.INSTALL_CAPABILITY, "POST", request, ctx, "capabilities", body=body)

    async def update_capability(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Change one thing of a binding."""
        body = capability_body(bodies.parse_update(request.body))
        below = ("capabilities", request.parameters["binding"])
        return await self._on_runtime(Operation.UPDATE_CAPABILITY, "PATCH", request, ctx, *below, body=body)

    async def remove_capability(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Uninstall one. No client reads the body of the answer, and there is none."""
        below = ("capabilities", request.parameters["binding"])
        await self._on_runtime(Operation.REMOVE_CAPABILITY, "DELETE", request, ctx, *below, decode=_anything)
        return DialectAnswer(204, None)

    async def resolved_capabilities(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """What its enabled bindings resolve to."""
        below = ("capabilities", "resolved")
        return await self._on_runtime(Operation.RESOLVE_CAPABILITIES, "GET", request, ctx, *below)

    routes: ClassVar[tuple[DialectRoute, ...]] = (
        DialectRoute("POST", _RUNTIMES, Operation.CREATE, create),
        DialectRoute("GET", _RUNTIMES, Operation.LIST, list_runtimes),
        DialectRoute("GET", _RUNTIME, Operation.GET, get),
        DialectRoute("GET", _RUNTIME + "/config", Operation.GET_CONFIG, get_config),
        DialectRoute("PUT", _RUNTIME + "/config", Operation.REPLACE_CONFIG, replace_config),
        DialectRoute("POST", _RUNTIME + "/start", Operation.START, start),
        DialectRoute("POST", _RUNTIME + "/pause", Operation.PAUSE, pause),
        DialectRoute("POST", _RUNTIME + "/resume", Operation.RESUME, resume),
        DialectRoute("POST", _RUNTIME + "/reset", Operation.RESET, reset),
        DialectRoute("POST", _RUNTIME + "/keepalive", Operation.KEEPALIVE, keepalive),
        DialectRoute("GET", _BINDINGS, Operation.LIST_CAPABILITIES, list_capabilities),
        DialectRoute("POST", _BINDINGS, Operation.INSTALL_CAPABILITY, install_capability),
        DialectRoute("GET", _BINDINGS + "/resolved", Operation.RESOLVE_CAPABILITIES, resolved_capabilities),
        DialectRoute("PATCH", _BINDINGS + "/{binding}", Operation.UPDATE_CAPABILITY, update_capability),
        DialectRoute("DELETE", _BINDINGS + "/{binding}", Operation.REMOVE_CAPABILITY, remove_capability),
        *LOOKUPS,
    )

    def _target(self, request: DialectRequest, ctx: RequestContext) -> DialectTarget:
        path = request.parameters
        return workspace(self.gateway, self.prefix, path["org"], path["workspace"], ctx)

    async def _on_runtime(
        self,
        operation: Operation,
        method: str,
        request: DialectRequest,
        ctx: RequestContext,
        *below: str,
        body: bytes | None = None,
        secrets: Sequence[str] = (),
        decode: Callable[[bytes], Any] = wire.any_object.decode,
    ) -> DialectAnswer:
        """Forward an operation on the runtime of the path, and answer as the provider does."""
        target = self._target(request, ctx)
        adapter = durable(target.adapter)
        async with self.gateway.call_scope(adapter, operation, ctx, secrets) as call:
            ref = await _find(adapter, target.scope, request.parameters["runtime"], call)
            ctx.runtime_id = _public_id(adapter, ref)
            path = adapter.calls.runtimes_path(ref.scope, ref.provider_id, *below)
            response = await adapter.calls.send(operation, method, path, call, body=body)
            shown = adapter.calls.decoded(operation, response, decode)
            if operation in _ANSWERED_BY_RUNTIMES and str(shown.get("id", ref.provider_id)).lower() != ref.provider_id:
                raise adapter.calls.bad_response(response, "answered with another runtime than the one of the path")
        return DialectAnswer(response.status, response.body)

    async def _shown(self, target: DialectTarget, made: Created, ctx: RequestContext) -> bytes:
        """What a create that did not end with the provider's own answer has led to."""
        adapter = durable(target.adapter)
        try:
            async with self.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                path = adapter.calls.runtimes_path(target.scope, made.runtime.provider_id)
                _, shown = await read(adapter, path, call)
        except GatewayError as error:
            raise OutcomeUnknown(
                "The runtime was ensured, but could not be read back.", provider=adapter.name
            ) from error
        return encode({**shown, "created": made.created}, "#")

    async def _under_its_projects_key(
        self, target: DialectTarget, request: CreateDurable, ctx: RequestContext
    ) -> CreateDurable:
        """A create without a key means the project's own runtime, which has the project's key. The key is always sent,
        since without one the provider may answer with any runtime of the project."""
        project = request.project
        if project is None or is_uuid(project):
            adapter = durable(target.adapter)
            async with self.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                project = await _project_key(adapter, target.scope, project, call)
        return bodies.named(request.model_copy(update={"project": project}), project)


_ANSWERED_BY_RUNTIMES: Final = frozenset(
    {Operation.GET, Operation.START, Operation.PAUSE, Operation.RESUME, Operation.RESET}
)


def _any_page(body: bytes, call: Call) -> PageRead[str | None, dict[str, Any]]:
    def whole(body: bytes) -> tuple[str | None, list[dict[str, Any]]]:
        page = wire.any_page.decode(body)
        return page.next_cursor, page.items

    return read_page(body, call, member=wire.ROWS, name=wire.NAME, whole=whole, row=wire.any_object.decode)


def _anything(_body: bytes) -> dict[str, Any]:
    return {}


async def _find(adapter: DurableAdapter, scope: str, asked: str, call: Call) -> RuntimeRef:
    """The runtime that a path means: a UUID is one, anything else the key of one, the account's own first."""
    if is_uuid(asked):
        return RuntimeRef(scope, asked.lower())
    for runtime in await adapter.find(scope, asked, call):
        return adapter.reference(runtime)
    raise NotFound("Runtime not found")


async def _project_key(adapter: DurableAdapter, scope: str, project: str | None, call: Call) -> str:
    """The key of a project, or of the workspace's default one by the rule of the provider's own client: the one that
    says so or is called so, else the first."""
    if project is not None:
        _, found = await read(adapter, adapter.calls.workspace_path(scope, "projects", project), call)
    else:
        path = adapter.calls.workspace_path(scope, "projects")
        _, known = await read(adapter, path, call, decode=wire.any_objects.decode)
        if not known:
            raise ValidationFailed.at("#/project", "The workspace has no project; name one.", code="required")
        default = (one for one in known if one.get("is_default") or one.get("key") == "default")
        found = next(default, known[0])
    key = found.get("key")
    if not isinstance(key, str) or not key:
        raise ProviderBadResponse(f"The provider {adapter.name} shows a project without a key.", provider=adapter.name)
    return key


def _public_id(adapter: DurableAdapter, ref: RuntimeRef) -> str:
    pinned = adapter.settings.scope is not None
    return format_runtime_id(adapter.name, reference(ref.scope, ref.provider_id, pinned=pinned))
