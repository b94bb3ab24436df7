"""A provider as it may be: it carries out what it was sent whenever it likes, and what it answers may be lost.

There are three ways of dealing with a create that is sent twice: those of the three provider APIs.
"""

# ruff: noqa: ARG002 (an adapter's methods take more than these fakes look at)

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, ClassVar, Final

import msgspec

from gateway.domain import errors
from gateway.domain.errors import NotFound, ProviderFailure
from gateway.domain.features import CreateFeature
from gateway.domain.ids import RuntimeRef, format_runtime_id
from gateway.domain.operations import Operation
from gateway.domain.pages import ProviderPage, ProviderQuery, page_of_all
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import Kind, State
from gateway.ports.error_mapping import ErrorTable, provider_error, unrecognized_response_error
from gateway.ports.provider import Created, Deduplication, ProviderAdapter, Seen, WireCreate
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import (
    Attempt,
    Call,
    Phase,
    Transport,
    TransportFailure,
    UpstreamRequest,
    UpstreamResponse,
)
from tests.faults.simulator.loop import OUTSIDE, REPLICA, Life
from tests.faults.simulator.scheduler import GO, Scheduler

DEADLINE: Final = 20.0
"""Seconds that a create may take."""

_ERRORS: Final[ErrorTable] = {
    (None, 402, None): errors.InsufficientCredits,
    (None, 403, None): errors.PermissionDenied,
    (None, 409, None): errors.AlreadyExists,
}
_BEFORE: Final = ("lost", "500", "429", "403", "html 403")
_AFTER: Final = ("lost", "500", "429", "402", "409", "html 503", "garbage")


@dataclass(frozen=True, slots=True)
class Sent:
    """A create that reached the wire: when, by whom, and what."""

    at: float
    by: Life
    name: str
    marker: str | None
    body: bytes
    key: str | None


@dataclass(frozen=True, slots=True)
class Made:
    """A runtime. ``sent`` is the create that made it; None for somebody else's."""

    id: str
    name: str
    at: float
    sent: Sent | None
    state: State = State.RUNNING


@dataclass(slots=True)
class Upstream:
    """The provider's side. ``epoch`` is what its clock says at the beginning; ``commits_within`` seconds after a create
    was sent it is carried out or never will be. ``on_sent`` and ``on_made`` hear of every create and every runtime.
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
        """Its own clock."""
        return self.epoch + self.scheduler.loop.now

    def live(self, name: str) -> list[Made]:
        """The runtimes that hold the name."""
        return [made for made in self.made.values() if made.name == name and made.state is State.RUNNING]

    def put(self, name: str) -> Made:
        """Let somebody else's runtime be there."""
        made = Made(f"{self.name}-other", name, self.now(), None)
        self.made[made.id] = made
        return made

    def accept(self, sent: Sent) -> "asyncio.Future[tuple[Made, bool] | Exception]":
        """Take a create that reached the wire; what is answered, whenever that is."""
        self.sent.append(sent)
        self.on_sent(sent)
        self.in_flight += 1
        answer: asyncio.Future[Any] = self.scheduler.loop.create_future()
        token = REPLICA.set(OUTSIDE)
        try:
            self.scheduler.loop.create_task(self._handle(sent, answer))
        finally:
            REPLICA.reset(token)
        return answer

    async def _handle(self, sent: Sent, answer: "asyncio.Future[Any]") -> None:
        late = self.commits_within - 1.0
        try:
            arrives, leaves = f"the create arrives at {self.name}", f"the answer of {self.name} leaves"
            told = await self.scheduler.wait(arrives, faults=_BEFORE, delays=(DEADLINE + 1.0, late))
            result: Any = self._commit(sent) if told == GO else _failure(told)
            if told == GO:
                told = await self.scheduler.wait(
                    leaves, faults=self._answers(), delays=(DEADLINE + 1.0,), needs=sent.by
                )
                if told != GO:
                    result = _failure(told)
        finally:
            self.in_flight -= 1
        if not answer.done():
            answer.set_result(result)

    def _answers(self) -> Sequence[str]:
        """What may come in place of the answer. A name that is ensured conflicts with other bodies only, never with the
        very create that took it."""
        return [told for told in _AFTER if told != "409" or self.deduplication is not Deduplication.BY_NAME]

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
        """What a list shows; a lagging one nothing that was made within ``lag`` seconds."""
        since = self.now() - self.lag
        return [
            made
            for made in self.made.values()
            if made.name == name and not (lagging and made.sent is not None and made.at > since)
        ]


def _failure(what: str) -> Exception:
    """The failure of a create that a fault makes."""
    match what:
        case "lost":
            return TransportFailure("disconnected", Phase.SENT, operation=Operation.CREATE)
        case "garbage":
            failure = ProviderFailure("sim", status=201)
            return errors.OutcomeUnknown("It reported success with a body that is none.", failure=failure)
        case _ if what.startswith("html"):
            return unrecognized_response_error("sim", Operation.CREATE, UpstreamResponse(int(what[5:]), {}, b"<html>"))
    return provider_error(_ERRORS, Operation.CREATE, ProviderFailure("sim", status=int(what)))


class NoTransport(Transport):
    """Never used: the adapters below are the provider."""

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        raise AssertionError(f"nothing is sent by {request.operation}")

    async def close(self) -> None:
        return None


class SimulatedAdapter(ProviderAdapter[ProviderSettings]):
    """What the adapters have in common. It belongs to one replica."""

    api: ClassVar[str] = "sim"
    kinds = frozenset({Kind.BROWSER})
    create_features: ClassVar[frozenset[str]] = frozenset({CreateFeature.LAUNCH_ON_CREATE})
    deduplication = Deduplication.NONE
    definitive_rejections: ClassVar[frozenset[int]] = frozenset({400, 401, 403, 404})

    def __init__(self, settings: ProviderSettings, upstream: Upstream) -> None:
        super().__init__(settings, NoTransport())
        self.upstream = upstream

    def parse_scope(self, scope: str) -> str:
        return scope

    def parse_reference(self, reference: str) -> RuntimeRef:
        return RuntimeRef("home", reference)

    def reference(self, runtime: Runtime) -> RuntimeRef:
        return RuntimeRef(runtime.scope, runtime.provider_id)

    def check_create(self, request: CreateRequest) -> None:
        return None

    def wire_create(self, request: CreateRequest, scope: str, *, marker: str | None = None) -> WireCreate:
        return WireCreate(msgspec.json.encode({"name": request.name, "marker": marker if self.marks_creates else None}))

    async def send_create(
        self, wire: WireCreate, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        upstream, loop = self.upstream, self.upstream.scheduler.loop
        attempt = Attempt(self.name, Operation.CREATE, "", 0.0, Phase.CONNECTING)
        call.attempts.append(attempt)
        told = await upstream.scheduler.wait(f"connect to {self.name}", faults=("refused",))
        if told != GO or loop.now >= call.deadline:
            raise TransportFailure(told if told != GO else "timeout", Phase.CONNECTING, operation=Operation.CREATE)
        attempt.phase = Phase.SENT
        body = msgspec.json.decode(wire.body)
        answer = upstream.accept(
            Sent(loop.now, REPLICA.get(), body["name"], body["marker"], wire.body, idempotency_key)
        )
        timer = loop.call_at(call.deadline, _give_up, answer)
        try:
            result = await answer
        finally:
            timer.cancel()
        call.provider_date = self._date()
        if isinstance(result, Exception):
            raise result
        made, created = result
        return Created(self._runtime(made), created=created)

    async def find_with_markers(self, scope: str, name: str, call: Call) -> Sequence[Seen]:
        shown = await self._read(name, call)
        return [Seen(self._runtime(made), self._marker(made)) for made in shown]

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        return [self._runtime(made) for made in await self._read(name, call)]

    async def get(self, ref: RuntimeRef, call: Call) -> Runtime:
        await self._reading("get", call)
        made = self.upstream.made.get(ref.provider_id)
        if made is None:
            raise NotFound("There is no such runtime.", failure=ProviderFailure(self.name, status=404))
        return self._runtime(made)

    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        return page_of_all([self._runtime(made) for made in self.upstream.made.values()], query)

    async def check_credentials(self, call: Call) -> None:
        return None

    async def _read(self, name: str, call: Call) -> Sequence[Made]:
        lags = ("lags",) if self.upstream.lag else ()
        told = await self._reading("look", call, lags)
        return self.upstream.shown(name, lagging=told == "lags")

    async def _reading(self, what: str, call: Call, faults: Sequence[str] = ()) -> str:
        call.attempts.append(Attempt(self.name, Operation.LIST, "", 0.0, Phase.SENT))
        told = await self.upstream.scheduler.wait(f"{what} at {self.name}", faults=("fails", *faults))
        if self.upstream.scheduler.loop.now >= call.deadline:
            told = "fails"
        if told == "fails":
            raise TransportFailure("disconnected", Phase.SENT, operation=Operation.LIST)
        call.provider_date = self._date()
        return told

    def _date(self) -> str:
        return format_datetime(datetime.fromtimestamp(self.upstream.now(), UTC), usegmt=True)

    def _marker(self, made: Made) -> str | None:
        return made.sent.marker if made.sent is not None else None

    def _runtime(self, made: Made) -> Runtime:
        return Runtime(
            id=format_runtime_id(self.name, made.id),
            kind=min(self.kinds),
            provider=self.name,
            scope="home",
            provider_id=made.id,
            name=made.name,
            state=made.state,
            created_at=datetime.fromtimestamp(made.at, UTC).isoformat(),
        )


def _give_up(answer: "asyncio.Future[Any]") -> None:
    if not answer.done():
        answer.set_result(TransportFailure("timeout", Phase.SENT, operation=Operation.CREATE))


class ByName(SimulatedAdapter):
    """A second create of a name answers with the first one's runtime; and it costs nothing."""

    kinds = frozenset({Kind.DURABLE})
    create_features: ClassVar[frozenset[str]] = frozenset({CreateFeature.CREATE_IDLE})
    deduplication = Deduplication.BY_NAME
    definitive_rejections: ClassVar[frozenset[int]] = frozenset({400, 401, 403, 404, 422, 426})
    create_is_free = True


class ByKey(SimulatedAdapter):
    """It knows idempotency keys, its names are unique, and a create carries a marker."""

    deduplication = Deduplication.BY_KEY
    marks_creates = True


class Neither(SimulatedAdapter):
    """It makes a second runtime of a create that is sent twice."""


ADAPTERS: Final = {cls.deduplication: cls for cls in (ByName, ByKey, Neither)}
