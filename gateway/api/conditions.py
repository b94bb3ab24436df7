"""Conditional requests: entity tags of runtimes, ``If-None-Match`` and ``If-Match`` (RFC 9110, section 13)."""

import re
from hashlib import sha256
from typing import Final

from gateway.domain.errors import FieldError, InvalidRequest

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e]*"'
ENTITY_TAGS: Final = rf"^\s*(?:\*|{_TAG}(?:\s*,\s*{_TAG})*)\s*$"
"""The pattern of an ``If-Match`` header."""

_TAGS: Final = re.compile(ENTITY_TAGS.removesuffix("$") + r"\Z", re.ASCII)
_OPAQUE: Final = re.compile(r'"[^"]*"')


def entity_tag(representation: bytes) -> str:
    return f'"{sha256(representation).hexdigest()[:32]}"'  # (SHA-256 has hardware support)


def none_match(if_none_match: str | None, etag: str) -> bool:
    """Whether the full response has to be sent. A malformed header is ignored."""
    if if_none_match is None or _TAGS.match(if_none_match) is None:
        return True
    return if_none_match.strip() != "*" and etag not in _OPAQUE.findall(if_none_match)


def matches(if_match: str, etag: str) -> bool:
    """Whether a validated ``If-Match`` allows a change (strong comparison)."""
    return if_match.strip() == "*" or etag in [tag.strip() for tag in if_match.split(",")]


def if_match(sent: str | None) -> str | None:
    """The ``If-Match`` header, validated: ``*`` or a list of entity tags. Raises :class:`InvalidRequest`."""
    if sent is None or _TAGS.match(sent) is not None:
        return sent
    detail = 'If-Match has to be an entity tag in double quotes, such as "v1", a list of them, or *.'
    raise InvalidRequest(detail, errors=[FieldError(detail, "invalid", header="If-Match")])
