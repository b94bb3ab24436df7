"""The transport interface: one request, one complete response, and a known phase for every failure."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from gateway.domain.errors import NotFound
from gateway.domain.pages import UnreadableRow
from gateway.domain.values import TRAITS, Operation, WorkClass

MAX_NOTED_ROWS: Final = 100
"""The maximum number of unreadable rows that one call records."""

_PARTS: Final = re.compile(r"[/\\]")
_AS_IT_IS: Final = re.compile(r"[A-Za-z0-9_~-]+\Z")
"""Segments that need no encoding, as ids are."""


class Phase(IntEnum):
    """How far a request got, known from connection events. Up to ``CONNECTING``, the provider has not received it."""

    QUEUED = 0  # waiting for a slot or a connection
    CONNECTING = 1  # name look-up, TCP, TLS
    SENT = 2  # at least the head of the request was written
    ANSWERED = 3  # the status line of a response was read

    @property
    def label(self) -> str:
        """The name used in logs."""
        return self.name.lower()


def is_path_segment(text: str) -> bool:
    """Whether :func:`path_segment` accepts the text."""
    return bool(text) and {".", ".."}.isdisjoint(_PARTS.split(text))


def path_segment(text: str) -> str:
    """Text that a caller or a provider chose (an id, a name, a scope) as one percent-encoded segment of a path.

    Raises :class:`NotFound` for text that would change the path: empty text, and the segments ``.`` and ``..``, also
    between encoded slashes, because servers and proxies may resolve them after decoding.
    """
    if _AS_IT_IS.match(text):
        return text
    if not is_path_segment(text):
        raise NotFound("There is nothing of this id: it has no characters of its own.")
    return quote(text, safe="")


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One request to the provider.

    ``path`` starts with ``/``, is already percent-encoded, and is appended to the provider's base URL. ``query`` has
    unencoded text. ``body`` is JSON, or None for no body and no content type.
    """

    operation: Operation
    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = {}
    body: bytes | None = None

    def __repr__(self) -> str:  # headers and body contain secrets
        return f"UpstreamRequest({self.method} {self.path})"


class UpstreamResponse(msgspec.Struct, frozen=True):
    """A complete response of any status. ``headers`` are looked up case-insensitively."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:  # the body may contain secrets
        return f"UpstreamResponse({self.status})"


@dataclass(slots=True)
class Attempt:
    """The record of one upstream attempt. ``seconds`` is its duration. ``outcome`` is the HTTP status, or the
    ``reason`` of a failure. ``operation`` is an :class:`Operation`, or ``native`` for the pass-through."""

    provider: str
    operation: str
    outcome: str
    seconds: float
    phase: Phase


class Call(msgspec.Struct):
    """The context of the provider requests of one operation.

    ``deadline`` is a time of the monotonic clock, at which the call fails, whatever it is doing. ``request_id`` and
    ``traceparent`` are sent to the provider.
    ``work`` is the class of work of the operation: a read before a stop uses a slot of ``release``, so it does not
    depend on other reads. None: each request has its own class.
    ``settling`` marks the reads that settle a create or verify a change: they have a small bulkhead of their own, so
    that many other requests do not delay them.
    ``attempts`` is filled by the transport, which also stores the ``Date`` header of the last response in
    ``provider_date``, so that ages of runtimes are computed by the provider's clock alone.
    ``queued`` is how many seconds the call waited for slots. ``caller`` is the principal, empty for the gateway itself.
    ``secrets`` are sent to the provider, which may echo them: they are removed from what is logged of its responses.
    ``writer`` is the name of the write that the call is, while it may be waited for by a move. ``before_write`` is
    called before each of its requests that may change something is sent, and raises if that must not be.
    ``unreadable`` are the first rows of lists that could not be read; ``unreadable_count`` is the number of all.
    """

    deadline: float
    request_id: str = ""
    traceparent: str | None = None
    settling: bool = False
    attempts: list[Attempt] = []
    provider_date: str | None = None
    queued: float = 0.0
    work: WorkClass | None = None
    caller: str = ""
    secrets: Sequence[str] = ()
    writer: str = ""
    before_write: Callable[[], None] | None = None
    unreadable: list[UnreadableRow] = []
    unreadable_count: int = 0

    def __repr__(self) -> str:  # without the secrets
        return f"Call({self.request_id!r})"

    def note_unreadable(self, rows: Sequence[UnreadableRow]) -> None:
        """Record unreadable rows of a list, for the log: at most :data:`MAX_NOTED_ROWS`, and the number of all."""
        self.unreadable += rows[: max(MAX_NOTED_ROWS - len(self.unreadable), 0)]
        self.unreadable_count += len(rows)

    def work_of(self, operation: Operation) -> WorkClass:
        """The class of work of a request in this call: that of the call for a read, otherwise the request's own."""
        traits = TRAITS[operation]
        return traits.work if self.work is None or self.settling or traits.mutates else self.work


class TransportFailure(Exception):
    """No complete response was received. ``phase`` shows whether the provider may have acted. ``reason`` is one of
    ``refused``, ``dns``, ``tls``, ``timeout``, ``disconnected``, ``unreadable``, ``cut_short``, ``too_large``,
    ``headers_too_large``, ``closed`` and ``failed``; or, where the gateway itself did not send the request,
    ``circuit_open`` or ``overloaded``.

    ``status`` is set if the head of a response was read before the failure. ``operation`` is that of the request.
    ``retry_after`` is the time in seconds after which a retry can succeed; None where it is not known. ``detail`` is a
    sentence about what was wrong with the response, without anything that the provider sent but lengths and names.
    """

    def __init__(
        self,
        reason: str,
        phase: Phase,
        *,
        status: int | None = None,
        operation: Operation | None = None,
        retry_after: float | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(f"{reason} while {phase.label}")
        self.reason = reason
        self.phase = phase
        self.status = status
        self.operation = operation
        self.retry_after = retry_after
        self.detail = detail


@dataclass(slots=True)
class WorkStatus:
    """The current load of one class of work at a provider: calls in flight and waiting for a slot, each with its limit
    (None: no limit), and the state of the ``breaker``. ``retry_after`` is in how many seconds an open breaker lets a
    call through; None where it does now."""

    in_flight: int = 0
    max_in_flight: int | None = None
    waiting: int = 0
    max_waiting: int | None = None
    breaker: Literal["closed", "open", "half_open"] = "closed"
    retry_after: float | None = None


class Transport(ABC):
    """Sends requests to one provider's base URL only.

    ``ends_in_time``: :meth:`send` always ends by ``call.deadline``, so that a wrapper needs no timer of its own.
    """

    ends_in_time = False

    @abstractmethod
    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        """Send the request, and read the complete response.

        Redirects are not followed: they are returned like any other response. Raises only :class:`TransportFailure`: no
        complete response was received within ``call.deadline`` and the size limit.
        """

    def reserve(self, operation: Operation, call: Call) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        """Acquire what the policies require for an operation (a slot of the bulkhead, the breaker's permission) for the
        ``async with`` block, so that the gateway does not delay or refuse requests inside it. A transport without
        policies does nothing. Raises :class:`TransportFailure` of the phase ``QUEUED``."""
        return nullcontext()

    def status(self) -> dict[WorkClass, WorkStatus]:
        """The current load by class of work. A transport without policies reports no limits."""
        return {work: WorkStatus() for work in WorkClass}

    @abstractmethod
    async def close(self) -> None:
        """Close all connections. Idempotent."""


class WrappingTransport(Transport):
    """Delegates to the inner transport whatever a wrapper does not override."""

    def __init__(self, inner: Transport) -> None:
        self.inner: Final = inner
        self.ends_in_time = inner.ends_in_time

    def reserve(self, operation: Operation, call: Call) -> AbstractAsyncContextManager[None]:
        return self.inner.reserve(operation, call)

    def status(self) -> dict[WorkClass, WorkStatus]:
        return self.inner.status()

    async def close(self) -> None:
        await self.inner.close()
