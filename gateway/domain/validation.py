"""Validation of request bodies with pydantic: every fault is reported with its JSON pointer."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gateway.domain.errors import FieldError, ValidationFailed, pointer
from gateway.domain.field_errors import MAX_ERRORS, bounded

ModelT = TypeVar("ModelT", bound=BaseModel)

_UNION_TAGS: Final = frozenset({"ephemeral", "profile"})
_CODES: Final = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "union_tag_not_found": "required",
    "union_tag_invalid": "not_allowed",
    "literal_error": "not_allowed",
    "model_type": "object_type",
    "model_attributes_type": "object_type",
    "dict_type": "object_type",
}
_DETAILS: Final = {
    "missing": "This field is required.",
    "extra_forbidden": "There is no field of this name here.",
    "union_tag_not_found": "This field is required.",
    "model_type": "Input should be an object.",
    "model_attributes_type": "Input should be an object.",
    "dict_type": "Input should be an object.",
}


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


INTEGRAL: Final = BeforeValidator(_integral)
"""Makes an ``int`` field accept JSON integers: ``1`` and ``1.0``, but not ``true`` and ``"1"``."""

Integer = Annotated[int, INTEGRAL]


def optional(default: Any, **constraints: Any) -> Any:
    """A field that may be left out, but not be null. ``default`` is only its value in Python: absence has a meaning of
    its own, so the schema shows no default, and ``model_fields_set`` contains the field only if it was sent."""
    return Field(default=default, json_schema_extra=_without_default, **constraints)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class Input(BaseModel):
    """Base of all request bodies: strict types, no unknown fields, no values in messages."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)

    def sent(self, field: str) -> bool:
        """Whether the caller sent the field, also with its default or null."""
        return field in self.model_fields_set

    def sent_fields(self, names: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The fields that the caller sent. ``names`` selects fields and renames them; None: all, with their names."""
        names = {field: field for field in type(self).model_fields} if names is None else names
        return {name: getattr(self, field) for field, name in names.items() if self.sent(field)}


def field_errors(exc: ValidationError, at: tuple[str | int, ...] = ()) -> tuple[FieldError, ...]:
    """The faults of a pydantic error as field errors, :func:`bounded`. ``at`` is the path of the model in the body."""
    found = []
    for error in exc.errors(include_url=False, include_input=False)[:MAX_ERRORS]:
        kind = error["type"]
        path = [part for i, part in enumerate(error["loc"]) if not _is_union_tag(error["loc"], i)]
        if kind in {"union_tag_not_found", "union_tag_invalid"}:
            path.append("mode")
        detail = _DETAILS.get(kind) or error["msg"].removeprefix("Value error, ").rstrip(".") + "."
        if kind == "union_tag_invalid":  # pydantic's message would repeat the value
            detail = f"Input should be one of {error['ctx']['expected_tags']}."
        found.append(FieldError(detail, _CODES.get(kind, kind), pointer=pointer(*at, *path)))
    return bounded(found, exc.error_count())


def _is_union_tag(loc: tuple[int | str, ...], index: int) -> bool:
    return index > 0 and loc[index - 1] == "launch" and loc[index] in _UNION_TAGS


def validate(model: type[ModelT], data: Mapping[str, Any], at: tuple[str | int, ...] = ()) -> ModelT:
    """Parse ``data`` as ``model``. Raises :class:`ValidationFailed` with the pointers of all faults, up to a bound
    (:mod:`gateway.domain.field_errors`). ``at`` is the path of ``data`` in the body."""
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        errors = field_errors(exc, at)
        first = errors[0]
        count = exc.error_count()
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise ValidationFailed(f"{first.pointer}: {first.detail}{more}", errors=errors) from exc
