"""The JSON Schema of a settings file, for editors."""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Final

from pydantic import Field, create_model

from gateway.domain.values import PROVIDER_NAME_PATTERN
from gateway.ports.provider_settings import ProviderSettings
from gateway.settings.model import Settings

_REFERENCE: Final = {"type": "string", "pattern": r"\$\{"}
"""A value from the environment, which may be given in place of any value."""

_PLAIN: Final = frozenset({"integer", "number", "boolean"})


def settings_schema(provider_models: Mapping[str, type[ProviderSettings]]) -> dict[str, Any]:
    """The JSON Schema. ``provider_models`` has the settings class of each provider API."""
    of_api: Any = Annotated[reduce(or_, provider_models.values()), Field(discriminator="api")]
    named: Any = Annotated[str, Field(pattern=PROVIDER_NAME_PATTERN)]
    providers: Any = (dict[named, of_api], Field(min_length=1))
    whole: type[Settings] = create_model("Settings", __base__=Settings, providers=providers)
    made: dict[str, Any] = whole.model_json_schema()
    for model in provider_models.values():
        entry = made["$defs"][model.__name__]
        del entry["properties"]["name"]  # it is the key in providers
        entry["required"].remove("name")
    for name, section in made["properties"].items():
        if "$ref" in section:  # an empty section has its defaults
            made["properties"][name] = {"anyOf": [section, {"type": "null"}]}
    made |= {"title": "runtime-gateway settings", "required": ["version", *made["required"]]}
    schema: dict[str, Any] = _with_references(made)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _with_references(schema: Any) -> Any:
    """The schema, in which every value that is not any text may be a reference to the environment too."""
    if isinstance(schema, list):
        return [_with_references(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in _PLAIN or (schema.get("type") == "string" and {"pattern", "enum"} & schema.keys()):
        outer = {key: value for key, value in schema.items() if key in {"title", "default", "description"}}
        inner = {key: value for key, value in schema.items() if key not in outer}
        return {**outer, "anyOf": [inner, _REFERENCE]}
    if "patternProperties" in schema:
        schema = {**schema, "additionalProperties": False}
    return {key: value if key == "propertyNames" else _with_references(value) for key, value in schema.items()}
