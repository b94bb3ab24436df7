"""Keeping what is secret unreadable in the store, and telling requests apart without keeping them."""

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

KEY_BYTES: Final = 32


def key_bytes(text: str) -> bytes:
    """The key that a text holds: 32 bytes in base64. Raises ``ValueError`` that says why not, and nothing of it."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("an encryption key has to be base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"an encryption key has to be {KEY_BYTES} bytes in base64, not {len(key)}")
    return key


class Unreadable(Exception):
    """A sealed value that none of the keys opens: its key was removed, it was changed, or it is another cell's."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a sealed value belongs; it opens nowhere else. ``row`` is the id of the row."""

    table: str
    row: str
    column: str


class Sealer(ABC):
    """Seals with the newest key, opens with any that is known."""

    @abstractmethod
    def seal(self, plain: bytes, cell: Cell) -> bytes:
        """Encrypt and authenticate ``plain`` for its place. Two calls never give the same bytes."""

    @abstractmethod
    def unseal(self, sealed: bytes, cell: Cell) -> bytes:
        """What was sealed for this place. Raises :class:`Unreadable`."""

    @property
    @abstractmethod
    def digest_version(self) -> str:
        """The rule and the key of new digests; it is stored beside each."""

    @abstractmethod
    def digest(self, operation: str, document: Mapping[str, Any], version: str) -> bytes:
        """The digest of a request (``gateway.domain.digests``) by a stored version, to be compared with the digest
        stored beside that. Raises :class:`Unreadable` when its rule or key is not known any more."""
