"""The marker of a create: where it stands in what is sent, and how it is taken off what is shown.

A browser's ``metadata`` is the caller's but for the one member :data:`~adapters.bctrl_browsers.wire.MARKER`, which no
caller sees. Nor does one set a name that begins as it does (:data:`RESERVED`): it would not be shown among the labels.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from adapters.bctrl_browsers.wire import MARKER, BrowserBody
from gateway.domain.errors import FieldError, ValidationFailed, pointer

RESERVED: Final = "rgw_"
"""How the names begin that are the gateway's own."""

_SOUGHT: Final = MARKER.encode()
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def check_unmarked(metadata: Any, *at: str) -> None:
    """Raises :class:`ValidationFailed` for a caller's metadata or labels with names that begin like the gateway's own.
    ``at`` is their path."""
    names = metadata if isinstance(metadata, Mapping) else ()
    if reserved := [name for name in names if name.startswith(RESERVED)]:
        detail = f"Names that begin with {RESERVED} are the gateway's own; choose another one."
        errors = [FieldError(detail, "reserved", pointer=pointer(*at, name)) for name in reserved]
        raise ValidationFailed(f"{errors[0].pointer}: {detail}", errors=errors)


def marked(body: Mapping[str, Any], marker: str | None) -> dict[str, Any]:
    """The body of a create or an update with the marker in its metadata; without one, as it is."""
    if marker is None:
        return dict(body)
    return {**body, "metadata": {**body.get("metadata", {}), MARKER: marker}}


def marker_of(browser: BrowserBody) -> str | None:
    """What the create that made a browser was marked with, if it was."""
    marker = (browser.metadata or {}).get(MARKER)
    return marker if isinstance(marker, str) else None


def unmarked(body: bytes) -> bytes:
    """A browser, or a page of them, without markers. All else stays as the provider wrote it, byte for byte.

    Raises ``ValueError`` for what is neither.
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
