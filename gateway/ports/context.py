"""One inbound request, as the use cases see it."""

from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from gateway.ports.transport import Attempt, Call

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The id of the request that the current task works for. Every log line has it."""


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

    ``with`` the context, the current task and those that it starts work for this request (:data:`REQUEST_ID`).
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
    _before: Token[str | None] | None = field(default=None, init=False, repr=False, compare=False)

    def __enter__(self) -> Self:
        self._before = REQUEST_ID.set(self.request_id)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._before is not None:
            REQUEST_ID.reset(self._before)
            self._before = None

    def call(self, deadline: float) -> Call:
        """A provider call on behalf of this request. ``deadline`` is a moment of the monotonic clock."""
        return Call(deadline, self.request_id, self.traceparent, caller=self.principal)
