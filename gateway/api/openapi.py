"""The OpenAPI 3.1 document, generated from the route table and the models."""

import re
from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import Any, Final, get_args

import msgspec

from gateway import __version__
from gateway.api.access_routes import ACCESS_ROUTES
from gateway.api.audit_routes import AUDIT_ROUTES
from gateway.api.conditions import ENTITY_TAGS
from gateway.api.connection_routes import CONNECTION_ROUTES
from gateway.api.console import CONSOLE_ROUTES
from gateway.api.event_streams import EVENT_ROUTES
from gateway.api.export_routes import EXPORT_ROUTES
from gateway.api.move_routes import MOVE_ROUTES
from gateway.api.openapi_examples import example_of, examples
from gateway.api.openapi_schemas import STATIC, ref, schemas
from gateway.api.queries import QueryParameter
from gateway.api.route import Route, Success
from gateway.api.routes import V1_ROUTES
from gateway.api.site import PROBE_ROUTES, SITE_ROUTES
from gateway.api.usage_routes import USAGE_ROUTES
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

_ADMINISTRATION: Final = (*USAGE_ROUTES, *MOVE_ROUTES, *EXPORT_ROUTES, *ACCESS_ROUTES, *AUDIT_ROUTES)
_SITE: Final = (*PROBE_ROUTES, *SITE_ROUTES, *CONSOLE_ROUTES)
ROUTES: Final = (*V1_ROUTES, *CONNECTION_ROUTES, *EVENT_ROUTES, *_ADMINISTRATION, *_SITE)
"""Every call of the service."""

_ANY_REQUEST: Final[tuple[type[GatewayError], ...]] = (
    InvalidRequest,
    UriTooLong,
    HeadersTooLarge,
    TransferCodingNotSupported,
    HttpVersionNotSupported,
)
"""Errors that are raised before the route is known."""


@cache
def openapi_json() -> bytes:
    return msgspec.json.encode(openapi_document())


@cache
def openapi_document() -> dict[str, Any]:
    """The document. It is built once and shared: do not modify it."""
    paths: dict[str, dict[str, Any]] = {}
    failures: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        for path in (route.path, *route.aliases):
            alias = path != route.path
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, failures, alias=alias)
    document, components = STATIC["document"], STATIC["document"]["components"]
    return {
        **document,
        "info": {**document["info"], "version": __version__},
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in ROUTES)],
        "paths": paths,
        "components": {**components, "schemas": schemas(ROUTES), "responses": failures, "examples": examples()},
    }


def _operation(route: Route, failures: dict[str, dict[str, Any]], *, alias: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id + ("Alias" if alias else ""),
        "summary": route.summary,
        "tags": [route.tag],
        "security": _security(route),
        "responses": _responses(route, failures),
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
            "description": STATIC["path_parameters"][name],
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
        yield {"name": name, "in": "header", "description": STATIC["request_headers"][name], "schema": schema}


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
            "examples": STATIC["create_examples"],
        }
    return {"required": route.body_required, "content": {"application/json": content}}


def _responses(route: Route, failures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The responses by status. Each failure is a reference into ``failures``, which operations share."""
    responses = {str(status): _success(success) for status, success in route.successes.items()}
    by_status: dict[int, list[type[GatewayError]]] = {}
    for cls in dict.fromkeys((*route.errors, *_ANY_REQUEST)):
        by_status.setdefault(STATUS[cls], []).append(cls)
    for status in sorted(by_status):
        failure = _failure(by_status[status], route)
        names = (f"Problem{status}" + (f"_{number}" if number > 1 else "") for number in count(1))
        name = next(name for name in names if failures.setdefault(name, failure) == failure)
        responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return responses


def _success(success: Success) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": success.description,
        "headers": _header_references("X-Request-ID", *success.headers),
    }
    if success.models:
        schemas = [ref(model.__name__) for model in success.models]
        content = {"schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}
        response["content"] = {"application/json": content}
    elif success.media_types:
        response["content"] = {
            media_type: {"schema": {"type": "string"}} if media_type.startswith("text/") else {}
            for media_type in success.media_types
        }
    return response


def _failure(classes: list[type[GatewayError]], route: Route) -> dict[str, Any]:
    codes = " or ".join(f"`{cls.code}`" for cls in classes)
    titles = "; ".join(f"{cls.title}" for cls in classes)
    names = ["X-Request-ID", "Retry-After"]
    if Unauthenticated in classes:
        names.append("WWW-Authenticate")
    return {
        "description": f"{codes}: {titles}.",
        "headers": _header_references(*names),
        "content": {
            CONTENT_TYPE: {"schema": ref("Problem"), "examples": {cls.code: example_of(cls, route) for cls in classes}}
        },
    }


def _header_references(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
