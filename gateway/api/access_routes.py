"""The routes of ``/v1/keys`` and ``/v1/principals``, as in :mod:`gateway.api.routes`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from gateway.api.access_handlers import KEY_PARAMETERS, AccessHandlers
from gateway.api.documented_errors import ANY_CALL, BODY, Errors
from gateway.api.queries import QueryParameter
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.access import Permission
from gateway.domain.key_requests import CreateKey, RotateKey
from gateway.domain.requests import NoOptions
from gateway.domain.validation import Input
from gateway.ports.context import RequestContext
from gateway.services.access.views import ApiKey, ApiKeys, PrincipalList, PrincipalView

_ABSENT: Final = (errors.NotFound, errors.StateConflict)


def _route(
    method: str,
    path: str,
    operation_id: str,
    summary: str,
    handler: Callable[[Any, web.Request, RequestContext], Awaitable[web.Response]],
    successes: Mapping[int, Success],
    ends: Errors = (),
    *,
    description: str = "",
    bodies: tuple[type[Input], ...] = (),
    body_required: bool = False,
    parameters: tuple[QueryParameter, ...] = (),
) -> Route:
    return Route(
        method=method,
        path=path,
        operation_id=operation_id,
        permission=Permission.ADMIN,
        summary=summary,
        description=description,
        handler=handler,
        successes=successes,
        bodies=bodies,
        body_required=body_required,
        parameters=parameters,
        errors=(*ANY_CALL, errors.InternalError, *(BODY if bodies else ()), *ends),
        tag="access",
    )


ACCESS_ROUTES: Final = (
    _route(
        "POST",
        "/v1/keys",
        "createKey",
        "Make a key for a principal",
        AccessHandlers.create_key,
        {201: Success("The key with its text, which is not stored and never shown again.", ApiKey)},
        (errors.AlreadyExists, errors.StateConflict, errors.QuotaExceeded),
        description="template makes the principal if there is none of this name, with the rights of a principal of the "
        "settings, also after these have changed. Repeating the call makes another key: if a response is lost, revoke "
        "the key that GET /v1/keys shows.",
        bodies=(CreateKey,),
        body_required=True,
    ),
    _route(
        "GET",
        "/v1/keys",
        "listKeys",
        "List the keys, without their texts",
        AccessHandlers.list_keys,
        {200: Success("All keys, or those of a principal. Those of the settings come first.", ApiKeys)},
        parameters=KEY_PARAMETERS,
    ),
    _route(
        "DELETE",
        "/v1/keys/{id}",
        "revokeKey",
        "Revoke a key",
        AccessHandlers.revoke_key,
        {204: Success("Revoked.")},
        _ABSENT,
    ),
    _route(
        "POST",
        "/v1/keys/{id}/rotate",
        "rotateKey",
        "Replace a key by a new one",
        AccessHandlers.rotate_key,
        {201: Success("The new key with its text. The old one ends after overlap seconds.", ApiKey)},
        _ABSENT,
        bodies=(RotateKey,),
    ),
    _route(
        "GET",
        "/v1/principals",
        "listPrincipals",
        "List the principals",
        AccessHandlers.list_principals,
        {200: Success("All principals, by name.", PrincipalList)},
    ),
    _route(
        "DELETE",
        "/v1/principals/{name}",
        "deletePrincipal",
        "Delete a principal that was made by the API, and its keys",
        AccessHandlers.delete_principal,
        {204: Success("Deleted. Its runtimes continue, and keep their owner.")},
        _ABSENT,
    ),
    _route(
        "POST",
        "/v1/principals/{name}/disable",
        "disablePrincipal",
        "Refuse all keys of a principal",
        AccessHandlers.disable_principal,
        {200: Success("The principal afterwards.", PrincipalView)},
        _ABSENT,
        bodies=(NoOptions,),
    ),
    _route(
        "POST",
        "/v1/principals/{name}/enable",
        "enablePrincipal",
        "Accept the keys of a disabled principal again",
        AccessHandlers.enable_principal,
        {200: Success("The principal afterwards.", PrincipalView)},
        _ABSENT,
        bodies=(NoOptions,),
    ),
)
