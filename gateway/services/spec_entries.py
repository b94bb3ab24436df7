"""What the keeper of specs holds in memory, and what can go wrong with it."""

from dataclasses import dataclass
from enum import StrEnum

from gateway.services.sent_spec import Spec


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


@dataclass(frozen=True, slots=True)
class SpecWrite:
    """What to write about a runtime of a provider. ``config`` is the JSON of its new config."""

    provider: str
    scope: str
    spec: Spec | None = None
    config: bytes | None = None
    deleted: bool = False
