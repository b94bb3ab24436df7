"""Public runtime ids: ``{provider name}.{reference}``.

The provider name identifies the provider that made the runtime, and the reference is all that its adapter needs to
address it there. So any replica routes an operation to the right provider, also after a restart or the loss of the
store (docs/promises.md#p3). The adapter decides what a reference contains; its parts are joined with ``~``, and free
text is encoded with :func:`b64url`.
"""

import base64
import binascii
import re
from typing import Final

import msgspec

from gateway.domain.errors import NotFound

SEPARATOR: Final = "~"
_ID: Final = re.compile(r"([a-z0-9-]{1,40})\.([A-Za-z0-9_~-]{1,4096})\Z")


class RuntimeRef(msgspec.Struct, frozen=True):
    """The address of a runtime at its provider.

    ``scope`` is always set, also for a pinned provider. An adapter whose API addresses runtimes by id leaves ``name``
    None. One whose API addresses them by name sets both, to detect that the name now belongs to another runtime.
    """

    scope: str
    provider_id: str
    name: str | None = None


def b64url_bytes(raw: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def bytes_from_b64url(text: str) -> bytes:
    """Decode the output of :func:`b64url_bytes`. Raises ``ValueError`` for any other text."""
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
    """Decode the output of :func:`b64url`. Raises ``ValueError`` for any other text."""
    return bytes_from_b64url(text).decode()


def format_runtime_id(provider: str, reference: str) -> str:
    """Join a provider's name and an adapter's reference into the public id."""
    return f"{provider}.{reference}"


def parse_runtime_id(runtime_id: str) -> tuple[str, str]:
    """Split a public id into provider name and reference. Raises :class:`NotFound` for a text of another form."""
    match = _ID.match(runtime_id)
    if match is None:
        raise NotFound("There is no runtime of this id: a runtime id is a provider's name, a dot and a reference.")
    return match[1], match[2]
