"""Faults of single fields, bounded so that a hostile request cannot make the response larger than itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

MAX_ERRORS: Final = 100
"""Entries in ``errors`` of one problem. If there are more, the last one says how many were left out."""
MAX_ERROR_BYTES: Final = 32 << 10
"""Size of all entries together, as JSON; the entries beyond it are left out too."""
MAX_DETAIL: Final = 2000
"""Characters of a detail; the rest is cut off."""
MAX_POINTER: Final = 256
"""Bytes of a pointer, as JSON. A longer one is replaced by that of the closest enclosing value whose pointer fits."""

_MORE: Final = "more_errors"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault in the caller's request. ``pointer`` is a URI-fragment JSON pointer (``#/config/version``). Exactly one
    of ``pointer``, ``parameter`` and ``header`` is set."""

    detail: str
    code: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None


def pointer(*parts: str | int) -> str:
    """The URI-fragment JSON pointer of a path: ``pointer("config", "a/b", 0)`` is ``#/config/a~1b/0``. A path whose
    pointer is longer than :data:`MAX_POINTER` is cut after its last part that fits."""
    steps = ["/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts]
    whole = "#" + "".join(steps)
    if len(whole) <= MAX_POINTER and _size(whole) <= MAX_POINTER:
        return whole
    fitting = "#"
    for step in steps:
        if len(step) > MAX_POINTER or _size(fitting + step) > MAX_POINTER:
            break
        fitting += step
    return fitting


def shortened(detail: str) -> str:
    """The text, cut after :data:`MAX_DETAIL` characters."""
    return detail if len(detail) <= MAX_DETAIL else detail[: MAX_DETAIL - 1] + "…"


def bounded(errors: Sequence[FieldError], total: int | None = None) -> tuple[FieldError, ...]:
    """The first of the errors, within :data:`MAX_ERRORS` and :data:`MAX_ERROR_BYTES`.

    ``total`` is how many errors there are, if ``errors`` has only the first of them. If some are left out, a last entry
    says how many.
    """
    total = len(errors) if total is None else total
    kept: list[FieldError] = []
    room = MAX_ERROR_BYTES
    for error in errors[:MAX_ERRORS]:
        entry = error if len(error.detail) <= MAX_DETAIL else replace(error, detail=shortened(error.detail))
        if entry.code != _MORE:  # the last entry of errors that were bounded before
            room -= sum(_size(text) for text in (entry.detail, entry.pointer or entry.parameter or entry.header or ""))
        if room < 0:
            break
        kept.append(entry)
    if len(kept) == total:
        return tuple(kept)
    del kept[MAX_ERRORS - 1 :]
    left_out = FieldError(f"{total - len(kept)} more faults are not listed.", _MORE, pointer="#")
    return (*kept, left_out)


def _size(text: str) -> int:
    return len(json.dumps(text))
