"""The handlers of ``/v1/keys`` and ``/v1/principals``."""

from typing import Final

from aiohttp import web

from gateway.api.queries import parse_query, text_parameter
from gateway.api.responses import json_response
from gateway.domain.key_requests import CreateKey, RotateKey
from gateway.domain.requests import NoOptions
from gateway.http.bodies import BodyReader
from gateway.ports.context import RequestContext
from gateway.services.access.administration import AccessAdministration

KEY_PARAMETERS: Final = (
    text_parameter("principal", "Only the keys of this principal.", 320, "the name of a principal"),
)
_BY_NAME: Final = {parameter.name: parameter for parameter in KEY_PARAMETERS}


class AccessHandlers:
    """As :class:`gateway.api.handlers.Handlers`."""

    def __init__(self, administration: AccessAdministration, bodies: BodyReader) -> None:
        self._administration = administration
        self._bodies = bodies

    async def create_key(self, request: web.Request, ctx: RequestContext) -> web.Response:
        wanted = await self._bodies.read(request, CreateKey)
        return json_response(await self._administration.create_key(wanted, ctx), ctx, status=201)

    async def list_keys(self, request: web.Request, ctx: RequestContext) -> web.Response:
        (principal,) = parse_query(request.rel_url.raw_query_string, _BY_NAME).get("principal", [None])
        return json_response(await self._administration.keys(principal), ctx)

    async def revoke_key(self, request: web.Request, ctx: RequestContext) -> web.Response:
        await self._administration.revoke_key(request.match_info["id"], ctx)
        return web.Response(status=204)

    async def rotate_key(self, request: web.Request, ctx: RequestContext) -> web.Response:
        wanted = await self._bodies.read(request, RotateKey)
        return json_response(
            await self._administration.rotate_key(request.match_info["id"], wanted, ctx), ctx, status=201
        )

    async def list_principals(self, _request: web.Request, ctx: RequestContext) -> web.Response:
        return json_response(await self._administration.principals(), ctx)

    async def delete_principal(self, request: web.Request, ctx: RequestContext) -> web.Response:
        await self._administration.delete_principal(request.match_info["name"], ctx)
        return web.Response(status=204)

    async def disable_principal(self, request: web.Request, ctx: RequestContext) -> web.Response:
        return await self._set_disabled(request, ctx, disabled=True)

    async def enable_principal(self, request: web.Request, ctx: RequestContext) -> web.Response:
        return await self._set_disabled(request, ctx, disabled=False)

    async def _set_disabled(self, request: web.Request, ctx: RequestContext, *, disabled: bool) -> web.Response:
        await self._bodies.read(request, NoOptions)
        return json_response(await self._administration.set_disabled(request.match_info["name"], disabled, ctx), ctx)
