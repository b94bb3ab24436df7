"""What every part of the mover works with, and what becomes of an item when its work fails."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Self

from gateway.domain import errors
from gateway.domain.ids import parse_runtime_id
from gateway.domain.moves import CreateMove, ItemState
from gateway.domain.runtime import Runtime
from gateway.ports.clock import Clock
from gateway.ports.context import Admission, RequestContext
from gateway.ports.moves import MoveStore, Relocation, StoredItem, StoredMove
from gateway.ports.sealing import Sealer
from gateway.ports.whole_store import WholeStore
from gateway.services.data_plane.service import DataPlane
from gateway.services.fleet import Fleet, Provider
from gateway.services.intents import IntentService
from gateway.services.moves.describing import Describer
from gateway.services.moves.holding import keys_of
from gateway.services.moves.planned import LostLease, MovingItem, PlannedItem, Waits, problem_of, request_of
from gateway.services.moves.reading import KeptCreates, KeptReader, LiveReader
from gateway.services.moves.runtimes import MovedRuntimes, Place
from gateway.services.specs import SpecKeeper
from gateway.telemetry.signals import MoveSignals

MAX_TRIES: Final = 60
"""How often a step that fails for now is tried before the runtime counts as failed."""


class Occupied:
    """Which runtimes this process works on, for it holds the rows of all its moves as one, and which have gone."""

    def __init__(self, store: MoveStore) -> None:
        self._store = store
        self._busy: set[tuple[str, str]] = set()
        self._change = 0
        self._gone: dict[tuple[str, str], Relocation] = {}

    @contextlib.contextmanager
    def alone(self, *places: tuple[str, str]) -> Iterator[None]:
        """Work on a runtime at these places (a provider's name and its id of the runtime). Raises :class:`Waits` while
        another move of this process does."""
        if not self._busy.isdisjoint(places):
            raise Waits("another move of the runtime")
        self._busy.update(places)
        try:
            yield
        finally:
            self._busy.difference_update(places)

    async def refuse_gone(self, provider: str, provider_id: str) -> None:
        """Raise :class:`StateConflict` if a runtime has gone from a place."""
        known = await self._store.relocations(self._change)
        self._change = known.change
        if known.whole:
            self._gone.clear()
        self._gone |= {(row.source, row.source_id): row for row in known.rows}
        row = self._gone.get((provider, provider_id))
        if row is not None and not row.removed:
            raise errors.StateConflict(f"The runtime was moved to {row.target} by {row.move_id}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MoverContext:
    """What the mover works with. ``on_switched`` is called when a runtime has another place."""

    fleet: Fleet
    store: WholeStore
    sealer: Sealer
    clock: Clock
    intents: IntentService
    describer: Describer
    runtimes: MovedRuntimes
    specs: SpecKeeper | None = None
    signals: MoveSignals | None = None
    on_switched: Callable[[], Awaitable[None]] | None = None
    occupied: Occupied = field(init=False)

    @classmethod
    def over(
        cls,
        fleet: Fleet,
        intents: IntentService,
        store: WholeStore,
        *,
        sealer: Sealer,
        specs: SpecKeeper | None = None,
        data_plane: DataPlane | None = None,
    ) -> Self:
        """The context of a fleet; the parameters are those of :meth:`gateway.services.Services.over`."""
        reader = KeptReader(LiveReader(fleet, specs), KeptCreates(store, sealer))
        return cls(
            fleet=fleet,
            store=store,
            sealer=sealer,
            clock=fleet.clock,
            intents=intents,
            describer=Describer(fleet, fleet.moves, reader, data_plane),
            runtimes=MovedRuntimes(fleet, fleet.clock, specs),
            specs=specs,
        )

    def __post_init__(self) -> None:
        object.__setattr__(self, "occupied", Occupied(self.store))

    def run(self, move: StoredMove, holder: str) -> "Run":
        request = request_of(move, self.sealer)
        most = request.max_double_running
        doubles = None if most is None else asyncio.Semaphore(most)
        return Run(move=move, request=request, holder=holder, doubles=doubles)

    def configured(self, name: str) -> Provider:
        """A provider of a move. Raises :class:`ProviderNotConfigured`."""
        provider = self.fleet.get(name)
        if provider is None:
            raise errors.ProviderNotConfigured(f"This gateway does not have the provider {name} now.", provider=name)
        return provider

    async def switch(
        self, item: MovingItem, relocation: Relocation, holder: str, progress: dict[str, Any], **fields: Any
    ) -> None:
        """Switch a runtime whose rows are held, and write the item. Raises :class:`LostLease`."""
        switched = item.changed({"waits_for": None, "problem": None, "tries": 0, **progress}, **fields)
        keys = keys_of(relocation.source_id, relocation.name)
        if await self.store.switch_runtime(switched, relocation, holder, keys) is None:
            raise LostLease
        item.take(switched)
        self.report(item)
        if self.on_switched is not None:
            with contextlib.suppress(errors.StoreUnavailable):  # replicas read it every two seconds anyway
                await self.on_switched()

    def report(self, item: MovingItem) -> None:
        if self.signals is not None:
            problem = item.progress.problem
            self.signals.item(item.stored, None if problem is None else problem.code)


@dataclass(slots=True, kw_only=True)
class Run:
    """One replica's work on one move. ``doubles`` limits how many runtimes run at both ends, ``failed`` counts those
    that failed. ``took``: how many seconds it took to look at all runtimes once."""

    move: StoredMove
    request: CreateMove
    holder: str
    doubles: asyncio.Semaphore | None = None
    failed: int = 0
    took: float = 0.0


class _Counted(Admission):
    """The calls for an item count against the rates of the providers' accounts, but take no place of a request."""

    def enter(self, provider: str, *, always: bool = False) -> bool:  # noqa: ARG002
        return False

    def leave(self, provider: str) -> None:
        """There is nothing to release."""


_COUNTED: Final = _Counted()


def context_of(item: StoredItem) -> RequestContext:
    return RequestContext(request_id=f"{item.move_id}-{item.position}", mover=True, admission=_COUNTED)


async def guarded(context: MoverContext, item: MovingItem, work: Awaitable[None], failed: ItemState) -> None:
    """Do the work on an item, and write why it failed, or what it waits for. ``failed`` is the state after a failure
    that another try cannot change. Raises :class:`LostLease` and :class:`StoreUnavailable`."""
    try:
        await work
    except Waits as waits:
        await item.put({"waits_for": str(waits)})
    except (LostLease, errors.StoreUnavailable):
        raise
    except errors.GatewayError as error:
        again = error.retryable is not errors.Retryable.NO and item.progress.tries < MAX_TRIES
        if again or isinstance(error, errors.ProviderNotConfigured):
            tries = item.progress.tries + (not isinstance(error, errors.RateLimited))
            await item.put({"waits_for": f"{error.code}: {error.detail}", "tries": tries})
        else:
            await item.put({"waits_for": None, "problem": problem_of(error)}, state=failed)
            context.report(item)
    except Exception as error:  # noqa: BLE001 (reported; this runtime is left as it is, and the others are moved)
        if context.signals is not None:
            context.signals.failed(error)
        bug = errors.InternalError("The gateway failed because of a bug; see its log.")
        await item.put({"waits_for": None, "problem": problem_of(bug)}, state=failed)


def target_of(stored: StoredItem, provider: Provider, planned: PlannedItem) -> Place:
    """The runtime at the target, which is known."""
    ref = provider.adapter.parse_reference(parse_runtime_id(stored.target_runtime_id or "")[1])
    return Place(provider, ref, planned.create.get("name"), planned.owner)


def relocation_of(stored: StoredItem, before: Runtime, at: Place, after: Runtime, place: Place) -> Relocation:
    """A runtime goes from one place to another. ``before`` and ``after`` are as the two providers show it."""
    return Relocation(
        source=at.provider.name,
        source_scope=at.ref.scope,
        source_id=at.ref.provider_id,
        source_runtime_id=at.id,
        name=at.name,
        kind=stored.kind,
        target=place.provider.name,
        target_scope=place.ref.scope,
        target_id=place.ref.provider_id,
        target_name=place.provider.adapter.reference(after).name,
        target_runtime_id=place.id,
        runtime_id=at.id,
        source_instance=at.provider.adapter.instance_of(before),
        target_instance=place.provider.adapter.instance_of(after),
        move_id=stored.move_id,
    )
