"""Cursors of lists that leave out rows of others. A provider's cursor may contain ids or names of those rows, so the
caller gets it encrypted."""

from dataclasses import dataclass
from typing import Final

from gateway.domain.ids import b64url_bytes, bytes_from_b64url
from gateway.ports.sealing import Cell, Sealer, Unreadable

_TABLE: Final = "list_cursors"


@dataclass(frozen=True, slots=True)
class CursorSeal:
    """Encrypts cursors for the callers of one owner and the lists of one surface."""

    sealer: Sealer
    owner: str
    surface: str

    def seal(self, cursor: bytes) -> str:
        return b64url_bytes(self.sealer.seal(cursor, self._cell))

    def unseal(self, sealed: str) -> bytes:
        """The cursor that :meth:`seal` encrypted. Raises ``ValueError`` for anything else."""
        try:
            return self.sealer.unseal(bytes_from_b64url(sealed), self._cell)
        except Unreadable as exc:
            raise ValueError("a cursor that was sealed for another list") from exc

    @property
    def _cell(self) -> Cell:
        return Cell(_TABLE, self.owner, self.surface)
