"""What a misspelt name or value of the settings may have meant."""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

_QUOTED: Final = re.compile(r"'([^']*)'")


def did_you_mean(given: object, known: Iterable[str], *, at_least: float = 0.6) -> str:
    """The end of a message: ``; did you mean level?`` if a known name resembles the given one, else nothing.
    ``at_least`` is how similar they are, from 0 to 1."""
    import difflib  # noqa: PLC0415 (only faults need it)

    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(given).lower(), names, 1, at_least)
    return f"; did you mean {names[close[0]]}?" if close else ""


def suggestion(model: Any, error: Mapping[str, Any]) -> str:
    """The same for a fault that pydantic found in a section: an unknown setting, or none of the possible values."""
    if error["type"] == "extra_forbidden":
        return did_you_mean(error["loc"][-1], _names(model, error["loc"][:-1]))
    if error["type"] in {"enum", "literal_error"} and isinstance(error["input"], str):
        return did_you_mean(error["input"], _QUOTED.findall(error["ctx"]["expected"]))
    return ""


def _names(annotation: Any, at: tuple[str | int, ...]) -> Iterator[str]:
    """The settings of the section at a path below a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        if not at:
            yield from fields
        elif at[0] in fields:
            yield from _names(fields[str(at[0])].annotation, at[1:])
    elif get_origin(annotation) in {Union, UnionType} or hasattr(annotation, "__metadata__"):
        for argument in get_args(annotation):
            yield from _names(argument, at)
    elif get_origin(annotation) in {dict, list} and at:
        yield from _names(get_args(annotation)[-1], at[1:])
