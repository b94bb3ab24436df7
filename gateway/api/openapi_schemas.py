"""The JSON schemas of the OpenAPI document: requests from pydantic, responses from msgspec.

Generators of clients take a member with a ``default`` for one that is always there. So no schema has that keyword: what
a request may leave out is optional, with its default in the description, and what a response always has is required.
"""

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from msgspec import UnsetType
from pydantic.json_schema import models_json_schema

from gateway.api.queries import LEFT_OUT
from gateway.api.route import Route
from gateway.domain.errors import Retryable, Source, error_classes
from gateway.domain.pages import Incomplete, Page
from gateway.domain.requests import UpdateCapability
from gateway.domain.runtime import Action, Runtime
from gateway.domain.values import State

Schema = dict[str, Any]

_FOLDER: Final = Path(__file__).parent / "static"
STATIC: Final[dict[str, Any]] = msgspec.json.decode((_FOLDER / "openapi.json").read_bytes())
"""What the document contains beside the routes and models: the frame of the ``document``, and the texts about path
parameters, headers of requests, and examples."""
_EVERYWHERE: Final = "*"
_ROW: Final = "ListedRuntime"
_TIMES: Final = frozenset({"as_of", "at", "first_send", "last_send"})
_TEMPLATE: Final = "#/components/schemas/{model}"


def ref(name: str) -> Schema:
    return {"$ref": _TEMPLATE.format(model=name)}


def schemas(routes: Iterable[Route]) -> dict[str, Schema]:
    """The schemas of all request and response bodies, by name. Raises ``ValueError`` when two models share a name."""
    routes = tuple(routes)
    found: dict[str, Schema] = deepcopy(STATIC["document"]["components"]["schemas"])
    _add_values(found["Problem"]["properties"])
    for more in (_requests(routes), _responses(routes)):
        clashes = found.keys() & more.keys()
        if clashes:
            raise ValueError(f"two models are called {', '.join(sorted(clashes))}")
        found |= more
    texts = property_texts()
    for name, schema in found.items():
        schema["description"] = " ".join(schema["description"].replace("``", "`").split())
        if "enum" in schema:
            schema["type"] = "string"
        _complete(schema, {**texts[_EVERYWHERE], **texts.get(name, {})})
    return dict(sorted(found.items()))


def _requests(routes: Iterable[Route]) -> dict[str, Schema]:
    models = list(dict.fromkeys(body for route in routes for body in route.bodies))
    _, top = models_json_schema([(model, "validation") for model in models], ref_template=_TEMPLATE)
    definitions: dict[str, Schema] = top["$defs"]
    exactly_one = definitions[UpdateCapability.__name__]
    exactly_one |= {"minProperties": 1, "maxProperties": 1}
    return definitions


def _responses(routes: Iterable[Route]) -> dict[str, Schema]:
    models = {model for route in routes for success in route.successes.values() for model in success.models} | {Action}
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
    whole = components[Runtime.__name__]
    whole["properties"]["actions"] = {"type": "object", "additionalProperties": ref(Action.__name__)}
    required = [name for name in whole["required"] if name not in LEFT_OUT]
    description = f"{whole['description']}\n\nA list can leave out members (``fields``)."
    components[_ROW] = {**deepcopy(whole), "title": _ROW, "required": required, "description": description}
    components[Page.__name__]["properties"]["items"]["items"] = ref(_ROW)
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


def _add_values(properties: dict[str, Schema]) -> None:
    """Add the values that errors have now to the properties of a problem."""
    codes = [cls.code for cls in error_classes()]
    properties["code"] |= {"description": f"Codes may be added. Currently: {', '.join(codes)}.", "examples": codes}
    properties["source"]["enum"] = [source.value for source in Source]
    properties["retryable"]["enum"] = [value.value for value in Retryable]


def property_texts() -> dict[str, dict[str, str]]:
    """The descriptions of properties, by the names of the model and of the property; ``*`` is any model."""
    found: dict[str, dict[str, str]] = {}
    for models, texts in msgspec.json.decode((_FOLDER / "properties.json").read_bytes()).items():
        for model in models.split(", "):
            found[model] = found.get(model, {}) | texts
    return found


def _complete(schema: Schema, texts: dict[str, str]) -> None:
    """Describe all properties, in a form that generators of clients understand."""
    for name, part in schema.get("properties", {}).items():
        if "description" not in part:
            part["description"] = texts[name]
        default = part.pop("default", None)
        if name not in schema.get("required", ()) and isinstance(default, str | int) and default != "":
            part["description"] += f" Default: {msgspec.json.encode(default).decode()}."
        for option in part.get("anyOf", [part]):
            if len(option.get("enum", ())) == 1:
                option["const"] = option.pop("enum")[0]
            if option.keys() & {"enum", "const"}:
                option.setdefault("type", "string")
            elif option.get("type") == "string" and (name.endswith("_at") or name in _TIMES):
                option["format"] = "date-time"
            elif option.get("type") == "array":
                option.setdefault("items", {})
        _complete(part, texts)
