"""The durable API served to its own clients at ``/durable/api/v1/…``: only their base URL and key change.

Requests are checked by the gateway's own rules before a provider is called. Responses are the provider's own JSON, so
no member is lost, except for the marks of owners. With a data plane, addresses and tokens of sandboxes are the
gateway's. If the gateway itself ends an instance earlier than the provider, ``expires_at`` of the instance is that
time. Paths beside the routes below are forwarded only if ``dialects.durable.forward`` lists them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from adapters.durable import wire
from adapters.durable.adapter import DurableAdapter
from adapters.durable.dialect import bodies
from adapters.durable.dialect.account_routes import LOOKUPS, distinct_accounts, may_see, serving
from adapters.durable.dialect.errors import native_error
from adapters.durable.dialect.forwarding import (
    PROLONGING,
    durable,
    find,
    issued_token,
    keep_lifetime,
    list_part,
    moved,
    project_key,
    read_alone,
    shown,
    target_of,
)
from adapters.durable.mapping import capability_body, encode, reference, start_body, unmarked
from gateway.domain.config import RuntimeConfig
from gateway.domain.constraint_rules import require_allowed, start_with_bounds
from gateway.domain.errors import GatewayError, NotFound, OutcomeUnknown
from gateway.domain.ids import RuntimeRef, format_runtime_id
from gateway.domain.requests import CreateDurable
from gateway.domain.values import Operation, is_uuid
from gateway.ports.context import RequestContext
from gateway.ports.dialect import Dialect, DialectAnswer, DialectRequest, DialectRoute, DialectTarget, Forwarded
from gateway.ports.dialect_lists import Parts
from gateway.ports.error_mapping import unreadable
from gateway.ports.native import Rules
from gateway.ports.provider import Created

PRESETS: Final = {
    "reads": (
        "GET /api/v1/org/*/sandboxes/**",
        "GET /api/v1/org/*/capabilities/**",
        "GET /api/v1/org/*/credits/**",
        "GET /api/v1/org/*/ws/*/sessions/**",
    )
}
"""What users of the client need daily beside the routes, by the name of the preset."""

SLASHES: Final = Rules(["* /api/v1/org/*/capabilities/**"])
"""The client encodes the slash in ``ORGANIZATION/NAME`` of a capability."""


async def forwarded(
    dialect: Dialect, segments: Sequence[str], _request: DialectRequest, ctx: RequestContext
) -> Forwarded:
    """Where such a request goes. The runtime in a path has to be one that the caller may see; so has, for a caller that
    sees only a part of the provider, the runtime of a sandbox."""
    _api, _version, *below = segments
    match below:
        case ["org", org, "ws", workspace, *rest]:
            target = target_of(dialect.gateway, dialect.prefix, org, workspace, ctx)
            if of_runtime := rest[:1] == ["runtimes"] and len(rest) > 1:
                target, rest[1] = moved(dialect.gateway, target, rest[1], ctx)
            adapter = durable(target.adapter)
            if of_runtime:
                view = dialect.gateway.view(adapter, ctx)
                async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                    ref, _ = await find(adapter, target.scope, rest[1], view, call)
                ctx.runtime_id = format_runtime_id(adapter.name, adapter.format_reference(ref))
                rest[1] = ref.provider_id
            org, _, workspace = target.scope.partition("/")
            return Forwarded(adapter, ["org", org, "ws", workspace, *rest], of_runtime=of_runtime)
        case ["org", org, "sandboxes", sandbox, *rest] if ctx.principal.sees_part and sandbox != "usage":
            for adapter, known_as in serving(dialect, org, ctx):
                async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                    if await may_see(dialect, adapter, known_as, sandbox, ctx, call):
                        return Forwarded(adapter, ["org", known_as, "sandboxes", sandbox, *rest], of_runtime=True)
            raise NotFound("Sandbox not found")
        case ["org", org, *rest]:
            adapter, org = next(serving(dialect, org, ctx))
            return Forwarded(adapter, ["org", org, *rest])
    found = list(distinct_accounts(dialect, ctx))
    if len(found) != 1:
        raise NotFound("This gateway has no provider of this API, or several accounts there.")
    return Forwarded(found[0], below)


_RUNTIMES: Final = "/api/v1/org/{org}/ws/{workspace}/runtimes"
_RUNTIME: Final = _RUNTIMES + "/{runtime}"
_BINDINGS: Final = _RUNTIME + "/capabilities"


def _forward(method: str, operation: Operation, *below: str) -> DialectRoute:
    """The route of an operation on a runtime whose request has no body and is forwarded as it is."""

    async def handler(dialect: "DurableDialect", request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        return await dialect._on_runtime(operation, method, request, ctx, *below)

    return DialectRoute(method, "/".join((_RUNTIME, *below)), operation, handler)


class DurableDialect(Dialect):
    """Serves the clients of the durable API. A runtime is addressed by its UUID or by its key.

    The handlers raise what the port's gateway and the adapter's calls raise, :class:`ValidationFailed` with the API's
    own field names, and :class:`NotFound`.
    """

    prefix: ClassVar[str] = "durable"
    families: ClassVar[tuple[str, ...]] = ("/",)
    fallback: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Sequence[str]]] = PRESETS
    slashes = SLASHES

    def failure(
        self,
        error: GatewayError,
        path: str,  # noqa: ARG002
        headers: Mapping[str, str],  # noqa: ARG002
        request_id: str,  # noqa: ARG002
    ) -> DialectAnswer:
        return native_error(error)

    def without_connections(self, body: bytes) -> bytes:
        return bodies.without_connections(body)

    async def forwarded(self, segments: Sequence[str], request: DialectRequest, ctx: RequestContext) -> Forwarded:
        return await forwarded(self, segments, request, ctx)

    async def create(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Ensure that a runtime exists: 201 when it was created, 200 when it existed."""
        command, keyed = bodies.parse_create(request.body)
        target = self._target(request, ctx)
        if not keyed:
            command = await self._with_project_key(target, command, ctx)
        try:
            outcome = await self.gateway.create(target, command, ctx)
        except GatewayError as error:
            raise bodies.in_native_names(error) from error.__cause__
        target, _ = moved(self.gateway, target, outcome.runtime.name or "", ctx)
        self.gateway.here(target.adapter, outcome.runtime.provider_id, ctx)
        body = outcome.native or await self._read_created(target, outcome, ctx)
        body = shown(self.gateway, target, wire.any_object.decode(body), body, ctx)
        return DialectAnswer(201 if outcome.created else 200, body)

    async def list_runtimes(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """A page, which is empty only at the end of the list. Runtimes that have moved away follow those of the scope.

        Rows are passed on unchanged, whatever their members hold; a row that is not an object or is nested too deeply
        is omitted. So is one that the caller may not see, and for such a caller a page is filled until the deadline.
        Raises :class:`ProviderBadResponse` after ``EMPTY_PAGES`` empty pages and for a list that would never end.
        """
        query = bodies.parse_list(request.query)
        parts = await Parts.of(self.gateway, self._target(request, ctx), "durable", query, ctx)
        while (answer := await list_part(self.gateway, parts, ctx)) is None:
            parts.advance()
        return answer

    async def replace_config(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Replace the whole config with the document as it was sent."""
        replacement = bodies.parse_config(request.body)
        require_allowed(ctx.principal, replacement.config)
        secrets = tuple(replacement.secret_values())
        return await self._on_runtime(
            Operation.REPLACE_CONFIG, "PUT", request, ctx, "config", config=replacement.config, secrets=secrets
        )

    async def start(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Start a runtime; the response holds the sandbox's token."""
        options = bodies.parse_start(request.body)
        try:
            require_allowed(ctx.principal, options)
            body = start_body(start_with_bounds(ctx.principal, options))
            return await self._on_runtime(Operation.START, "POST", request, ctx, "start", body=body)
        except GatewayError as error:
            raise bodies.in_native_names(error) from error.__cause__

    async def keepalive(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        seconds = bodies.parse_keepalive(request.body).extend_seconds
        body = encode({"extend_seconds": seconds}, "#")
        return await self._on_runtime(Operation.KEEPALIVE, "POST", request, ctx, "keepalive", body=body, extend=seconds)

    async def install_capability(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        body = capability_body(bodies.parse_install(request.body))
        return await self._on_runtime(Operation.INSTALL_CAPABILITY, "POST", request, ctx, "capabilities", body=body)

    async def update_capability(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        body = capability_body(bodies.parse_update(request.body))
        below = ("capabilities", request.parameters["binding"])
        return await self._on_runtime(Operation.UPDATE_CAPABILITY, "PATCH", request, ctx, *below, body=body)

    async def remove_capability(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Uninstall a capability. The response has no body: no client reads one."""
        below = ("capabilities", request.parameters["binding"])
        await self._on_runtime(Operation.REMOVE_CAPABILITY, "DELETE", request, ctx, *below, decode=_anything)
        return DialectAnswer(204, None)

    routes: ClassVar[tuple[DialectRoute, ...]] = (
        DialectRoute("POST", _RUNTIMES, Operation.CREATE, create),
        DialectRoute("GET", _RUNTIMES, Operation.LIST, list_runtimes),
        _forward("GET", Operation.GET),
        _forward("GET", Operation.GET_CONFIG, "config"),
        DialectRoute("PUT", _RUNTIME + "/config", Operation.REPLACE_CONFIG, replace_config),
        DialectRoute("POST", _RUNTIME + "/start", Operation.START, start),
        _forward("POST", Operation.PAUSE, "pause"),
        _forward("POST", Operation.RESUME, "resume"),
        _forward("POST", Operation.RESET, "reset"),
        DialectRoute("POST", _RUNTIME + "/keepalive", Operation.KEEPALIVE, keepalive),
        _forward("GET", Operation.LIST_CAPABILITIES, "capabilities"),
        DialectRoute("POST", _BINDINGS, Operation.INSTALL_CAPABILITY, install_capability),
        _forward("GET", Operation.RESOLVE_CAPABILITIES, "capabilities", "resolved"),
        DialectRoute("PATCH", _BINDINGS + "/{binding}", Operation.UPDATE_CAPABILITY, update_capability),
        DialectRoute("DELETE", _BINDINGS + "/{binding}", Operation.REMOVE_CAPABILITY, remove_capability),
        *LOOKUPS,
    )

    def _target(self, request: DialectRequest, ctx: RequestContext) -> DialectTarget:
        path = request.parameters
        return target_of(self.gateway, self.prefix, path["org"], path["workspace"], ctx)

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
        extend: int = 0,
        config: RuntimeConfig | None = None,
    ) -> DialectAnswer:
        """Forward an operation on the runtime named in the path and return the provider's response.

        Raises :class:`ProviderBadResponse`, after a write :class:`OutcomeUnknown`, when a response that has to hold
        this runtime does not.
        """
        target, named = moved(self.gateway, self._target(request, ctx), request.parameters["runtime"], ctx)
        adapter = durable(target.adapter)
        async with self.gateway.call_scope(adapter, operation, ctx, secrets) as call:
            view = self.gateway.view(adapter, ctx)
            ref, key = await find(adapter, target.scope, named, view, call)
            if not self.gateway.here(adapter, ref.provider_id, ctx):
                raise NotFound("Runtime not found")
            ctx.runtime_id = _public_id(adapter, ref)
            await self.gateway.admit_write(ref, key, call)
            if ctx.principal.prepares_starts and operation in PROLONGING:
                await keep_lifetime(self.gateway, operation, adapter, ref, extend, ctx, call)
            if config is not None:
                body = encode({"config": config.with_mark(view.mark(key)).document}, "#/config")
            path = adapter.calls.runtimes_path(ref.scope, ref.provider_id, *below)
            response = await adapter.calls.send(operation, method, path, call, body=body)
            decoded = adapter.calls.decoded(operation, response, decode)
            if operation in _RETURNS_RUNTIME and str(decoded.get("id")).lower() != ref.provider_id:
                raise unreadable(adapter.name, operation, response)
            token = issued_token(self.gateway, target, ref, response, ctx) if operation is Operation.START else None
        return DialectAnswer(response.status, shown(self.gateway, target, decoded, unmarked(response.body), ctx, token))

    async def _read_created(self, target: DialectTarget, outcome: Created, ctx: RequestContext) -> bytes:
        """The body for a create that was completed without the provider's own response: the runtime, read back.

        Raises :class:`OutcomeUnknown` when it cannot be read.
        """
        adapter = durable(target.adapter)
        try:
            path = adapter.calls.runtimes_path(target.scope, outcome.runtime.provider_id)
            _, runtime = await read_alone(self.gateway, adapter, path, ctx)
        except GatewayError as error:
            raise OutcomeUnknown(
                "The runtime was ensured, but could not be read back.", provider=adapter.name
            ) from error
        return unmarked(encode({**runtime, "created": outcome.created}, "#"))

    async def _with_project_key(
        self, target: DialectTarget, request: CreateDurable, ctx: RequestContext
    ) -> CreateDurable:
        """Add the project's key to a create without a key, which means the project's own runtime.

        The key is always sent: without one the provider may return any runtime of the project.
        """
        project = request.project
        if project is None or is_uuid(project):
            adapter = durable(target.adapter)
            async with self.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                project = await project_key(adapter, target.scope, project, call)
        return bodies.named(request.model_copy(update={"project": project}), project)


_RETURNS_RUNTIME: Final = frozenset(
    {Operation.GET, Operation.START, Operation.PAUSE, Operation.RESUME, Operation.RESET}
)


def _anything(_body: bytes) -> dict[str, Any]:
    return {}


def _public_id(adapter: DurableAdapter, ref: RuntimeRef) -> str:
    pinned = adapter.settings.scope is not None
    return format_runtime_id(adapter.name, reference(ref.scope, ref.provider_id, pinned=pinned))
