"""The dialect of the workspaces API: ``/bctrl/v1/workspaces/{id}/runtimes``.

Only ``bctrl`` providers serve it. Responses are the provider's own JSON. Where the settings map a workspace to another
one, ``workspaceId`` shows the workspace that the caller named.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from adapters.bctrl.adapter import BctrlAdapter
from adapters.bctrl.dialect.bodies import NATIVE_CODE, native_fault, read_create
from adapters.bctrl.dialect.errors import VERSION_HEADER, failure_of
from adapters.bctrl.dialect.moved import act, is_of_api, list_left_behind, whole_list
from adapters.bctrl.wire import Kind
from gateway.domain.errors import FieldError, GatewayError, InvalidRequest, NotFound, RuntimeReplaced
from gateway.domain.ids import RuntimeRef
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation, Permission
from gateway.ports.context import RequestContext
from gateway.ports.dialect import Dialect, DialectAnswer, DialectRequest, DialectRoute, DialectTarget, Moved, View
from gateway.ports.transport import Call

PREFIX: Final = "bctrl"
ERA: Final = "workspaces"

_RUNTIMES: Final = "/v1/workspaces/{id}/runtimes"
_RAW: Final = msgspec.json.Decoder(dict[str, Any])


class BctrlDialect(Dialect):
    prefix: ClassVar[str] = PREFIX
    families: ClassVar[tuple[str, ...]] = ("/v1/workspaces",)
    fallback: ClassVar[bool] = False

    async def create(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Launch a browser. If the alias has a live runtime, return it when nothing visible differs, else raise 409."""
        create = read_create(request.body)
        target, there = self._locate(request, create.name, ctx)
        if there is not None and not is_of_api(target):  # (it exists, and its API has no equivalent of what may differ)
            return DialectAnswer(200, await act(self.gateway, Operation.GET, there, ctx))
        try:
            made = await self.gateway.create(target, create, ctx)
        except GatewayError as error:
            error.errors = tuple(native_fault(fault) for fault in error.errors)
            raise
        body = made.native
        if body is None:
            body, found_id = await self._forward(Operation.GET, target, ctx, create.name)
            if found_id != made.runtime.provider_id:
                raise RuntimeReplaced(
                    "The alias came to belong to another runtime right after this one was found.",
                    provider=target.adapter.name,
                )
        return _response(body, target)

    async def list_all(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Return all runtimes of a workspace; the API has no pages."""
        try:
            target = self._target(request, ctx)
        except NotFound:
            if not (left := self.gateway.left_behind(request.parameters["id"], Kind.BROWSER, ctx)):
                raise
            return DialectAnswer(200, await list_left_behind(self.gateway, left, ctx))
        since = self.gateway.latest_move()
        body, _ = await self._forward(Operation.LIST, target, ctx)
        return _response(await whole_list(self.gateway, target, body, since, ctx), target)

    async def get(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Return the runtime that has the alias now."""
        return await self._by_alias(Operation.GET, request, ctx)

    async def stop(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Stop the runtime that has the alias now."""
        return await self._by_alias(Operation.STOP, request, ctx)

    def failure(
        self,
        error: GatewayError,
        path: str,  # noqa: ARG002
        headers: Mapping[str, str],
        request_id: str,
    ) -> DialectAnswer:
        return failure_of(error, request_id, nested=VERSION_HEADER in headers)

    async def _by_alias(self, operation: Operation, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        alias = request.parameters["alias"]
        target, there = self._locate(request, alias, ctx)
        _refuse_body(request)
        if there is not None and not is_of_api(target):
            return DialectAnswer(200, await act(self.gateway, operation, there, ctx))
        body, _ = await self._forward(operation, target, ctx, alias)
        return _response(body, target)

    def _locate(self, request: DialectRequest, alias: str, ctx: RequestContext) -> tuple[DialectTarget, Moved | None]:
        """Where the runtime of an alias is, or would be created, and how it has moved there, if it has."""
        try:
            target = self._target(request, ctx)
        except NotFound:
            for there in self.gateway.left_behind(request.parameters["id"], Kind.BROWSER, ctx):
                if there.name in self.gateway.view(there.target.adapter, ctx).addresses(alias):
                    return there.target, there
            raise
        names = self.gateway.view(target.adapter, ctx).addresses(alias)
        moved = self.gateway.moved(target, Kind.BROWSER, "", names, ctx)
        return (target if moved is None else moved.target), moved

    async def _forward(
        self, operation: Operation, target: DialectTarget, ctx: RequestContext, alias: str | None = None
    ) -> tuple[bytes, str | None]:
        adapter: BctrlAdapter = target.adapter  # type: ignore[assignment] # targets are looked up by the API's name
        ctx.scope = target.scope
        view = self.gateway.view(adapter, ctx)
        async with self.gateway.call_scope(adapter, operation, ctx) as call:
            body: bytes | None = None
            runtime: Runtime | None = None
            if alias is not None and view.partial:
                body, runtime = await _read_visible(adapter, target.scope, alias, view, call)
                alias = runtime.name
            if alias is not None:
                known = alias if runtime is None else runtime.provider_id
                await self.gateway.admit_write(RuntimeRef(target.scope, known), alias, call)
            if body is None or operation is not Operation.GET:
                body, runtime = await adapter.native(operation, target.scope, call, alias, view)
            if runtime is not None:
                self.gateway.here(adapter, runtime.provider_id, ctx)
                ctx.runtime_id, ctx.state = runtime.id, runtime.state
        return body, None if runtime is None else runtime.provider_id

    def _target(self, request: DialectRequest, ctx: RequestContext) -> DialectTarget:
        if request.query:
            name = request.query[0][0]
            fault = FieldError("There is no such query parameter here.", "unknown_parameter", parameter=name)
            raise InvalidRequest(f"{name}: {fault.detail}", errors=[fault])
        try:
            return self.gateway.target(ctx, PREFIX, BctrlAdapter.api, request.parameters["id"], ERA)
        except NotFound as exc:
            raise NotFound(exc.detail, extra={NATIVE_CODE: "workspace.not_found"}) from exc

    routes: ClassVar[tuple[DialectRoute, ...]] = (
        DialectRoute("POST", _RUNTIMES, "workspaces_create", create, ERA, Permission.CREATE),
        DialectRoute("GET", _RUNTIMES, "workspaces_list", list_all, ERA),
        DialectRoute("GET", f"{_RUNTIMES}/{{alias}}", "workspaces_get", get, ERA),
        DialectRoute("POST", f"{_RUNTIMES}/{{alias}}/stop", "workspaces_stop", stop, ERA, Permission.LIFECYCLE),
    )


async def _read_visible(adapter: BctrlAdapter, scope: str, alias: str, view: View, call: Call) -> tuple[bytes, Runtime]:
    """Read the runtime that the caller names. Raises :class:`NotFound` also for one that it may not see."""
    view.require_current()
    for address in view.addresses(alias):
        try:
            body, runtime = await adapter.native(Operation.GET, scope, call, address)
        except NotFound:
            continue
        if runtime is not None and view.sees(runtime):
            return body, runtime
    raise NotFound("There is no runtime of this alias.", extra={NATIVE_CODE: "runtime.not_found"})


def _refuse_body(request: DialectRequest) -> None:
    """Raise :class:`InvalidRequest` for a body other than an empty object."""
    if request.body.strip() not in {b"", b"{}"}:
        raise InvalidRequest("This call takes no body.", extra={NATIVE_CODE: "request.invalid"})


def _response(body: bytes, target: DialectTarget) -> DialectAnswer:
    if target.scope == target.asked_scope:
        return DialectAnswer(200, body)
    document = _RAW.decode(body)
    for row in (document, *document.get("runtimes", ())):
        if row.get("workspaceId") == target.scope:
            row["workspaceId"] = target.asked_scope
    return DialectAnswer(200, msgspec.json.encode(document))
