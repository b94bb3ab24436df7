"""Creates over fake providers, an in-memory store, and clocks that a test sets."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError, ProviderFailure, StoreUnavailable
from gateway.domain.intents import Intent, IntentState
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation, State
from gateway.ports.provider import Created, Deduplication, Seen, WireCreate
from gateway.ports.transport import Call, Phase, TransportFailure
from gateway.services.create import CreateService
from gateway.services.fleet import Fleet
from gateway.services.intents import (
    CreateContext,
    CreateResult,
    IntentService,
    PayloadSealer,
    Reconciler,
    TargetResolver,
)
from gateway.services.provider_choice import Router
from gateway.settings import CreatesSettings
from gateway.storage.sealing import Keyring, new_key
from tests.memory_store import MemoryDatabase, MemoryStore
from tests.unit.services.fakes import (
    BrowserLike,
    DurableLike,
    Failure,
    FakeAdapter,
    FakeClock,
    context,
    context_of,
    create,
)

LOST = TransportFailure("disconnected", Phase.SENT, operation=Operation.CREATE)
REFUSED = TransportFailure("refused", Phase.CONNECTING, operation=Operation.CREATE)
WAIT_OUT = CreatesSettings().wait_out


def error_response(status: int, error: type[GatewayError], *, own: bool = True, provider: str = "one") -> GatewayError:
    """The error that an adapter makes of a provider's response; ``own``: the body has the provider's own error
    format."""
    return error("An error response.", failure=ProviderFailure(provider, status=status, own_envelope=own))


class _LosesResponses(FakeAdapter):
    """Executes a create, and then raises the next failure of ``lost``, if there is one."""

    def __init__(self, name: str = "one", **settings: Any) -> None:
        super().__init__(name, **settings)
        self.lost: list[Failure] = []
        self.sent: list[WireCreate] = []
        self.other_responses: list[Runtime] = []
        """Runtimes of other creates; each create returns the next one instead of its own."""
        self.reports_created = True
        self.finds_nothing = False
        """Whether look-ups find nothing."""

    async def send_create(
        self, wire: WireCreate, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        self.sent.append(wire)
        made = await self._made(wire, scope, call, idempotency_key)
        if self.lost:
            raise self.lost.pop(0)
        if self.other_responses:
            return Created(self.other_responses.pop(0), created=self.reports_created)
        return made

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        found = await super().find(scope, name, call)
        return [] if self.finds_nothing else found

    async def _made(self, wire: WireCreate, scope: str, call: Call, key: str | None) -> Created:
        return await super().send_create(wire, scope, call, idempotency_key=key)


class Durable(_LosesResponses, DurableLike):
    """Deduplicates by name; a create is free of charge."""


class Plain(_LosesResponses, BrowserLike):
    """Deduplicates nothing, and has no markers."""


class Keyed(_LosesResponses, BrowserLike):
    """Deduplicates by key, until ``by_key`` is cleared; its creates carry markers. ``unique``: names are unique."""

    deduplication = Deduplication.BY_KEY
    definitive_rejections = frozenset({400, 401, 403, 404})
    marks_creates = True
    unique = False

    def __init__(self, name: str = "one", **settings: Any) -> None:
        super().__init__(name, **settings)
        self.by_key: dict[str | None, Created] = {}
        self.markers: dict[str, str | None] = {}

    async def _made(self, wire: WireCreate, scope: str, call: Call, key: str | None) -> Created:
        if key not in self.by_key:
            made = await super()._made(wire, scope, call, key)
            self.by_key[key] = made
            self.markers[made.runtime.provider_id] = msgspec.json.decode(wire.body)["marker"]
        else:
            self.world.keys.append(key)
            await self.world.enter("create", call)
        return self.by_key[key]

    async def find_with_markers(self, scope: str, name: str, call: Call) -> Sequence[Seen]:
        return [Seen(row, self.markers.get(row.provider_id)) for row in await self.find(scope, name, call)]


class Clocks(FakeClock):
    """The clocks of a machine. The wall clock is ``offset`` seconds ahead of the monotonic one."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = 0.0

    def now(self) -> float:
        return self.time + self.offset


@dataclass
class RecordingObserver:
    """An observer that records its events."""

    events: list[tuple[Any, ...]] = field(default_factory=list)

    def settled(self, intent: Intent, *, late: bool) -> None:
        self.events.append(("settled", intent.state, late))

    def unknown(self, intent: Intent) -> None:
        self.events.append(("unknown", intent.state))

    def misanswered(self, intent: Intent, answered_id: str) -> None:  # noqa: ARG002
        self.events.append(("misanswered", answered_id))

    def parked(self, intent: Intent) -> None:
        self.events.append(("parked", intent.reason))

    def surplus(self, intent: Intent, runtime_id: str) -> None:  # noqa: ARG002
        self.events.append(("surplus", runtime_id))

    def not_written(self, intent_id: str, error: StoreUnavailable) -> None:  # noqa: ARG002
        self.events.append(("not_written", error.code))

    def failed(self, error: Exception) -> None:
        self.events.append(("failed", type(error)))


OnStore = Callable[[str, bool], Awaitable[None]]


class Scene:
    """A gateway with these providers. ``on_store`` is called before and after every call of the store, with the name of
    the method and whether it is done. The database's clock is ``database_offset`` seconds ahead."""

    def __init__(
        self, *adapters: FakeAdapter, rules: CreatesSettings | None = None, database_offset: float = 0.0
    ) -> None:
        self.adapters = adapters
        self.clock = Clocks()
        self.rows = MemoryDatabase()
        self.on_store: OnStore | None = None
        self.store = MemoryStore(
            lambda: self.clock.time + database_offset, database=self.rows, on_call=self._around_store
        )
        self.observer = RecordingObserver()
        self.sealer = Keyring([new_key()])
        self.fleet = Fleet(adapters, self.clock)
        self.context: CreateContext = replace(
            context_of(self.fleet, self.store, rules),
            observer=self.observer,
            payloads=PayloadSealer(self.sealer),
            targets=TargetResolver(self.fleet, self.sealer, self.store),
        )
        self.restart()

    def restart(self, **changes: Any) -> None:
        """Replace the gateway by a new process over the same rows; ``changes`` are other parts of its context."""

        self.context = replace(self.context, **changes)
        self.intents = IntentService(self.context)
        self.creates = CreateService(self.fleet, Router(self.fleet), self.intents)
        self.reconciler = Reconciler(self.context)

    async def _around_store(self, call: str, done: bool) -> None:
        if self.on_store is not None:
            await self.on_store(call, done)

    def store_fails(self, *calls: str, done: bool = False) -> None:
        """Make these calls of the store fail from now on; with ``done``, after they took effect."""

        async def fail(call: str, is_done: bool) -> None:
            if call in calls and is_done is done:
                raise StoreUnavailable("The store is unreachable.", retry_after=2.0)

        self.on_store = fail

    async def create(
        self, name: str | None = "box", key: str | None = None, principal: str = "alice", **fields: Any
    ) -> CreateResult:
        """Create a runtime, by default of the first provider's kind."""
        kind = fields.pop("kind", min(self.adapters[0].kinds).value)
        if name is not None:
            fields["name"] = name
        return await self.creates.create(create(kind, **fields), context(principal), key)

    async def settle(self, after: float = 0.0) -> None:
        """Advance the clock by ``after`` seconds, and run the reconciler once."""
        self.clock.time += after
        await self.reconciler.settle_due()

    @property
    def intent(self) -> Intent:
        """The only intent. Raises ``ValueError`` if there are others, or none."""
        (intent,) = self.rows.intents.values()
        return intent

    @property
    def states(self) -> list[IntentState]:
        """The states of all intents, oldest first."""
        return [intent.state for intent in self.rows.intents.values()]


def live(adapter: FakeAdapter) -> list[str]:
    """The ids of the provider's runtimes that are not stopped."""
    return [row.provider_id for row in adapter.world.runtimes.values() if row.state is not State.STOPPED]


def call_count(adapter: FakeAdapter, method: str = "create") -> int:
    """How often a method was called."""
    return adapter.world.asked.count(method)
