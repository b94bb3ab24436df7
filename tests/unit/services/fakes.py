"""Fake adapters without a transport, controlled by the test, and fleets of them."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from pydantic import SecretStr

from gateway.domain.access import Principal
from gateway.domain.config import RuntimeConfig
from gateway.domain.errors import GatewayError, NotFound, UnsupportedFeature, ValidationFailed
from gateway.domain.ids import RuntimeRef, b64url, format_runtime_id, from_b64url
from gateway.domain.lifecycle import encoded_actions
from gateway.domain.pages import ProviderPage, ProviderQuery, page_of_all
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest, StartRequest
from gateway.domain.runtime import BrowserPart, ConfigDocument, Connection, Lease, Runtime
from gateway.domain.validation import validate
from gateway.domain.values import CreateFeature, Kind, Operation, State
from gateway.ports.clock import Clock
from gateway.ports.context import REQUEST_ID, RequestContext
from gateway.ports.provider import (
    Created,
    Deduplication,
    ProviderAdapter,
    SupportsConfig,
    SupportsConnections,
    SupportsDelete,
    SupportsKeepalive,
    SupportsPause,
    SupportsReset,
    SupportsStart,
    SupportsStop,
    WireCreate,
)
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.store import Store
from gateway.ports.transport import Attempt, Call, Phase, Transport, TransportFailure, UpstreamRequest, UpstreamResponse
from gateway.services import Services
from gateway.services.fleet import Fleet
from gateway.services.intents import CreateContext, IntentService, PayloadSealer, TargetResolver
from gateway.settings import CreatesSettings
from gateway.storage.sealing import Keyring
from tests.memory_store import MemoryStore

TOKEN = "provider-token-4711"
Failure = GatewayError | TransportFailure


class FakeClock(Clock):
    """A clock that moves only when a test or a sleep moves it."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


class NoTransport(Transport):
    """A transport that must not be used."""

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        raise AssertionError(f"the fake adapters send nothing, and not {request.operation} until {call.deadline}")

    async def close(self) -> None:
        return None


@dataclass
class World:
    """The runtimes of a fake provider, the calls that it received, and its failures. ``logged_ids`` has the request id
    that log lines had during each of ``calls``.

    ``failures`` holds per method the next failures, taken one by one; None lets that call through. ``before`` is run
    ahead of the method of its name.
    """

    runtimes: dict[str, Runtime] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    logged_ids: list[str | None] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    queries: list[ProviderQuery] = field(default_factory=list)
    failures: dict[str, list[Failure | None]] = field(default_factory=dict)
    before: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    starts: list[StartRequest] = field(default_factory=list)
    connections: dict[str, Sequence[Connection]] = field(default_factory=dict)

    async def enter(self, method: str, call: Call) -> None:
        """Record the call, and raise the next failure of the method, if any."""
        self.asked.append(method)
        self.calls.append(call)
        self.logged_ids.append(REQUEST_ID.get())
        call.attempts.append(Attempt("fake", Operation.GET, "done", 0.0, Phase.ANSWERED))
        if method in self.before:
            await self.before[method]()
        pending = self.failures.get(method)
        failure = pending.pop(0) if pending else None
        if failure is not None:
            raise failure

    def fail(self, method: str, *failures: Failure | None) -> None:
        """Make the next calls of a method fail."""
        self.failures.setdefault(method, []).extend(failures)


class FakeAdapter(ProviderAdapter[ProviderSettings]):
    """An adapter over a :class:`World`, without optional abilities."""

    api = "fake"
    kinds = frozenset({Kind.DURABLE})
    create_features = frozenset(
        {
            CreateFeature.CREATE_IDLE,
            CreateFeature.DISPLAY_NAME,
            CreateFeature.DESCRIPTION,
            CreateFeature.PROJECT,
            CreateFeature.LABELS,
            CreateFeature.CONFIG_V2,
        }
    )
    deduplication = Deduplication.BY_NAME
    definitive_rejections = frozenset({400, 401, 403, 404, 422, 426})
    create_is_free = True
    options: frozenset[str] = frozenset()

    def __init__(self, name: str = "one", **settings: Any) -> None:
        known = {"name": name, "api": self.api, "base_url": "http://fake.test", "token": TOKEN, "scope": "home"}
        super().__init__(ProviderSettings.model_validate({**known, **settings}), NoTransport())
        self.world = World()

    def put(self, name: str, state: State = State.IDLE, scope: str = "home", **fields: Any) -> Runtime:
        """Add a runtime."""
        provider_id = fields.pop("provider_id", f"{name}-{len(self.world.runtimes)}")
        if Kind.BROWSER in self.kinds:
            fields.setdefault("browser", BrowserPart())
        runtime = self.shown(
            Runtime(
                id="",
                kind=fields.pop("kind", min(self.kinds)),
                provider=self.name,
                scope=scope,
                provider_id=provider_id,
                name=name,
                state=state,
                **fields,
            )
        )
        self.world.runtimes[provider_id] = runtime
        self.world.configs[provider_id] = {"version": "v2"}
        return runtime

    def shown(self, runtime: Runtime) -> Runtime:
        """The runtime with its id and actions."""
        reference = self.format_reference(self.reference(runtime))
        return msgspec.structs.replace(
            runtime, id=format_runtime_id(self.name, reference), actions=encoded_actions(self.features, runtime.state)
        )

    def move(self, provider_id: str, state: State) -> Runtime:
        """Change the state of a runtime."""
        moved = self.shown(msgspec.structs.replace(self.world.runtimes[provider_id], state=state))
        self.world.runtimes[provider_id] = moved
        return moved

    def parse_scope(self, scope: str) -> str:
        if not scope.isalnum():
            raise ValueError("a scope is one word")
        return scope.lower()

    def parse_reference(self, reference: str) -> RuntimeRef:
        scope, provider_id = self.settings.scope, reference
        if scope is None:
            encoded, _, provider_id = reference.partition("~")
            try:
                scope = from_b64url(encoded)
            except ValueError as exc:
                raise NotFound("There is no runtime of this id.") from exc
        return RuntimeRef(scope, provider_id.lower())

    def reference(self, runtime: Runtime) -> RuntimeRef:
        return RuntimeRef(runtime.scope, runtime.provider_id)

    def format_reference(self, ref: RuntimeRef) -> str:
        return ref.provider_id if self.settings.scope is not None else f"{b64url(ref.scope)}~{ref.provider_id}"

    def check_create(self, request: CreateRequest) -> None:
        for option in request.provider_options.keys() - self.options:
            raise ValidationFailed.at(f"#/provider_options/{option}", "There is no such option.")

    def wire_create(self, request: CreateRequest, scope: str, *, marker: str | None = None) -> WireCreate:
        self.check_create(request)
        sent = {"scope": scope, "name": request.name, "kind": request.kind, "marker": marker}
        return WireCreate(msgspec.json.encode(sent))

    async def send_create(
        self, wire: WireCreate, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        self.world.keys.append(idempotency_key)
        await self.world.enter("create", call)
        sent = msgspec.json.decode(wire.body)
        if self.deduplication is Deduplication.BY_NAME:
            for runtime in self.world.runtimes.values():
                if (runtime.scope, runtime.name) == (scope, sent["name"]):
                    return Created(runtime, created=False)
        state = State.RUNNING if CreateFeature.LAUNCH_ON_CREATE in self.features else State.IDLE
        return Created(self.put(sent["name"], state, scope, kind=sent["kind"]), created=True)

    async def get(self, ref: RuntimeRef, call: Call) -> Runtime:
        await self.world.enter("get", call)
        if ref.provider_id not in self.world.runtimes:
            raise NotFound("There is no such runtime.", provider=self.name)
        return self.world.runtimes[ref.provider_id]

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        await self.world.enter("find", call)
        return [row for row in self.world.runtimes.values() if (row.scope, row.name) == (scope, name)]

    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        self.world.queries.append(query)
        await self.world.enter("list", call)
        return page_of_all([row for row in self.world.runtimes.values() if row.scope == query.scope], query)

    async def check_credentials(self, call: Call) -> None:
        await self.world.enter("check_credentials", call)


class DurableLike(FakeAdapter, SupportsStart, SupportsPause, SupportsReset, SupportsKeepalive, SupportsConfig):
    """All verbs of a durable runtime, and a config whose digest is its member ``n``."""

    async def start(self, ref: RuntimeRef, options: StartRequest, call: Call) -> Runtime:
        self.world.starts.append(options)
        return await self._verb("start", ref, State.RUNNING, call)

    async def pause(self, ref: RuntimeRef, call: Call) -> Runtime:
        return await self._verb("pause", ref, State.PAUSED, call)

    async def resume(self, ref: RuntimeRef, call: Call) -> Runtime:
        return await self._verb("resume", ref, State.RUNNING, call)

    async def reset(self, ref: RuntimeRef, call: Call) -> Runtime:
        return await self._verb("reset", ref, State.IDLE, call)

    async def _verb(self, verb: str, ref: RuntimeRef, state: State, call: Call) -> Runtime:
        await self.world.enter(verb, call)
        return self.move(ref.provider_id, state)

    async def keepalive(self, ref: RuntimeRef, extend_seconds: int, call: Call) -> Lease:
        await self.world.enter("keepalive", call)
        return Lease(id=f"{self.name}.{ref.provider_id}", expires_at=f"+{extend_seconds}")

    async def get_config(self, ref: RuntimeRef, call: Call) -> ConfigDocument:
        await self.world.enter("get_config", call)
        config = self.world.configs[ref.provider_id]
        return ConfigDocument(config=config, config_digest=f"d{config.get('n', 0)}")

    async def replace_config(self, ref: RuntimeRef, config: RuntimeConfig, call: Call) -> ConfigDocument:
        await self.world.enter("replace_config", call)
        self.world.configs[ref.provider_id] = config.document
        return ConfigDocument(config=config.document, config_digest=f"d{config.document.get('n', 0)}")


class BrowserLike(FakeAdapter, SupportsStop, SupportsConnections, SupportsDelete):
    """A browser: launched on create, with a stop of its own, and without deduplication of creates."""

    kinds = frozenset({Kind.BROWSER})
    create_features = frozenset(
        {CreateFeature.LAUNCH_ON_CREATE, CreateFeature.LAUNCH_EPHEMERAL, CreateFeature.DRIVER_PLAYWRIGHT}
    )
    deduplication = Deduplication.NONE
    create_is_free = False

    async def stop(self, ref: RuntimeRef, call: Call, *, discard_state: bool = False) -> Runtime:
        if discard_state:
            raise UnsupportedFeature.at("#/discard_state", "It ends in its own way.")
        await self.world.enter("stop", call)
        return self.move(ref.provider_id, State.STOPPED)

    async def connections(self, ref: RuntimeRef, call: Call) -> Sequence[Connection]:
        await self.world.enter("connections", call)
        return self.world.connections.get(ref.provider_id, ())

    async def delete(self, ref: RuntimeRef, call: Call) -> None:
        await self.world.enter("delete", call)
        if self.world.runtimes.pop(ref.provider_id, None) is None:
            raise NotFound("It is gone.", provider=self.name)


def fleet_of(adapters: Iterable[ProviderAdapter[Any]], clock: Clock | None = None) -> Fleet:
    """A fleet of these adapters."""
    return Fleet(adapters, clock or FakeClock())


def intents_of(fleet: Fleet, store: Store | None = None, rules: CreatesSettings | None = None) -> IntentService:
    """The intent service over a store in memory."""
    return IntentService(context_of(fleet, store, rules))


def keyring() -> Keyring:
    """A sealer with a fixed key."""
    return Keyring([SecretStr(base64.b64encode(b"k" * 32).decode())])


class NullSignals:
    """Signals of creates that report nothing."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args, **_more: None


def context_of(fleet: Fleet, store: Store | None = None, rules: CreatesSettings | None = None) -> CreateContext:
    """The context of creates, over a store in memory."""
    sealer, store = keyring(), store or MemoryStore(fleet.clock.now)
    return CreateContext(
        fleet=fleet,
        store=store,
        targets=TargetResolver(fleet, sealer, store),
        payloads=PayloadSealer(sealer),
        clock=fleet.clock,
        rules=rules or CreatesSettings(),
        observer=NullSignals(),
    )


def services_of(fleet: Fleet) -> Services:
    """All use cases of a fleet."""
    store = MemoryStore(fleet.clock.now)
    return Services.over(fleet, intents_of(fleet, store), store, sealer=keyring())


def context(principal: str = "alice") -> RequestContext:
    """The context of a request."""
    return RequestContext(request_id="request-1", principal=Principal(principal))


def create(kind: str = "durable", **fields: Any) -> CreateRequest:
    """A create, parsed as the API does."""
    return validate(CREATE_REQUESTS[kind], {"kind": kind, **fields})
