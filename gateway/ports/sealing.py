"""Encryption of secrets in the store, and digests to compare requests without storing them in plain text."""

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

KEY_BYTES: Final = 32


def key_bytes(text: str) -> bytes:
    """Decode a key: 32 bytes in base64. Raises ``ValueError`` that says what is wrong, without any part of the key."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("an encryption key has to be base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"an encryption key has to be {KEY_BYTES} bytes in base64, not {len(key)}")
    return key


class Unreadable(Exception):
    """A sealed value that no key opens: its key was removed, it was modified, or it belongs to another cell."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The cell of a table to which a sealed value is bound. ``row`` is the id of the row."""

    table: str
    row: str
    column: str


class Sealer(ABC):
    """Seals values with the newest key, and opens values that were sealed with any configured key."""

    @abstractmethod
    def seal(self, plain: bytes, cell: Cell) -> bytes:
        """Encrypt and authenticate ``plain`` for one cell. Every call returns different bytes."""

    @abstractmethod
    def seal_fixed(self, plain: bytes, cell: Cell) -> bytes:
        """As :meth:`seal`, but with one key the same value of the same cell always returns the same bytes. ``plain`` is
        not empty."""

    @abstractmethod
    def unseal(self, sealed: bytes, cell: Cell) -> bytes:
        """Decrypt what :meth:`seal` or :meth:`seal_fixed` returned for the same cell. Raises :class:`Unreadable` for
        anything else."""

    @abstractmethod
    def tag(self, document: bytes) -> str:
        """32 characters that, with one key, are always the same for the same document and differ for different ones,
        also for documents that are made to have the same tag, as long as the key is secret."""

    @property
    @abstractmethod
    def digest_version(self) -> str:
        """The digest rule and the key of new digests, as one text. It is stored with each digest."""

    @abstractmethod
    def digest(self, operation: str, document: Mapping[str, Any], version: str) -> bytes:
        """The digest of a request (:mod:`gateway.domain.digests`) by the rule and key of ``version``, to compare with a
        digest that was stored with that version. Raises :class:`Unreadable` if the rule or key is not available."""
