"""A provider whose creates take effect at any time, and whose responses may be lost.

How it treats a create that is sent twice depends on its ``deduplication``.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.domain import errors
from gateway.domain.errors import ProviderFailure
from gateway.domain.values import Operation, State
from gateway.ports.error_mapping import ErrorTable, provider_error, unrecognized_response_error
from gateway.ports.provider import Deduplication
from gateway.ports.transport import Phase, TransportFailure, UpstreamResponse
from tests.faults.simulator.loop import OUTSIDE, REPLICA, Process
from tests.faults.simulator.scheduler import GO, Scheduler

DEADLINE: Final = 20.0
"""The deadline of a create, in seconds."""

_ERRORS: Final[ErrorTable] = {
    (None, 402, None): errors.InsufficientCredits,
    (None, 403, None): errors.PermissionDenied,
    (None, 409, None): errors.AlreadyExists,
}
_MIXED_UP: Final = ("another answer", "another name")
_BEFORE: Final = ("lost", "500", "429", "403", "html 403", *_MIXED_UP)
_AFTER: Final = ("lost", "500", "429", "402", "409", "html 503", "garbage", *_MIXED_UP)


@dataclass(frozen=True, slots=True)
class Sent:
    """A create that reached the wire: when, from which process, and its content."""

    at: float
    by: Process
    name: str
    marker: str | None
    body: bytes
    key: str | None


@dataclass(frozen=True, slots=True)
class Made:
    """A runtime. ``sent`` is the create that made it; None if it was made natively."""

    id: str
    name: str
    at: float
    sent: Sent | None
    state: State = State.RUNNING


@dataclass(slots=True)
class Upstream:
    """The provider's side. ``epoch`` is its clock's time at the start. A create takes effect within ``commits_within``
    seconds after it was sent, or never. ``on_sent`` and ``on_made`` are called for every create and every runtime.
    """

    name: str
    deduplication: Deduplication
    scheduler: Scheduler
    epoch: float
    commits_within: float
    on_sent: Callable[[Sent], None]
    on_made: Callable[[Made], None]
    lag: float = 0.0
    made: dict[str, Made] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    in_flight: int = 0

    def now(self) -> float:
        """The time of its own clock."""
        return self.epoch + self.scheduler.loop.now

    def live(self, name: str) -> list[Made]:
        """The runtimes that hold the name."""
        return [made for made in self.made.values() if made.name == name and made.state is State.RUNNING]

    def put(self, name: str) -> Made:
        """Add a runtime that was made natively."""
        made = Made(f"{self.name}-other", name, self.now(), None)
        self.made[made.id] = made
        return made

    def accept(self, sent: Sent) -> "asyncio.Future[tuple[Made, bool] | Exception]":
        """Accept a create that reached the wire. Return a future of its response."""
        self.sent.append(sent)
        self.on_sent(sent)
        self.in_flight += 1
        response: asyncio.Future[Any] = self.scheduler.loop.create_future()
        token = REPLICA.set(OUTSIDE)
        try:
            self.scheduler.loop.create_task(self._handle(sent, response))
        finally:
            REPLICA.reset(token)
        return response

    async def _handle(self, sent: Sent, response: "asyncio.Future[Any]") -> None:
        late = self.commits_within - 1.0
        try:
            arrives, leaves = f"the create arrives at {self.name}", f"the response leaves {self.name}"
            outcome = await self.scheduler.wait(arrives, faults=_BEFORE, delays=(DEADLINE + 1.0, late))
            result: Any = self._commit(sent) if outcome == GO else self._instead(outcome, None)
            if outcome == GO:
                outcome = await self.scheduler.wait(
                    leaves, faults=self._response_faults(), delays=(DEADLINE + 1.0,), needs=sent.by
                )
                if outcome != GO:
                    result = self._instead(outcome, result)
        finally:
            self.in_flight -= 1
        if not response.done():
            response.set_result(result)

    def _instead(self, fault: str, result: "tuple[Made, bool] | Exception | None") -> "tuple[Made, bool] | Exception":
        """What a fault makes of the result of a create; None without a commit. The response of another create has a
        runtime that this provider does not have. One with another name has the id of the create's own runtime, if it
        has one."""
        if fault not in _MIXED_UP:
            return _failure(fault)
        own = result[0] if isinstance(result, tuple) and fault == "another name" else None
        mine = own.id if own is not None else f"{self.name}-theirs"
        return Made(mine, "theirs", self.now(), None), True

    def _response_faults(self) -> Sequence[str]:
        """What may replace the response. Where a create by name is idempotent, a 409 means another body, so the create
        that made the runtime cannot receive one."""
        return [fault for fault in _AFTER if fault != "409" or self.deduplication is not Deduplication.BY_NAME]

    def _commit(self, sent: Sent) -> "tuple[Made, bool] | Exception":
        live = self.live(sent.name)
        if self.deduplication is Deduplication.BY_NAME and live:
            return (live[0], False) if live[0].sent is None or live[0].sent.body == sent.body else _failure("409")
        if self.deduplication is Deduplication.BY_KEY:
            same = [made for made in self.made.values() if made.sent and made.sent.key == sent.key]
            if same:
                return same[0], True
            if live:
                return _failure("409")
        made = Made(f"{self.name}-{len(self.made)}", sent.name, self.now(), sent)
        self.made[made.id] = made
        self.on_made(made)
        return made, True

    def shown(self, name: str, *, lagging: bool) -> list[Made]:
        """What a list shows. A lagging list leaves out what was made within the last ``lag`` seconds."""
        since = self.now() - self.lag
        return [
            made
            for made in self.made.values()
            if made.name == name and not (lagging and made.sent is not None and made.at > since)
        ]


def _failure(what: str) -> Exception:
    """The error of a create that this fault causes."""
    match what:
        case "lost":
            return TransportFailure("disconnected", Phase.SENT, operation=Operation.CREATE)
        case "garbage":
            failure = ProviderFailure("sim", status=201)
            return errors.OutcomeUnknown("It reported success with a body that cannot be read.", failure=failure)
        case _ if what.startswith("html"):
            return unrecognized_response_error("sim", Operation.CREATE, UpstreamResponse(int(what[5:]), {}, b"<html>"))
    return provider_error(_ERRORS, Operation.CREATE, ProviderFailure("sim", status=int(what)))
