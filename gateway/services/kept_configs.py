"""The last config of a runtime that replaced the one of its create, as the store keeps it (docs/moves.md)."""

import json
from typing import Any, Final, NamedTuple

from gateway.domain.runtime import ConfigDocument
from gateway.ports.sealing import Cell, Sealer, Unreadable

LARGEST: Final = 64 * 1024
"""The maximum size of a kept config in bytes of JSON. Of a larger one only the digest is kept."""


class KeptConfig(NamedTuple):
    """A config and its digest. ``config`` None: it was too large, or cannot be read."""

    config: dict[str, Any] | None
    digest: str | None


def encoded(document: ConfigDocument) -> bytes:
    """What is sealed for the store. Integers may have any size."""
    whole = json.dumps([document.config, document.config_digest]).encode()
    return whole if len(whole) <= LARGEST else json.dumps([None, document.config_digest]).encode()


def cell_of(provider: str, runtime_id: str) -> Cell:
    return Cell("kept_creates", json.dumps([provider, runtime_id]), "config")


def opened(sealer: Sealer, sealed: bytes, provider: str, runtime_id: str) -> KeptConfig:
    try:
        return KeptConfig(*json.loads(sealer.unseal(sealed, cell_of(provider, runtime_id))))
    except Unreadable:
        return KeptConfig(None, None)
