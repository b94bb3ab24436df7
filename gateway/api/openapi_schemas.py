"""The JSON schemas of the OpenAPI document: requests from pydantic, responses from msgspec."""

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from msgspec import UnsetType
from pydantic.json_schema import models_json_schema

from gateway.api.route import Route
from gateway.domain.errors import Retryable, Source, error_classes
from gateway.domain.pages import Incomplete
from gateway.domain.requests import UpdateCapability
from gateway.domain.values import State

Schema = dict[str, Any]

STATIC: Final[dict[str, Any]] = msgspec.json.decode((Path(__file__).parent / "static" / "openapi.json").read_bytes())
"""What the document contains beside the routes and models: the frame of the ``document``, and the texts about path
parameters, headers of requests, and examples."""
_TEMPLATE: Final = "#/components/schemas/{model}"


def ref(name: str) -> Schema:
    return {"$ref": _TEMPLATE.format(model=name)}


def schemas(routes: Iterable[Route]) -> dict[str, Schema]:
    """The schemas of all request and response bodies, by name. Raises ``ValueError`` when two models share a name."""
    routes = tuple(routes)
    found: dict[str, Schema] = {**STATIC["document"]["components"]["schemas"], "Problem": _problem()}
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


def _problem() -> Schema:
    """The schema of problems, with the values that the errors have now."""
    problem: Schema = deepcopy(STATIC["document"]["components"]["schemas"]["Problem"])
    properties, codes = problem["properties"], [cls.code for cls in error_classes()]
    properties["code"] |= {"description": f"Codes may be added. Currently: {', '.join(codes)}.", "examples": codes}
    properties["source"]["enum"] = [source.value for source in Source]
    properties["retryable"]["enum"] = [value.value for value in Retryable]
    return problem
