"""How an adapter talks to its provider: one request, one whole answer, and a known phase for every failure."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal
from urllib.parse import quote

from gateway.domain.errors import NotFound
from gateway.domain.operations import TRAITS, Operation
from gateway.domain.pages import UnreadableRow
from gateway.domain.values import WorkClass

MAX_NOTED_ROWS: Final = 100
"""How many unreadable rows one call remembers at most."""

_PARTS: Final = re.compile(r"[/\\]")


class Phase(IntEnum):
    """How far a request got, known from connection events. Up to ``CONNECTING`` the provider cannot have seen it."""

    QUEUED = 0  # waiting for a connection of the pool
    CONNECTING = 1  # name look-up, TCP, TLS
    SENT = 2  # at least the head of the request was written
    ANSWERED = 3  # the status line of an answer was read

    @property
    def label(self) -> str:
        """The name used in logs."""
        return self.name.lower()


def path_segment(text: str) -> str:
    """What somebody else chose (an id, a name, a scope) as one segment of a path, percent-encoded.

    Raises :class:`NotFound` for what would lead somewhere else: nothing at all, and dots, also those between encoded
    slashes, which servers and what stands before them may resolve after decoding.
    """
    if not text or not {".", ".."}.isdisjoint(_PARTS.split(text)):
        raise NotFound("There is nothing of this id: it has no characters of its own.")
    return quote(text, safe="")


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One call to the provider.

    ``path`` starts with ``/`` and is percent-encoded already; it is appended to the provider's base URL. ``query``
    holds plain text. ``body`` is JSON, or None for no body and no content type.
    """

    operation: Operation
    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A whole answer of any status. ``headers`` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(slots=True)
class Attempt:
    """What is remembered of one upstream attempt. Times in seconds; ``outcome`` is a status or a failure's name.
    ``operation`` is an :class:`Operation`, or ``native`` for what is passed through."""

    provider: str
    operation: str
    outcome: str
    seconds: float
    phase: Phase


@dataclass(slots=True)
class Call:
    """What goes along with all provider calls made for one inbound request.

    ``deadline`` is a moment of the clock's ``monotonic``: at that time the call fails, whatever it is doing.
    ``work`` is the class of what it is all for: a read on the way to a stop has the place of a stop, whatever becomes
    of other reads. None: each request is of its own class.
    ``settling`` marks the reads that find out what became of a create: they have a small bulkhead of their own, so that
    a flood of other requests does not keep them waiting. ``attempts`` is added to by the transport, which also keeps
    the ``Date`` of the last answer in ``provider_date``: ages are told apart by the provider's own clock.
    ``queued`` is how many seconds the call waited for its turn in this gateway. ``caller`` is the principal on whose
    behalf it is made, empty for the gateway itself.
    ``unreadable`` are the first rows of lists that could not be read, of ``unreadable_count`` in all.
    """

    deadline: float
    request_id: str = ""
    traceparent: str | None = None
    settling: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    provider_date: str | None = None
    queued: float = 0.0
    work: WorkClass | None = None
    caller: str = ""
    unreadable: list[UnreadableRow] = field(default_factory=list)
    unreadable_count: int = 0

    def note_unreadable(self, rows: Sequence[UnreadableRow]) -> None:
        """Remember rows of a list that could not be read, for the log: the first ones, and how many there are."""
        self.unreadable += rows[: max(MAX_NOTED_ROWS - len(self.unreadable), 0)]
        self.unreadable_count += len(rows)

    def work_of(self, operation: Operation) -> WorkClass:
        """The class that a request of this call belongs to: a read to what it is for, else its own."""
        traits = TRAITS[operation]
        return traits.work if self.work is None or self.settling or traits.mutates else self.work


class TransportFailure(Exception):
    """No whole answer came. ``phase`` tells whether the provider can have acted; ``reason`` is a bounded word
    (``refused``, ``dns``, ``tls``, ``timeout``, ``disconnected``, ``unreadable``, ``cut_short``, ``too_large``,
    ``closed``, ``failed``; and where the gateway itself did not let it go out, ``circuit_open`` and ``overloaded``).

    ``status`` is set when the head of an answer was read before it failed; ``operation`` is that of the request;
    ``retry_after`` in seconds, where it is known when another try has a chance.
    """

    def __init__(
        self,
        reason: str,
        phase: Phase,
        *,
        status: int | None = None,
        operation: Operation | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{reason} while {phase.label}")
        self.reason = reason
        self.phase = phase
        self.status = status
        self.operation = operation
        self.retry_after = retry_after


@dataclass(slots=True)
class WorkStatus:
    """Where one class of work at a provider stands now: calls under way and waiting for their turn, each with its limit
    (None: there is none), and the ``breaker`` (``closed``, ``open``, ``half_open``). ``retry_after`` is in how many
    seconds it lets something through again, None where it does."""

    in_flight: int = 0
    max_in_flight: int | None = None
    waiting: int = 0
    max_waiting: int | None = None
    breaker: Literal["closed", "open", "half_open"] = "closed"
    retry_after: float | None = None


class Transport(ABC):
    """Sends requests to one provider's base URL, and nowhere else.

    ``ends_in_time`` promises that :meth:`send` is over by ``call.deadline`` whatever happens, so that whoever wraps it
    needs no timer of its own.
    """

    ends_in_time = False

    @abstractmethod
    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        """Send once and read the whole answer.

        A redirect is an answer like any other: nothing is followed. Raises :class:`TransportFailure` when no whole
        answer came within ``call.deadline`` or the size limit, and nothing else.
        """

    def reserve(self, operation: Operation, call: Call) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        """Hold what this gateway lets an operation have (a place in the bulkhead, a breaker that lets it through) from
        now on, so that what is sent inside is not held up or refused by the gateway any more. A transport without
        policies has nothing to hold. Raises :class:`TransportFailure` of the phase ``QUEUED``."""
        return nullcontext()

    def status(self) -> dict[WorkClass, WorkStatus]:
        """Where each class of work stands now. A transport without policies has no limits to tell of."""
        return {work: WorkStatus() for work in WorkClass}

    @abstractmethod
    async def close(self) -> None:
        """Give all connections back. Idempotent."""
