"""What the keeper of specs holds in memory, its bounds, and what can go wrong with it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import Runtime
from gateway.ports.provider import ProviderAdapter
from gateway.services.sent_spec import Spec, is_outdated

MEMORY_BYTES: Final = 4 * 1024 * 1024
"""The approximate size of the memory cache in bytes. The least recently used specs are evicted first."""

LARGEST: Final = 32 * 1024
"""The maximum size of a spec in bytes of JSON. Larger specs are not stored."""

MAX_WAITING: Final = 1000
"""The maximum number of specs that wait to be loaded, and of those that wait to be written."""

MAX_NOTHING: Final = 20_000
"""The maximum number of runtimes that are known to have no spec. If there are more, all are forgotten."""

BATCH: Final = 100
"""How many specs are loaded at once."""

ASK_AGAIN: Final = 30.0
"""Seconds until a spec that is missing or outdated in the store is loaded again."""

REST: Final = 5.0
"""Seconds for which the store is not called after a failure."""

LAST_WRITES: Final = 2.0
"""Seconds that :meth:`SpecKeeper.close` waits for specs to be written."""


class Trouble(StrEnum):
    """What can go wrong. No request fails because of it."""

    NOT_SAVED = "not_saved"  # kept in memory, and written when the store is available again
    NOT_LOADED = "not_loaded"
    UNREADABLE = "unreadable"  # its key was removed, or another version of the gateway wrote it
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"  # more than MAX_WAITING wait


@dataclass(frozen=True, slots=True)
class SpecEntry:
    """A spec in memory. ``since`` is when it was loaded, by the monotonic clock; ``size`` is in bytes."""

    spec: Spec
    since: float
    size: int

    def is_stale(self, row: Runtime, now: float) -> bool:
        """Whether the config has changed, so that another process may have stored newer labels."""
        if self.spec.labels is None or row.labels is not None or now < self.since + ASK_AGAIN:
            return False
        return is_outdated(row, self.spec)


class MadeRuntime(NamedTuple):
    """A create that made a runtime, with its ``owner`` where no suffix of its name shows it."""

    adapter: ProviderAdapter[Any]
    scope: str
    runtime: Runtime
    request: CreateRequest
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class SpecWrite:
    """What to write about a runtime of a provider. ``config`` is the JSON of its new config."""

    provider: str
    scope: str
    spec: Spec | None = None
    config: bytes | None = None
    deleted: bool = False
