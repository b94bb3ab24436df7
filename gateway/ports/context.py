"""One inbound request, as the use cases see it."""

from dataclasses import dataclass, field
from typing import Protocol

from gateway.ports.transport import Attempt, Call


class Admission(Protocol):
    """A request's part in how many may be worked on at once, so that those for one provider leave room for the others.
    A provider's name stands for it."""

    def enter(self, provider: str, *, always: bool = False) -> bool:
        """The request needs a provider from now on; False: it did before. Raises :class:`Overloaded`, unless
        ``always``, where too many others need that one."""

    def leave(self, provider: str) -> None:
        """It does not any more. (The end of the request leaves all.)"""


@dataclass(slots=True)
class RequestContext:
    """Who asks, under which id, and what is found out on the way for the log line.

    ``attempts`` collects all upstream attempts, those of each operation when it ends; ``queued`` adds up the seconds
    that they waited for their turn in this gateway.
    ``provider``, ``scope`` and ``runtime_id`` are set when they are known; ``cache`` is what became of a read that may
    be answered from memory. ``admission`` is None for what no client asked for.
    """

    request_id: str
    principal: str
    traceparent: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    queued: float = 0.0
    provider: str | None = None
    scope: str | None = None
    runtime_id: str | None = None
    cache: str | None = None
    intent_id: str | None = None
    idempotency: str | None = None
    admission: Admission | None = field(default=None, repr=False)

    def call(self, deadline: float) -> Call:
        """A provider call on behalf of this request. ``deadline`` is a moment of the monotonic clock."""
        return Call(deadline, self.request_id, self.traceparent)
