"""The ``Idempotency-Key`` of a create: ``"abc"`` as in the IETF draft, or ``abc`` as many clients send it."""

import re
from collections.abc import Mapping
from typing import Final

from multidict import istr

from gateway.domain.errors import FieldError, InvalidRequest

IDEMPOTENCY_KEY: Final = istr("Idempotency-Key")
REPLAYED: Final = istr("Idempotency-Replayed")

MAX_LENGTH: Final = 255
"""The longest key in characters, without quotes."""

_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')  # a string of structured fields (RFC 9651)
_ESCAPED: Final = re.compile(r'\\(["\\])')
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+\Z")


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """The key of a request; None without one. Raises :class:`InvalidRequest` for an unusable one."""
    if IDEMPOTENCY_KEY not in headers:
        return None
    values = headers.getall(IDEMPOTENCY_KEY) if hasattr(headers, "getall") else [headers[IDEMPOTENCY_KEY]]
    text = values[0].strip()
    if len(values) > 1:
        raise _unusable("Send one Idempotency-Key, not several.")
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            raise _unusable(
                "An Idempotency-Key that begins with a quote has to end with one, with \\ before those between."
            )
        text = _ESCAPED.sub(r"\1", quoted[1])
    if not text or len(text) > MAX_LENGTH or not _PRINTABLE.match(text):
        raise _unusable(f"An Idempotency-Key is 1 to {MAX_LENGTH} printable ASCII characters.")
    return text


def _unusable(detail: str) -> InvalidRequest:
    return InvalidRequest(detail, errors=[FieldError(detail, "invalid", header="Idempotency-Key")])
