"""Cursors of lists that leave out rows of others. A provider's cursor may contain ids or names of those rows, so the
caller gets it encrypted."""

from typing import Final

from gateway.domain.ids import b64url_bytes, bytes_from_b64url
from gateway.ports.sealing import Cell, Sealer, Unreadable

_TABLE: Final = "list_cursors"


def sealed_cursor(sealer: Sealer, plain: bytes, owner: str, surface: str) -> str:
    """The cursor, encrypted for the callers of an owner and for the lists of one surface."""
    return b64url_bytes(sealer.seal(plain, Cell(_TABLE, owner, surface)))


def unsealed_cursor(sealer: Sealer, sealed: str, owner: str, surface: str) -> bytes:
    """What :func:`sealed_cursor` encrypted. Raises ``ValueError`` for anything else."""
    try:
        return sealer.unseal(bytes_from_b64url(sealed), Cell(_TABLE, owner, surface))
    except Unreadable as exc:
        raise ValueError("a cursor that was sealed for another list") from exc
