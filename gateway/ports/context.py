"""The context of one inbound request."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Final, Protocol, Self

import msgspec

from gateway.domain.access import SYSTEM, Principal, Rate, Window
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.transport import Attempt, Call

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The id of the request that the current task serves. Every log line contains it."""


class Admission(Protocol):
    """The admission of one request. It limits how many admitted requests are bound to one provider, so that a slow
    provider leaves capacity for the others. Providers are given by name."""

    def enter(self, provider: str, *, always: bool = False) -> bool:
        """Bind the request to a provider; False: it was bound already. Raises :class:`Overloaded` if too many other
        requests are bound to that provider, unless ``always``."""

    def leave(self, provider: str) -> None:
        """Release the request from a provider. The end of the request releases it from all."""


class RequestContext(msgspec.Struct):
    """The caller and id of a request, and what its log line reports. The principal is ``SYSTEM`` until it is known.

    ``attempts`` collects all upstream attempts; those of an operation are added when the operation ends. ``queued`` is
    the total of the seconds that they waited in the gateway's bulkheads. ``provider``, ``scope`` and ``runtime_id`` are
    set once they are known, ``state`` is that of the runtime after a verb. ``cache`` is the cache result of a read.
    ``admission`` None: work that no client requested. ``rate`` is the caller's rate limit with its window after this
    request, ``charged`` are the providers on whose accounts the request was counted. ``waited`` is the total of the
    seconds that the caller asked to wait. ``on_progress`` is called by :meth:`progressed`. ``changes`` is what the
    audit trail says about the action, without secrets; ``audited`` is the status with which it was recorded already.
    ``work`` may go on when the request has ended. ``mover``: a move does this, at the provider that an id names: its
    writes do not wait for the rows that it holds itself, and ids are not translated (docs/moves.md). ``moves_known`` is
    the last change of the relocations that was known when the request looked for its runtime, ``moved_meanwhile``
    that it did not find it there, and others are known now.

    ``renamed`` has the ids that runtimes had first at their providers by the present ones, which are in the response of
    a dialect.

    In its ``with`` block, the current task and the tasks that it starts belong to this request (:data:`REQUEST_ID`).
    """

    request_id: str
    principal: Principal = SYSTEM
    traceparent: str | None = None
    attempts: list[Attempt] = []
    queued: float = 0.0
    provider: str | None = None
    scope: str | None = None
    runtime_id: str | None = None
    state: State | None = None
    cache: str | None = None
    intent_id: str | None = None
    idempotency: str | None = None
    admission: Admission | None = None
    rate: tuple[Rate, Window] | None = None
    charged: tuple[str, ...] = ()
    waited: float = 0.0
    on_progress: Callable[[Runtime | None], None] | None = None
    changes: dict[str, str | None] | None = None
    audited: int = 0
    work: "asyncio.Future[Any] | None" = None
    mover: bool = False
    moves_known: int | None = None
    moved_meanwhile: bool = False
    renamed: dict[str, str] = {}
    _before: Token[str | None] | None = None

    def __enter__(self) -> Self:
        self._before = REQUEST_ID.set(self.request_id)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._before is not None:
            REQUEST_ID.reset(self._before)
            self._before = None

    def progressed(self, runtime: Callable[[], Runtime] | None = None) -> None:
        """Report the runtime that a create or start is about, as the caller sees it now. None: the intent of the
        caller's create is written."""
        if self.on_progress is not None:
            self.on_progress(None if runtime is None else runtime())

    def call(self, deadline: float) -> Call:
        """The :class:`Call` for provider requests of this request. ``deadline`` is a time of the monotonic clock."""
        return Call(deadline, self.request_id, self.traceparent, caller=self.principal.name)
