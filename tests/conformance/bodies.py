"""Generates values that fit a JSON Schema of the facts."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

ANYTHING = st.none() | st.booleans() | st.text(max_size=5)
Strategies = Mapping[str, st.SearchStrategy[Any]]


def values(
    schema: Any, shapes: Mapping[str, Any], narrower: Strategies, *, nulls: bool = True
) -> st.SearchStrategy[Any]:
    """Values that fit ``schema``. ``narrower`` replaces the values of the members with these names, because not every
    rule is a fact. Without ``nulls``, null is generated only where nothing else is possible."""

    def of(schema: Any) -> st.SearchStrategy[Any]:
        if not schema or schema is True:
            return ANYTHING
        if "$ref" in schema:
            return of(shapes[schema["$ref"].removeprefix("#/$defs/")])
        for union in ("anyOf", "oneOf"):
            if union in schema:
                forms = [form for form in schema[union] if nulls or form != {"type": "null"}]
                return st.one_of(*map(of, forms or schema[union]))
        if "const" in schema or "enum" in schema:
            return st.sampled_from(schema.get("enum", [schema.get("const")]))
        types = schema["type"]
        if isinstance(types, list):
            kept = [one for one in types if nulls or one != "null"]
            return st.one_of(*(of({**schema, "type": one}) for one in kept))
        return typed(schema, types)

    def typed(schema: Any, type_: str) -> st.SearchStrategy[Any]:
        match type_:
            case "null":
                return st.none()
            case "boolean":
                return st.booleans()
            case "integer":
                return st.integers(schema.get("minimum", -(2**31)), schema.get("maximum", 2**31))
            case "number":
                return st.floats(-1000, 1000) | st.integers(-1000, 1000)
            case "array":
                return st.lists(of(schema["items"]), max_size=2)
            case "string":
                return text(schema)
        return members(schema)

    def text(schema: Any) -> st.SearchStrategy[str]:
        if schema.get("format") == "uuid":
            return st.uuids().map(str)
        return st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 20), 20))

    def members(schema: Any) -> st.SearchStrategy[Any]:
        if "properties" not in schema:
            return st.dictionaries(st.text(max_size=5), of(schema.get("additionalProperties", True)), max_size=2)
        known = {
            name: narrower[name] if name in narrower else of(member) for name, member in schema["properties"].items()
        }
        required = {name: known.pop(name) for name in schema.get("required", ())}
        return st.fixed_dictionaries(required, optional=known)

    return of(schema)
