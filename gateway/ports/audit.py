"""The audit trail (docs/audit.md): its events, and the store's interface for them. The rules of
:mod:`gateway.ports.store` apply, but the times of events are those of the gateway that recorded them."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import getrandbits
from typing import Any, Final, Literal, Self

from gateway.domain.runtime import Model

ID: Final = re.compile(r"ev_[0-9a-f]{30}\Z")


class AuditOutcome(StrEnum):
    """How an action ended. ``refused``: the gateway did not let the caller do it."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


class GatewayAction(StrEnum):
    """The actions that are not an operation of an API. The others have the name of their operation, as in metrics and
    logs; that of a dialect begins with its prefix and a dot."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Self:
        member = str.__new__(cls, name)
        member._value_, member.meaning = name, meaning
        return member

    CONNECTION_ISSUED = "connection.issued", "a caller receives the addresses and secrets of connections"
    CONNECTION_OPENED = "connection.opened", "a WebSocket of the data plane or the pass-through is opened"
    CONNECTION_CLOSED = "connection.closed", "it is closed"
    LIFETIME_ENDED = "lifetime.ended", "the gateway ends an instance at its maximum lifetime"
    PRINCIPALS_RELOADED = "principals.reloaded", "a reload of the settings changes principals"


class AuditEvent(Model, frozen=True, kw_only=True):
    """One entry of the audit trail. ``principal`` null: the caller is not known, or it is the gateway itself.

    ``changes`` names what was changed, without values of secrets. ``count`` is above 1 for repeated refusals of one
    minute, which have the ids of the first of them.
    """

    object: Literal["audit_event"] = "audit_event"
    id: str
    at: str
    principal: str | None = None
    key_id: str | None = None
    remote: str | None = None
    action: str
    runtime_id: str | None = None
    provider: str | None = None
    outcome: AuditOutcome
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    changes: Mapping[str, Any] | None = None
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """A page of events, newest first. ``since`` and ``until`` are seconds since the epoch, ``before`` an event's id."""

    principal: str | None = None
    runtime_id: str | None = None
    actions: frozenset[str] = frozenset()
    outcome: str | None = None
    since: float | None = None
    until: float | None = None
    before: str | None = None
    limit: int = 50


class AuditStore(ABC):
    """Stores audit events. They are never changed, and deleted only by their age."""

    @abstractmethod
    async def add_events(self, events: Sequence[AuditEvent]) -> None:
        """Insert events. One whose id is stored already is left out."""

    @abstractmethod
    async def audit_events(self, query: AuditQuery) -> Sequence[AuditEvent]:
        """A page of events."""

    @abstractmethod
    async def purge_events(self, kept: float, limit: int) -> int:
        """Delete at most ``limit`` of the events older than ``kept`` seconds, and return how many were deleted."""


def first_id(seconds: float) -> str:
    """A text below the ids of all events from this time on, and above those of all earlier ones."""
    return f"ev_{max(0, int(seconds * 1_000_000)):014x}"


def new_event_id(now: float) -> str:
    """The id of an event. Ids are ordered by time."""
    return f"{first_id(now)}{getrandbits(64):016x}"
