"""The JSON schemas of the OpenAPI document: requests from pydantic, responses from msgspec."""

from collections.abc import Iterable
from typing import Any, Final, get_args

import msgspec
from msgspec import UnsetType
from pydantic.json_schema import models_json_schema

from gateway.api.route import Route
from gateway.domain.errors import Retryable, Source, error_classes
from gateway.domain.pages import Incomplete
from gateway.domain.requests import UpdateCapability
from gateway.domain.runtime import CreateAttempt
from gateway.domain.values import State

Schema = dict[str, Any]

_TEMPLATE: Final = "#/components/schemas/{model}"


def ref(name: str) -> Schema:
    return {"$ref": _TEMPLATE.format(model=name)}


def schemas(routes: Iterable[Route]) -> dict[str, Schema]:
    """The schemas of all request and response bodies, by name. Raises ``ValueError`` when two models share a name."""
    routes = tuple(routes)
    found: dict[str, Schema] = {"Problem": _problem(), "FieldError": _field_error()}
    for more in (_requests(routes), _responses(routes)):
        clashes = found.keys() & more.keys()
        if clashes:
            raise ValueError(f"two models are called {', '.join(sorted(clashes))}")
        found |= more
    return dict(sorted(found.items()))


def _requests(routes: Iterable[Route]) -> dict[str, Schema]:
    models = list(dict.fromkeys(body for route in routes for body in route.bodies))
    _, top = models_json_schema([(model, "validation") for model in models], ref_template=_TEMPLATE)
    definitions: dict[str, Schema] = top["$defs"]
    exactly_one = definitions[UpdateCapability.__name__]
    exactly_one |= {"minProperties": 1, "maxProperties": 1}
    return definitions


def _responses(routes: Iterable[Route]) -> dict[str, Schema]:
    models = {model for route in routes for success in route.successes.values() for model in success.models}
    _, components = msgspec.json.schema_components(
        sorted(models, key=lambda model: model.__name__), ref_template="#/components/schemas/{name}"
    )
    for struct in _structs(models):
        components[struct.__name__]["required"] = _required(struct)
    components[State.__name__] = {
        "type": "string",
        "description": f"The state of a runtime. Values may be added. Currently: {', '.join(State)}.",
        "examples": [state.value for state in State],
    }
    problem = components[Incomplete.__name__]["properties"]
    problem["problem"] = ref("Problem")
    return components


def _structs(models: Iterable[type]) -> Iterable[type[msgspec.Struct]]:
    """The struct types among ``models`` and in their fields, each once."""
    seen: dict[type[msgspec.Struct], None] = {}
    pending: list[Any] = list(models)
    while pending:
        candidate = pending.pop()
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            if candidate in seen:
                continue
            seen[candidate] = None
            pending += [field.type for field in msgspec.structs.fields(candidate)]
        else:
            pending += get_args(candidate)
    return seen


def _required(struct: type[msgspec.Struct]) -> list[str]:
    """The members that are always present: all but those that may be unset."""
    return [field.encode_name for field in msgspec.structs.fields(struct) if UnsetType not in get_args(field.type)]


def _field_error() -> Schema:
    where = {
        "pointer": "A JSON pointer into the body, as a URI fragment: #/config/version.",
        "parameter": "The name of a query parameter.",
        "header": "The name of a header.",
    }
    return {
        "type": "object",
        "title": "FieldError",
        "description": "One fault in the request; exactly one of pointer, parameter and header locates it.",
        "properties": {
            "detail": {"type": "string"},
            "code": {"type": "string"},
            **{name: {"type": "string", "description": text} for name, text in where.items()},
        },
        "required": ["detail", "code"],
    }


def _problem() -> Schema:
    codes = [cls.code for cls in error_classes()]
    nullable = {"type": ["string", "null"]}
    return {
        "type": "object",
        "title": "Problem",
        "description": "A problem document (RFC 9457). Members may be added.",
        "properties": {
            "type": {"type": "string", "description": "The page about the code: /docs/errors/{code}."},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "An explanation by the gateway."},
            "instance": {"type": "string", "description": "urn:uuid: of the request."},
            "code": {
                "type": "string",
                "description": f"Codes may be added. Currently: {', '.join(codes)}.",
                "examples": codes,
            },
            "source": {"type": "string", "enum": [source.value for source in Source], "description": "Whose fault."},
            "provider": {"type": "string", "description": "The provider concerned."},
            "provider_status": {"type": ["integer", "null"]},
            "provider_code": nullable,
            "provider_detail": {**nullable, "description": "What the provider said, verbatim."},
            "provider_request_id": nullable,
            "retryable": {
                "type": "string",
                "enum": [value.value for value in Retryable],
                "description": "same_request: only the identical request, with the same name and Idempotency-Key.",
            },
            "retry_after": {"type": "number", "minimum": 0, "description": "Seconds to wait."},
            "request_id": {"type": "string"},
            "errors": {"type": "array", "items": ref("FieldError"), "minItems": 1},
            "incomplete": {
                "type": "array",
                "items": ref("Incomplete"),
                "description": "For a list that failed: each provider that failed.",
            },
            "intent": {
                "type": "string",
                "description": "For a create that is unknown or in progress: its intent (GET /v1/intents/{id}).",
            },
            "name": {
                "type": "string",
                "description": "For such a create: the name of its runtime, including a generated one.",
            },
            "idempotency_key": {
                "type": "string",
                "description": "For an unknown create: the Idempotency-Key that it was sent with.",
            },
            "attempts": {
                "type": "array",
                "items": ref(CreateAttempt.__name__),
                "description": "For a create: the providers that were tried, in order, with the code of each error.",
            },
            "state": {
                **ref(State.__name__),
                "description": "The state of the runtime, in which the verb does not work.",
            },
            "feature": {"type": "string", "description": "The feature that the provider does not have."},
            "limit": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "value": {"type": "integer"},
                    "used": {"type": "integer"},
                },
                "required": ["name", "value", "used"],
                "description": "The limit of the caller, or of the account at a provider, that refused the request.",
            },
            "held_by": {
                "type": "array",
                "items": {"type": "string"},
                "description": "For a quota of the caller: the ids of its runtimes that use it up, at most 20.",
            },
        },
        "required": [
            "type",
            "title",
            "status",
            "detail",
            "instance",
            "code",
            "source",
            "retryable",
            "request_id",
        ],
    }
