"""The calls about the connections of a runtime, and their handlers."""

from typing import Final

from aiohttp import web

from gateway.api.documented_errors import COMPUTE_ERRORS, READ_ERRORS
from gateway.api.queries import parse_query, text_parameter
from gateway.api.responses import json_response
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.requests import ConnectRequest
from gateway.domain.runtime import Connections, DataConnections
from gateway.domain.values import Permission
from gateway.http.bodies import BodyReader
from gateway.ports.audit import GatewayAction
from gateway.ports.context import RequestContext
from gateway.services.data_plane.service import DataPlane
from gateway.services.lifecycle import LifecycleService

_PATH: Final = "/v1/runtimes/{id}/connections"

_WHOSE: Final = (
    text_parameter(
        "principal",
        "With admin, whose connections: the name of a principal, or * for all.",
        320,
        "the name of a principal, or *",
    ),
)
_BY_NAME: Final = {parameter.name: parameter for parameter in _WHOSE}


class ConnectionHandlers:
    """As :class:`gateway.api.handlers.Handlers`. Without a data plane, callers get the providers' own addresses."""

    def __init__(self, plane: DataPlane | None, lifecycle: LifecycleService, bodies: BodyReader) -> None:
        self._plane = plane
        self._lifecycle = lifecycle
        self._bodies = bodies

    async def connect(self, request: web.Request, ctx: RequestContext) -> web.Response:
        options = await self._bodies.read(request, ConnectRequest)
        own = self._plane is None and ctx.principal.view is None
        source = self._lifecycle if own else await self._enabled(request, ctx)
        return json_response(await source.connections(request.match_info["id"], options, ctx), ctx)

    async def list_open(self, request: web.Request, ctx: RequestContext) -> web.Response:
        return json_response(await (await self._enabled(request, ctx)).list_open(request.match_info["id"], ctx), ctx)

    async def revoke(self, request: web.Request, ctx: RequestContext) -> web.Response:
        (principal,) = parse_query(request.rel_url.raw_query_string, _BY_NAME).get("principal", [None])
        whose = "" if principal == "*" else principal
        await (await self._enabled(request, ctx)).revoke(request.match_info["id"], whose, ctx)
        ctx.changes = {"principal": principal or ctx.principal.name}
        return web.Response(status=204)

    async def _enabled(self, request: web.Request, ctx: RequestContext) -> DataPlane:
        if self._plane is None:
            await self._lifecycle.get(request.match_info["id"], ctx)  # what the caller may not see is not found
            raise errors.UnsupportedFeature(
                "This gateway returns the providers' own addresses: its data plane is off (data.enabled)."
            )
        return self._plane


CONNECTION_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path=_PATH,
        operation_id="connectRuntime",
        action=GatewayAction.CONNECTION_ISSUED,
        permission=Permission.CONNECT,
        summary="Connection addresses of a running runtime, including secrets",
        handler=ConnectionHandlers.connect,
        bodies=(ConnectRequest,),
        successes={200: Success("All connections, or those of the requested protocol.", Connections)},
        errors=(*COMPUTE_ERRORS, errors.StoreUnavailable),
        tag="verbs",
    ),
    Route(
        method="GET",
        path=_PATH,
        operation_id="listConnections",
        permission=Permission.CONNECT,
        summary="The open connections to a runtime",
        description="Those of the caller, or with admin all, through the data plane of the replica that answers.",
        handler=ConnectionHandlers.list_open,
        successes={200: Success("The open connections, the oldest first.", DataConnections)},
        errors=(*READ_ERRORS, errors.UnsupportedFeature),
        tag="verbs",
    ),
    Route(
        method="DELETE",
        path=_PATH,
        operation_id="revokeConnections",
        permission=Permission.CONNECT,
        summary="Revoke the addresses of a runtime",
        description="The addresses that the caller got before are void, and their connections are closed.",
        handler=ConnectionHandlers.revoke,
        successes={204: Success("They are void.", None)},
        parameters=_WHOSE,
        errors=(*READ_ERRORS, errors.PermissionDenied, errors.UnsupportedFeature, errors.StoreUnavailable),
        tag="verbs",
    ),
)
