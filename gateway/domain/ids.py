"""Public runtime ids: ``{provider name}.{reference}``.

The provider name says who made the runtime, and the reference is all that the adapter needs to address it there, so any
replica, after any restart or loss of the store, sends an operation to the right provider (promise P3). What a
reference holds is the adapter's own affair; the pieces it is made of are joined with ``~`` and encoded with ``b64url``
where they are free text.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from gateway.domain.errors import NotFound

SEPARATOR: Final = "~"
_ID: Final = re.compile(r"([a-z0-9-]{1,40})\.([A-Za-z0-9_~-]{1,4096})\Z")


@dataclass(frozen=True, slots=True)
class RuntimeRef:
    """What an adapter addresses a runtime by.

    ``scope`` is always the resolved one, also for a pinned provider. An adapter whose API addresses by id leaves
    ``name`` empty; one that addresses by name carries both, to notice that the name has become another runtime.
    """

    scope: str
    provider_id: str
    name: str | None = None


def b64url_bytes(raw: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def bytes_from_b64url(text: str) -> bytes:
    """Decode what :func:`b64url_bytes` made. Raises ``ValueError`` for anything that it cannot have made."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as exc:
        raise ValueError("not URL-safe base64") from exc
    if b64url_bytes(decoded) != text:
        raise ValueError("not the canonical encoding")
    return decoded


def b64url(text: str) -> str:
    """Encode free text for a reference."""
    return b64url_bytes(text.encode())


def from_b64url(text: str) -> str:
    """Decode what :func:`b64url` made. Raises ``ValueError`` for anything that it cannot have made."""
    return bytes_from_b64url(text).decode()


def format_runtime_id(provider: str, reference: str) -> str:
    """Join a provider's name and an adapter's reference into the public id."""
    return f"{provider}.{reference}"


def parse_runtime_id(runtime_id: str) -> tuple[str, str]:
    """Split a public id into provider name and reference. Raises :class:`NotFound` when it has not that form."""
    match = _ID.match(runtime_id)
    if match is None:
        raise NotFound("There is no runtime of this id: a runtime id is a provider's name, a dot and a reference.")
    return match[1], match[2]
