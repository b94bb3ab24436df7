"""The file of all relocations, for a start without the store. It contains ids and names, no secrets."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from gateway.ports.moves import Relocations

MAX_BYTES: Final = 64 << 20
"""A larger file is neither written nor read: about 100,000 relocations."""


class _Saved(msgspec.Struct, frozen=True):
    read_at: float
    known: Relocations


class RelocationFile:
    """One file, which several processes over the same store may share."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[float, Relocations] | None:
        """The content; None if there is none that can be read."""
        with suppress(OSError, msgspec.MsgspecError):
            if self._path.stat().st_size <= MAX_BYTES:
                saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
                return saved.read_at, saved.known
        return None

    def save(self, read_at: float, known: Relocations) -> None:
        """Replace the content, as a whole. Raises ``OSError``."""
        content = msgspec.json.encode(_Saved(read_at, known))
        if len(content) > MAX_BYTES:
            raise OSError(f"there are more relocations than fit in {MAX_BYTES} bytes")
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
            beside.replace(self._path)
        finally:
            beside.unlink(missing_ok=True)
