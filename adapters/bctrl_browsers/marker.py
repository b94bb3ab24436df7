"""The marker of a create: how it is added to requests and removed from responses.

A browser's ``metadata`` belongs to the caller, except for the member :data:`~adapters.bctrl_browsers.wire.MARKER`,
which is never shown. Callers may not use names with the same prefix (:data:`RESERVED`): labels with such names are not
shown.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from adapters.bctrl_browsers.wire import MARKER, BrowserBody
from gateway.domain.errors import FieldError, ValidationFailed, pointer

RESERVED: Final = "rgw_"
"""The prefix of the names that are reserved for the gateway."""

_SOUGHT: Final = MARKER.encode()
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def check_unmarked(metadata: Any, *at: str) -> None:
    """Raise :class:`ValidationFailed` for metadata or labels of a caller with reserved names. ``at`` is their path in
    the request."""
    names = metadata if isinstance(metadata, Mapping) else ()
    if reserved := [name for name in names if name.startswith(RESERVED)]:
        detail = f"Names that begin with {RESERVED} are reserved for the gateway; choose another one."
        errors = [FieldError(detail, "reserved", pointer=pointer(*at, name)) for name in reserved]
        raise ValidationFailed(f"{errors[0].pointer}: {detail}", errors=errors)


def marked(body: Mapping[str, Any], marker: str | None) -> dict[str, Any]:
    """The body of a create or an update with the marker in its metadata; unchanged without a marker."""
    if marker is None:
        return dict(body)
    return {**body, "metadata": {**body.get("metadata", {}), MARKER: marker}}


def marker_of(browser: BrowserBody) -> str | None:
    """The marker in a browser's metadata, None if it has none."""
    marker = (browser.metadata or {}).get(MARKER)
    return marker if isinstance(marker, str) else None


def unmarked(body: bytes) -> bytes:
    """The JSON of a browser, or of a page of browsers, without markers. Everything else stays as the provider wrote it,
    byte for byte.

    Raises ``ValueError`` for other JSON.
    """
    if _SOUGHT not in body:
        return body
    members = _MEMBERS.decode(body)
    if "data" in members:
        members["data"] = _raw([msgspec.Raw(unmarked(bytes(row))) for row in _ROWS.decode(members["data"])])
    elif _SOUGHT in bytes(members.get("metadata", b"")):
        metadata = _MEMBERS.decode(members["metadata"])
        metadata.pop(MARKER, None)
        members["metadata"] = _raw(metadata)
    else:
        return body
    return msgspec.json.encode(members)


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
