"""The marks of a browser, of its create and of its owner: how they are added to requests and removed from responses.

A browser's ``metadata`` belongs to the caller, except for the members :data:`MARKS`, which are never shown. Callers may
not use names with the same prefix (:data:`RESERVED`): labels with such names are not shown.
"""

from collections.abc import Mapping
from typing import Any, Final

from adapters.bctrl_browsers.wire import MARKER, BrowserBody, browser_body
from gateway.domain.errors import FieldError, ValidationFailed, pointer
from gateway.domain.ownership import OWNER_MARK
from gateway.ports.marks import unmarked as without_marks

MARKS: Final = (MARKER, OWNER_MARK)
RESERVED: Final = "rgw_"
"""The prefix of the names that are reserved for the gateway."""

_WITHIN: Final = ("data", "metadata")


def check_unmarked(metadata: Any, *at: str) -> None:
    """Raise :class:`ValidationFailed` for metadata or labels of a caller with reserved names. ``at`` is their path in
    the request."""
    names = metadata if isinstance(metadata, Mapping) else ()
    if reserved := [name for name in names if name.startswith(RESERVED)]:
        detail = f"Names that begin with {RESERVED} are reserved for the gateway; choose another one."
        errors = [FieldError(detail, "reserved", pointer=pointer(*at, name)) for name in reserved]
        raise ValidationFailed(f"{errors[0].pointer}: {detail}", errors=errors)


def marked(body: Mapping[str, Any], marks: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a create or an update with these marks in its metadata, except None; unchanged without any."""
    sent = {name: mark for name, mark in marks.items() if mark is not None}
    return {**body, "metadata": {**body.get("metadata", {}), **sent}} if sent else dict(body)


def marks_in(body: bytes) -> dict[str, Any]:
    """The marks in the JSON of one browser."""
    metadata = browser_body.decode(body).metadata or {}
    return {name: metadata[name] for name in MARKS if name in metadata}


def marker_of(browser: BrowserBody) -> str | None:
    """The marker in a browser's metadata, None if it has none."""
    marker = (browser.metadata or {}).get(MARKER)
    return marker if isinstance(marker, str) else None


def unmarked(body: bytes) -> bytes:
    """The JSON of a browser, or of a page of browsers, without marks, as :func:`gateway.ports.marks.unmarked`."""
    return without_marks(body, MARKS, _WITHIN)
