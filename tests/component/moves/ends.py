"""The two ends of a move: adapters over real transports, each in front of an emulator of its own."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.app import create_emulator, plugins
from gateway.domain.moves import WORKING, CreateMove, MoveState
from gateway.domain.requests import CREATE_REQUESTS, StartRequest
from gateway.domain.runtime import Runtime
from gateway.domain.validation import validate
from gateway.ports.clock import SystemClock
from gateway.ports.context import RequestContext
from gateway.ports.moves import StoredItem, StoredMove, new_move_id
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Call
from gateway.services.fleet import Fleet
from gateway.services.moves.describing import Describer, MoveBetween
from gateway.services.moves.map import MoveMap
from gateway.services.moves.planned import MoveDetails, PlannedItem, sealed_request, unsealed
from gateway.services.moves.planner import Planner
from gateway.services.moves.reading import KeptCreates, LiveReader
from gateway.services.sent_spec import MadeRuntime
from gateway.services.specs import SpecKeeper
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.processes import running
from gateway.upstream.transport import HttpTransport
from tests.memory_store import MemoryStore
from tests.unit.services.fakes import keyring

SCOPES: Final = {
    "durable": ("acme/one", "zeta/two"),
    "bctrl": ("5f1d7f4e-1f8e-4c39-8f69-000000000001", "5f1d7f4e-1f8e-4c39-8f69-000000000002"),
    "bctrl_browsers": ("sp_one", "sp_two"),
}
CTX: Final = RequestContext("request-1")


@dataclass
class Ends:
    """A fleet of the providers ``old`` and ``new``, and what describes moves between them."""

    fleet: Fleet
    old: ProviderAdapter[Any]
    new: ProviderAdapter[Any]
    emulators: Mapping[str, Emulator]
    store: MemoryStore
    specs: SpecKeeper
    moves: MoveMap

    def call(self) -> Call:
        """A call whose deadline no test reaches."""
        return Call(deadline=time.monotonic() + 60)

    def requests(self, name: str) -> list[str]:
        """The operations that the provider of this name received."""
        return [request.operation for request in self.emulators[name].requests.received()]

    async def make(self, *, at: ProviderAdapter[Any] | None = None, start: bool = False, **fields: Any) -> Runtime:
        """Create a runtime at the provider ``old``, or at another one."""
        adapter = at or self.old
        kind = min(adapter.creates)
        scope = fields.pop("scope", None) or adapter.settings.scope or SCOPES[adapter.api][0]
        request = validate(CREATE_REQUESTS[kind], {"kind": kind, **fields})
        made = (await adapter.create(request, scope, self.call())).runtime
        await self.specs.remember(MadeRuntime(adapter, made.scope, made, request))
        if start:
            made = await adapter.start(adapter.reference(made), StartRequest(), self.call())  # type: ignore[attr-defined]
        return made

    def request(self, **fields: Any) -> CreateMove:
        """A move of everything from ``old`` to ``new``."""
        return validate(CreateMove, {"source": {"provider": "old"}, "target": {"provider": "new"}, **fields})

    def between(self, **fields: Any) -> MoveBetween:
        """The move of such a request."""
        move = self.describer.between(self.request(**fields))
        assert move is not None
        return move

    async def planned(
        self, *, kept: bool = True, **fields: Any
    ) -> tuple[StoredMove, list[tuple[StoredItem, PlannedItem]]]:
        """Plan such a request, with kept creates or without, and return the move with its items."""
        apply = fields.pop("apply", False)
        move = self.stored(self.request(**fields))
        details = msgspec.json.encode(MoveDetails(apply=apply)).decode()
        await self.store.add_move(msgspec.structs.replace(move, details=details))
        return await self.replanned(move.id, kept=kept)

    def stored(self, request: CreateMove) -> StoredMove:
        """A new move."""
        move_id = new_move_id(time.time())
        return StoredMove(
            id=move_id,
            state=MoveState.PLANNING,
            principal="ops",
            source=request.source.provider,
            source_scope=None,
            target=request.target.provider,
            request=sealed_request(request, move_id, keyring()),
        )

    async def replanned(
        self, move_id: str, *, kept: bool = True
    ) -> tuple[StoredMove, list[tuple[StoredItem, PlannedItem]]]:
        """Plan a move that is stored."""
        (move,) = [each for each in await self.store.claim_moves("planner", 10, WORKING) if each.id == move_id]
        options = {"kept": KeptCreates(self.store, keyring())} if kept else {}
        await self.planner(**options).run(move, "planner")
        after = await self.store.get_move(move_id)
        assert after is not None
        items = await self.store.move_items(move_id, limit=1000)
        return after, [(item, unsealed(item, keyring())) for item in items]

    def planner(self, **options: Any) -> Planner:
        """A planner over the store."""
        return Planner(self.fleet, self.moves, self.store, keyring(), self.describer, **options)

    @property
    def describer(self) -> Describer:
        """A describer that reads the source."""
        return Describer(self.fleet, self.moves, LiveReader(self.fleet, self.specs))

    async def describe(self, runtime: Runtime, **fields: Any) -> PlannedItem:
        """Read and describe a runtime of ``old``."""
        move, describer = self.between(**fields), self.describer
        facts = await describer.read(move, self.old.reference(runtime), CTX)
        return await describer.describe(move, facts, CTX)


@asynccontextmanager
async def two_ends(old: str, new: str, *, same_account: bool = False, open_source: bool = False) -> AsyncIterator[Ends]:
    """Start an emulator of each of two provider APIs; one for both if they are one account."""
    async with AsyncExitStack() as stack:
        adapters: dict[str, ProviderAdapter[Any]] = {}
        emulators: dict[str, Emulator] = {}
        url = ""
        for index, (name, api) in enumerate((("old", old), ("new", new))):
            plugin = plugins()[api]
            token = "token-of-both-4711" if same_account else f"token-of-{name}-4711"
            if not (same_account and url):
                app = create_emulator(api, token=token)
                url = await stack.enter_async_context(running(app))
            emulators[name] = app[EMULATOR]
            options = {"name": name, "api": api, "base_url": url + plugin.demo.base_path, "token": token}
            settings = plugin.settings.model_validate(
                {
                    **options,
                    **(plugin.demo.options or {}),
                    "scope": None if open_source and name == "old" else SCOPES[api][index],
                }
            )
            transport = HttpTransport(settings)
            stack.push_async_callback(transport.close)
            adapters[name] = plugin.adapter(settings, transport)
        clock = SystemClock()
        store = MemoryStore(clock.now)
        specs = SpecKeeper(store, keyring(), clock)
        stack.push_async_callback(specs.close)
        fleet = Fleet(adapters.values(), clock)
        yield Ends(fleet, adapters["old"], adapters["new"], emulators, store, specs, MoveMap())
