"""Three adapters for the simulated provider, which treat a repeated create as the three provider APIs do."""

# ruff: noqa: ARG002 (the port's methods have parameters that these fakes do not use)

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any, ClassVar, Final

import msgspec

from gateway.domain.errors import NotFound, ProviderFailure
from gateway.domain.ids import RuntimeRef, format_runtime_id
from gateway.domain.pages import ProviderPage, ProviderQuery, page_of_all
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import CreateFeature, Kind, Operation
from gateway.ports.provider import Created, Deduplication, ProviderAdapter, Seen, WireCreate
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Attempt, Call, Phase, Transport, TransportFailure, UpstreamRequest, UpstreamResponse
from tests.faults.simulator.loop import REPLICA
from tests.faults.simulator.provider import Made, Sent, Upstream
from tests.faults.simulator.scheduler import GO


class NoTransport(Transport):
    """Fails when it is used: the adapters below call the simulated provider directly."""

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        raise AssertionError(f"the simulation sends no HTTP request, but {request.operation} did")

    async def close(self) -> None:
        return None


class SimulatedAdapter(ProviderAdapter[ProviderSettings]):
    """What the adapters have in common. Each replica has an instance of its own."""

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

    def format_reference(self, ref: RuntimeRef) -> str:
        return ref.provider_id

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
        outcome = await upstream.scheduler.wait(f"connect to {self.name}", faults=("refused",))
        if outcome != GO or loop.now >= call.deadline:
            raise TransportFailure(
                outcome if outcome != GO else "timeout", Phase.CONNECTING, operation=Operation.CREATE
            )
        attempt.phase = Phase.SENT
        body = msgspec.json.decode(wire.body)
        response = upstream.accept(
            Sent(loop.now, REPLICA.get(), body["name"], body["marker"], wire.body, idempotency_key)
        )
        timer = loop.call_at(call.deadline, _give_up, response)
        try:
            result = await response
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
        outcome = await self._reading("look-up", call, lags)
        return self.upstream.shown(name, lagging=outcome == "lags")

    async def _reading(self, what: str, call: Call, faults: Sequence[str] = ()) -> str:
        call.attempts.append(Attempt(self.name, Operation.LIST, "", 0.0, Phase.SENT))
        outcome = await self.upstream.scheduler.wait(f"{what} at {self.name}", faults=("fails", *faults))
        if self.upstream.scheduler.loop.now >= call.deadline:
            outcome = "fails"
        if outcome == "fails":
            raise TransportFailure("disconnected", Phase.SENT, operation=Operation.LIST)
        call.provider_date = self._date()
        return outcome

    def _date(self) -> str:
        return _http_date(int(self.upstream.now()))

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


@lru_cache
def _http_date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True)


def _give_up(response: "asyncio.Future[Any]") -> None:
    if not response.done():
        response.set_result(TransportFailure("timeout", Phase.SENT, operation=Operation.CREATE))


class ByName(SimulatedAdapter):
    """A second create of a name returns the first one's runtime, and a create is free of charge."""

    kinds = frozenset({Kind.DURABLE})
    create_features: ClassVar[frozenset[str]] = frozenset({CreateFeature.CREATE_IDLE})
    deduplication = Deduplication.BY_NAME
    definitive_rejections: ClassVar[frozenset[int]] = frozenset({400, 401, 403, 404, 422, 426})
    create_is_free = True


class ByKey(SimulatedAdapter):
    """The provider recognises idempotency keys, its names are unique, and a create carries a marker."""

    deduplication = Deduplication.BY_KEY
    marks_creates = True


class Neither(SimulatedAdapter):
    """A create that is sent twice makes two runtimes."""


ADAPTERS: Final = {cls.deduplication: cls for cls in (ByName, ByKey, Neither)}
