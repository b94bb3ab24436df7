"""The rules of an emulated API for bodies, as pydantic models."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ValidationError


def _integral(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_integral)]
"""An integer as JSON Schema defines it: ``1.0`` is one; in a strict model ``true`` is not."""


def fault(body: Any, model: type[BaseModel]) -> str | None:
    """The first fault of a body, None for a valid one."""
    try:
        model.model_validate(body)
    except ValidationError as exc:
        first = exc.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the body'} is not valid: {first['msg']}"
    return None
