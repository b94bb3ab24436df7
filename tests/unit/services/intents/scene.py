"""Creates over fake providers, a store in memory, and clocks that a test turns."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError, ProviderFailure, StoreUnavailable
from gateway.domain.intents import Intent, IntentState
from gateway.domain.operations import Operation
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.provider import Created, Deduplication, Seen, WireCreate
from gateway.ports.transport import Call, Phase, TransportFailure
from gateway.services.create import CreateService
from gateway.services.fleet import Fleet
from gateway.services.intents import CreateContext, CreateResult, IntentService, Reconciler
from gateway.services.routing import Router
from gateway.settings import CreatesSettings
from gateway.storage.memory import MemoryDatabase, MemoryStore
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
W = CreatesSettings().wait_out


def said(status: int, error: type[GatewayError], *, own: bool = True, provider: str = "one") -> GatewayError:
    """What a provider answered, in its own envelope or not."""
    return error("said", failure=ProviderFailure(provider, status=status, own_envelope=own))


class _Losing(FakeAdapter):
    """Carries a create out and then fails with what is in ``lost``, taken one by one."""

    def __init__(self, name: str = "one", **settings: Any) -> None:
        super().__init__(name, **settings)
        self.lost: list[Failure] = []
        self.sent: list[WireCreate] = []
        self.others: list[Runtime] = []
        """Runtimes of other creates that are answered with, taken one by one."""
        self.says_created = True
        self.hides_all = False
        """Look-ups find nothing."""

    async def send_create(
        self, wire: WireCreate, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        self.sent.append(wire)
        made = await self._made(wire, scope, call, idempotency_key)
        if self.lost:
            raise self.lost.pop(0)
        if self.others:
            return Created(self.others.pop(0), created=self.says_created)
        return made

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        found = await super().find(scope, name, call)
        return [] if self.hides_all else found

    async def _made(self, wire: WireCreate, scope: str, call: Call, key: str | None) -> Created:
        return await super().send_create(wire, scope, call, idempotency_key=key)


class Durable(_Losing, DurableLike):
    """Dedupes by name; a create costs nothing."""


class Plain(_Losing, BrowserLike):
    """Dedupes nothing, and marks nothing."""


class Keyed(_Losing, BrowserLike):
    """Dedupes by key, until ``by_key`` is cleared; its creates are marked. ``unique``: a name is taken once."""

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
    """The clocks of this machine: the wall clock may be ``off`` the one that only goes forward."""

    def __init__(self) -> None:
        super().__init__()
        self.off = 0.0

    def now(self) -> float:
        return self.time + self.off


@dataclass
class Heard:
    """An observer that keeps what it is told."""

    told: list[tuple[Any, ...]] = field(default_factory=list)

    def settled(self, intent: Intent, *, late: bool) -> None:
        self.told.append(("settled", intent.state, late))

    def unknown(self, intent: Intent) -> None:
        self.told.append(("unknown", intent.state))

    def misanswered(self, intent: Intent, answered_id: str) -> None:  # noqa: ARG002
        self.told.append(("misanswered", answered_id))

    def parked(self, intent: Intent) -> None:
        self.told.append(("parked", intent.reason))

    def surplus(self, intent: Intent, runtime_id: str) -> None:  # noqa: ARG002
        self.told.append(("surplus", runtime_id))

    def not_written(self, intent_id: str, error: StoreUnavailable) -> None:  # noqa: ARG002
        self.told.append(("not_written", error.code))

    def failed(self, error: Exception) -> None:
        self.told.append(("failed", type(error)))


OnStore = Callable[[str, bool], Awaitable[None]]


class Scene:
    """A gateway whose providers are these. ``on_store`` is called around every call of the store."""

    def __init__(self, *adapters: FakeAdapter, rules: CreatesSettings | None = None, database_off: float = 0.0) -> None:
        self.adapters = adapters
        self.clock = Clocks()
        self.rows = MemoryDatabase()
        self.on_store: OnStore | None = None
        self.store = MemoryStore(lambda: self.clock.time + database_off, database=self.rows, on_call=self._around_store)
        self.heard = Heard()
        self.fleet = Fleet(adapters, self.clock)
        self.context: CreateContext = replace(context_of(self.fleet, self.store, rules), observer=self.heard)
        self.restart()

    def restart(self, **changes: Any) -> None:
        """Be another process over the same rows, with other parts if need be."""
        self.context = replace(self.context, **changes)
        self.intents = IntentService(self.context)
        self.creates = CreateService(self.fleet, Router(self.fleet), self.intents)
        self.reconciler = Reconciler(self.context)

    async def _around_store(self, call: str, done: bool) -> None:
        if self.on_store is not None:
            await self.on_store(call, done)

    def store_fails(self, *calls: str, done: bool = False) -> None:
        """Be without a store for these calls from now on; ``done``: they happen all the same."""

        async def fail(call: str, is_done: bool) -> None:
            if call in calls and is_done is done:
                raise StoreUnavailable("The store is away.", retry_after=2.0)

        self.on_store = fail

    async def create(
        self, name: str | None = "box", key: str | None = None, principal: str = "alice", **fields: Any
    ) -> CreateResult:
        """Ask for a runtime of the first provider's kind."""
        kind = fields.pop("kind", min(self.adapters[0].kinds).value)
        if name is not None:
            fields["name"] = name
        return await self.creates.create(create(kind, **fields), context(principal), key)

    async def settle(self, after: float = 0.0) -> None:
        """Let so many seconds pass, and the reconciler have its turn."""
        self.clock.time += after
        await self.reconciler.settle_due()

    @property
    def intent(self) -> Intent:
        """The only intent there is."""
        (intent,) = self.rows.intents.values()
        return intent

    @property
    def states(self) -> list[IntentState]:
        """Of all intents, oldest first."""
        return [intent.state for intent in self.rows.intents.values()]


def live(adapter: FakeAdapter) -> list[str]:
    """The ids of the runtimes that run or wait there."""
    return [row.provider_id for row in adapter.world.runtimes.values() if row.state is not State.STOPPED]


def asked(adapter: FakeAdapter, method: str = "create") -> int:
    """How often a method was called."""
    return adapter.world.asked.count(method)
