"""The OpenAPI 3.1 document, generated from the route table and the models."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, get_args

import msgspec

from gateway import __version__
from gateway.api.access_routes import ACCESS_ROUTES
from gateway.api.audit_routes import AUDIT_ROUTES
from gateway.api.conditions import ENTITY_TAGS
from gateway.api.connection_routes import CONNECTION_ROUTES
from gateway.api.event_streams import EVENT_ROUTES
from gateway.api.openapi_schemas import ref, schemas
from gateway.api.queries import QueryParameter
from gateway.api.route import Route, Success
from gateway.api.routes import V1_ROUTES
from gateway.api.site import PROBE_ROUTES, SITE_ROUTES
from gateway.domain.errors import (
    GatewayError,
    HeadersTooLarge,
    HttpVersionNotSupported,
    InvalidRequest,
    TransferCodingNotSupported,
    Unauthenticated,
    UriTooLong,
)
from gateway.http.access_log import Surface
from gateway.http.problems import CONTENT_TYPE, STATUS

_ACCESS: Final = (*ACCESS_ROUTES, *AUDIT_ROUTES)
ROUTES: Final = (*V1_ROUTES, *CONNECTION_ROUTES, *EVENT_ROUTES, *_ACCESS, *PROBE_ROUTES, *SITE_ROUTES)
"""Every call of the service."""

_DESCRIPTION: Final = (
    "One API in front of every provider of agent runtimes. Responses may gain members, and fields such as state may "
    "gain values: ignore what you do not know. Every response of /v1 from status 400 on is a problem document; act on "
    "its code, and on the status if you do not know the code."
)
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-ID": {
        "description": "The id of this request in the gateway's log; the caller's own if it sent one.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "ETag": {"description": "The entity tag of the response.", "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "true: this response was sent before for the same key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Cache-Status": {
        "description": "Whether the response came from the cache (RFC 9211); absent if there is no cache.",
        "schema": {"type": "string"},
    },
    "Age": {
        "description": "Seconds since the provider was asked; absent if it was asked for this response.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Location": {
        "description": "The path of the runtime, or of the create's intent.",
        "schema": {"type": "string"},
    },
    "Preference-Applied": {
        "description": "The preference that was followed.",
        "schema": {"type": "string", "enum": ["respond-async"]},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
    "Allow": {"description": "The methods that the path supports.", "schema": {"type": "string"}},
}
_PATH_PARAMETERS: Final = {
    "id": "The id of the runtime, intent or key.",
    "binding_id": "The id of a capability binding.",
    "name": "The name.",
    "code": "An error code.",
    "page": "The name of a page.",
}
_REQUEST_HEADERS: Final = {
    "Idempotency-Key": "1 to 255 characters that identify this create: repeating it makes no second runtime.",
    "If-Match": "Entity tags of the states that may be changed, or *. For a stop or reset also the id of a durable "
    "runtime's instance, in double quotes.",
    "Cache-Control": "no-cache or max-age=0: ask the provider. max-age: maximum age of a cached response in seconds.",
    "Prefer": "respond-async: respond with 202 before the work is done, unless the query has wait.",
    "Last-Event-ID": "The id of the last event that the caller received; that state is not sent again.",
    "If-None-Match": "Entity tags that the caller has; 304 if the current one is among them.",
}
_ANY_REQUEST: Final[tuple[type[GatewayError], ...]] = (
    InvalidRequest,
    UriTooLong,
    HeadersTooLarge,
    TransferCodingNotSupported,
    HttpVersionNotSupported,
)
"""Errors that are raised before the route is known."""

_CREATE_EXAMPLES: Final = {
    "durable": {
        "summary": "A durable runtime",
        "value": {
            "kind": "durable",
            "name": "research-agent",
            "labels": {"team": "shop"},
            "config": {"version": "v2", "resources": {"cpu_cores": 4, "memory_mb": 8192}},
        },
    },
    "browser": {
        "summary": "A browser with a proxy",
        "value": {
            "kind": "browser",
            "name": "checkout-bot",
            "driver": "playwright",
            "launch": {
                "mode": "ephemeral",
                "humanize": True,
                "proxy": {"type": "socks5", "host": "proxy.example", "port": 1080},
            },
        },
    },
}


@cache
def openapi_json() -> bytes:
    """The document as it is served."""
    return msgspec.json.encode(openapi_document())


@cache
def openapi_document() -> dict[str, Any]:
    """The document. It is built once and shared: do not modify it."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        for path in (route.path, *route.aliases):
            alias = path != route.path
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, alias=alias)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "runtime-gateway",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in ROUTES)],
        "paths": paths,
        "components": {
            "schemas": schemas(ROUTES),
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A gateway key."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A gateway key."},
            },
        },
    }


def _operation(route: Route, *, alias: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id + ("Alias" if alias else ""),
        "summary": route.summary,
        "tags": [route.tag],
        "security": _security(route),
        "responses": _responses(route),
    }
    if route.description:
        operation["description"] = route.description
    parameters = [*_path_parameters(route), *map(_query_parameter, route.parameters), *_header_parameters(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.bodies:
        operation["requestBody"] = _request_body(route)
    return operation


def _security(route: Route) -> list[dict[str, list[str]]]:
    """The alternatives; an empty one where some listeners need no key."""
    if not route.secured:
        return []
    return [*([{}] if route.surface is Surface.SITE else []), {"bearer": []}, {"apiKey": []}]


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", route.path):
        schema = {"type": "string", "minLength": 1}
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS[name],
            "schema": schema,
        }


def _query_parameter(parameter: QueryParameter) -> dict[str, Any]:
    described = {"name": parameter.name, "in": "query", "description": parameter.description}
    if not parameter.many:
        return {**described, "schema": dict(parameter.schema)}
    schema = {"type": "array", "items": dict(parameter.schema), "minItems": 1}
    return {**described, "schema": schema, "style": "form", "explode": True}


def _header_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in route.request_headers:
        schema = {"type": "string", **({"pattern": ENTITY_TAGS} if name == "If-Match" else {})}
        yield {"name": name, "in": "header", "description": _REQUEST_HEADERS[name], "schema": schema}


def _request_body(route: Route) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": ref(route.bodies[0].__name__)}
    if len(route.bodies) > 1:
        kinds = {get_args(body.model_fields["kind"].annotation)[0]: ref(body.__name__) for body in route.bodies}
        content = {
            "schema": {
                "oneOf": list(kinds.values()),
                "discriminator": {
                    "propertyName": "kind",
                    "mapping": {kind: target["$ref"] for kind, target in kinds.items()},
                },
            },
            "examples": _CREATE_EXAMPLES,
        }
    return {"required": route.body_required, "content": {"application/json": content}}


def _responses(route: Route) -> dict[str, Any]:
    responses = {str(status): _success(success) for status, success in route.successes.items()}
    by_status: dict[int, list[type[GatewayError]]] = {}
    for cls in dict.fromkeys((*route.errors, *_ANY_REQUEST)):
        by_status.setdefault(STATUS[cls], []).append(cls)
    for status in sorted(by_status):
        responses[str(status)] = _failure(by_status[status])
    return responses


def _success(success: Success) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": success.description,
        "headers": _header_references("X-Request-ID", *success.headers),
    }
    if success.models:
        schemas = [ref(model.__name__) for model in success.models]
        response["content"] = {success.media_type: {"schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}}
    elif success.media_type != "application/json":
        response["content"] = {success.media_type: {}}
    return response


def _failure(classes: list[type[GatewayError]]) -> dict[str, Any]:
    codes = " or ".join(f"`{cls.code}`" for cls in classes)
    titles = "; ".join(f"{cls.title}" for cls in classes)
    names = ["X-Request-ID", "Retry-After"]
    if Unauthenticated in classes:
        names.append("WWW-Authenticate")
    return {
        "description": f"{codes}: {titles}.",
        "headers": _header_references(*names),
        "content": {CONTENT_TYPE: {"schema": ref("Problem")}},
    }


def _header_references(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
