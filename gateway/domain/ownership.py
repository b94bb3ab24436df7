"""Names of owned runtimes at their provider (docs/access.md#ownership).

The runtime of an owner has the owner's suffix at the end of its name at the provider: ``.rgw-`` and 11 characters that
are derived from the owner's name alone. So every replica recognises an owner's runtimes in a provider's list without
the store, two owners can use one name, and the suffix survives the rotation of keys. Callers never see it.
"""

import base64
import hashlib
import re
from functools import lru_cache
from typing import Final

from gateway.domain.errors import ValidationFailed

_SUFFIX: Final = re.compile(r"\.rgw-[a-z2-7]{11}(?![A-Za-z0-9])")
SUFFIX_START: Final = ".rgw-"
_LENGTH: Final = len(SUFFIX_START) + 11

OWNER_MARK: Final = "rgw_owner"
"""The name of the label with the sealed name of a runtime's owner, at providers that have labels."""

MAX_OWNED_NAME: Final = 83
"""The maximum length of a name that gets a suffix."""


@lru_cache(maxsize=4096)
def suffix_of(owner: str) -> str:
    """The suffix of an owner: ``.rgw-`` and the first 11 characters of the SHA-256 of its name in lower-case base32."""
    return SUFFIX_START + base64.b32encode(hashlib.sha256(owner.encode()).digest()).decode()[:11].lower()


def suffix_in(name: str | None) -> str | None:
    """The owner's suffix at the end of a provider's name for a runtime; None without one."""
    if name is None or name[-_LENGTH : 5 - _LENGTH] != SUFFIX_START or len(name) <= _LENGTH:
        return None
    return _suffix(name[-_LENGTH:])


@lru_cache(maxsize=4096)
def _suffix(end: str) -> str | None:
    return end if _SUFFIX.fullmatch(end) else None


def outward(name: str | None) -> str | None:
    """The name as callers see it: without an owner's suffix."""
    return name if suffix_in(name) is None else (name or "")[:-_LENGTH]


def without_suffixes(text: str) -> str:
    """A text, for example of a provider, without the owners' suffixes of the names in it."""
    return _SUFFIX.sub("", text) if SUFFIX_START in text else text


def inward(name: str, owner: str) -> str:
    """The name of an owner's runtime at its provider. Raises :class:`ValidationFailed` at ``#/name`` for a name that is
    too long for the suffix."""
    if len(name) > MAX_OWNED_NAME:
        detail = f"A name may have at most {MAX_OWNED_NAME} characters for a caller that sees only its own runtimes."
        raise ValidationFailed.at("#/name", detail, code="too_long")
    return name + suffix_of(owner)


def refuse_suffix(name: str) -> None:
    """Raise :class:`ValidationFailed` at ``#/name`` for a name that ends like that of an owned runtime."""
    if suffix_in(name) is not None:
        raise ValidationFailed.at("#/name", "A name may not end in .rgw- and 11 characters of a-z and 2-7.")
