"""The calls about keys and principals, ``/v1/keys`` and ``/v1/principals``, and their handlers."""

from functools import partial
from typing import Final

from aiohttp import web

from gateway.api.documented_errors import ANY_CALL, BODY
from gateway.api.queries import parse_query, text_parameter
from gateway.api.responses import json_response
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.key_requests import CreateKey, RotateKey
from gateway.domain.requests import NoOptions
from gateway.domain.values import Permission
from gateway.http.bodies import BodyReader
from gateway.ports.context import RequestContext
from gateway.services.access.administration import AccessAdministration, ApiKey, ApiKeys, PrincipalList, PrincipalView

KEY_PARAMETERS: Final = (
    text_parameter("principal", "Only the keys of this principal.", 320, "the name of a principal"),
)
_BY_NAME: Final = {parameter.name: parameter for parameter in KEY_PARAMETERS}


class AccessHandlers:
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


_ABSENT: Final = (errors.NotFound, errors.StateConflict)


_ERRORS: Final = (*ANY_CALL, errors.InternalError)
_route: Final = partial(Route, permission=Permission.ADMIN, tag="access")

ACCESS_ROUTES: Final[tuple[Route, ...]] = (
    _route(
        method="POST",
        path="/v1/keys",
        operation_id="createKey",
        summary="Make a key for a principal",
        description="template makes the principal if there is none of this name, with the rights of a principal of the "
        "settings, also after these have changed. Repeating the call makes another key: if a response is lost, revoke "
        "the key that GET /v1/keys shows.",
        handler=AccessHandlers.create_key,
        bodies=(CreateKey,),
        body_required=True,
        successes={201: Success("The key with its text, which is not stored and never shown again.", ApiKey)},
        errors=(*_ERRORS, *BODY, errors.AlreadyExists, errors.StateConflict, errors.QuotaExceeded),
    ),
    _route(
        method="GET",
        path="/v1/keys",
        operation_id="listKeys",
        summary="List the keys, without their texts",
        handler=AccessHandlers.list_keys,
        parameters=KEY_PARAMETERS,
        successes={200: Success("All keys, or those of a principal. Those of the settings come first.", ApiKeys)},
        errors=_ERRORS,
    ),
    _route(
        method="DELETE",
        path="/v1/keys/{id}",
        operation_id="revokeKey",
        summary="Revoke a key",
        handler=AccessHandlers.revoke_key,
        successes={204: Success("Revoked.")},
        errors=(*_ERRORS, *_ABSENT),
    ),
    _route(
        method="POST",
        path="/v1/keys/{id}/rotate",
        operation_id="rotateKey",
        summary="Replace a key by a new one",
        handler=AccessHandlers.rotate_key,
        bodies=(RotateKey,),
        successes={201: Success("The new key with its text. The old one ends after overlap seconds.", ApiKey)},
        errors=(*_ERRORS, *BODY, *_ABSENT),
    ),
    _route(
        method="GET",
        path="/v1/principals",
        operation_id="listPrincipals",
        summary="List the principals",
        handler=AccessHandlers.list_principals,
        successes={200: Success("All principals, by name.", PrincipalList)},
        errors=_ERRORS,
    ),
    _route(
        method="DELETE",
        path="/v1/principals/{name}",
        operation_id="deletePrincipal",
        summary="Delete a principal that was made by the API, and its keys",
        handler=AccessHandlers.delete_principal,
        successes={204: Success("Deleted. Its runtimes continue, and keep their owner.")},
        errors=(*_ERRORS, *_ABSENT),
    ),
    _route(
        method="POST",
        path="/v1/principals/{name}/disable",
        operation_id="disablePrincipal",
        summary="Refuse all keys of a principal",
        handler=AccessHandlers.disable_principal,
        bodies=(NoOptions,),
        successes={200: Success("The principal afterwards.", PrincipalView)},
        errors=(*_ERRORS, *BODY, *_ABSENT),
    ),
    _route(
        method="POST",
        path="/v1/principals/{name}/enable",
        operation_id="enablePrincipal",
        summary="Accept the keys of a disabled principal again",
        handler=AccessHandlers.enable_principal,
        bodies=(NoOptions,),
        successes={200: Success("The principal afterwards.", PrincipalView)},
        errors=(*_ERRORS, *BODY, *_ABSENT),
    ),
)
