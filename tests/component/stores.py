"""A store for tests that do not concern the store."""

import base64
import time
from typing import Final

from pydantic import SecretStr

from gateway.ports.sealing import Sealer
from gateway.ports.store import Store
from gateway.storage.sealing import Keyring
from tests.memory_store import MemoryStore

SEALER: Final = Keyring([SecretStr(base64.b64encode(b"k" * 32).decode())])
"""A sealer with a fixed key."""


def in_memory() -> tuple[Store, Sealer]:
    """A store in memory, and a sealer with a fixed key."""
    return MemoryStore(time.time), SEALER
