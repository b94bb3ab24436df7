"""What the mover does to runtimes at their providers, past every relocation and past the rows that it holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.config import RuntimeConfig
from gateway.domain.errors import NotFound, RuntimeReplaced, StateConflict, pointer
from gateway.domain.ids import RuntimeRef, format_runtime_id
from gateway.domain.requests import InstallCapability, StartRequest, StopRequest, UpdateCapability
from gateway.domain.runtime import CapabilityBinding, ConfigDocument, Runtime
from gateway.domain.values import Feature, Operation, State
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.services.access.lifetimes import can_stop, lives
from gateway.services.capabilities import CapabilityService
from gateway.services.fleet import Fleet, Provider
from gateway.services.lifecycle import LifecycleService
from gateway.services.moves.planned import PlannedBinding
from gateway.services.specs import SpecKeeper

_COMPUTE: Final = frozenset({State.STARTING, State.RUNNING, State.PAUSED, State.STOPPING, State.UNKNOWN})
_STARTING_WITHIN: Final = 240.0
_POLL: Final = 1.0


def has_compute(state: State) -> bool:
    """Whether a runtime has compute, as far as its provider knows."""
    return state in _COMPUTE


def waits_until_idle(when: str, state: State) -> bool:
    """Whether a move with this ``when`` waits for a runtime. A drain lets nothing resume, so it moves paused ones."""
    return when != "now" and has_compute(state) and not (when == "drain" and state is State.PAUSED)


@dataclass(frozen=True, slots=True)
class Place:
    """A runtime at its provider. ``name`` is its name there; ``owner`` is known where it is marked."""

    provider: Provider
    ref: RuntimeRef
    name: str | None
    owner: str | None = None

    @property
    def id(self) -> str:
        """The id that the provider's place gives it."""
        return format_runtime_id(self.provider.name, self.provider.adapter.format_reference(self.ref))


class MovedRuntimes:
    """Reads and changes single runtimes for a move. The context of every call has ``mover`` set."""

    def __init__(self, fleet: Fleet, clock: Clock, specs: SpecKeeper | None = None) -> None:
        self._fleet = fleet
        self._clock = clock
        self._specs = specs or SpecKeeper(None, None, clock)
        self._lifecycle = LifecycleService(fleet, specs)
        self._capabilities = CapabilityService(fleet)

    async def read(self, place: Place, ctx: RequestContext) -> Runtime:
        """The runtime, as its provider names it, with what was kept of its create."""
        async with self._fleet.call_scope(place.provider, Operation.GET, ctx) as call:
            runtime = await place.provider.adapter.get(place.ref, call)
        return await self._specs.known(place.provider.adapter, runtime)

    async def config(self, place: Place, ctx: RequestContext) -> ConfigDocument | None:
        """Its config; None where there is none."""
        if Feature.CONFIG not in place.provider.adapter.features:
            return None
        adapter = place.provider.require(Feature.CONFIG, "config")
        async with self._fleet.call_scope(place.provider, Operation.GET_CONFIG, ctx) as call:
            document: ConfigDocument = await adapter.get_config(place.ref, call)
        return document

    async def replace_config(self, place: Place, config: RuntimeConfig, ctx: RequestContext) -> ConfigDocument:
        """Replace its config, and keep the mark of its owner. Returns the new one."""
        adapter = place.provider.require(Feature.CONFIG, "config")
        owner = place.owner
        mark = None if owner is None else self._fleet.owners.mark_of(owner, place.provider.name, place.name)
        async with self._fleet.call_scope(
            place.provider, Operation.REPLACE_CONFIG, ctx, config.secret_values(), runtime=place.ref
        ) as call:
            document: ConfigDocument = await adapter.replace_config(place.ref, config.with_mark(mark), call)
        return document

    async def bindings(self, place: Place, ctx: RequestContext) -> Sequence[CapabilityBinding]:
        """Its capabilities; empty where there are none."""
        if Feature.CAPABILITY_BINDINGS not in place.provider.adapter.features:
            return ()
        return (await self._capabilities.list(place.id, ctx)).items

    async def set_bindings(self, place: Place, wanted: Sequence[PlannedBinding], ctx: RequestContext) -> None:
        """Make its capabilities those that are wanted."""
        known = {binding.name: binding for binding in await self.bindings(place, ctx)}
        for want in wanted:
            has = known.pop(want.name, None)
            if has is None:
                install = InstallCapability(name=want.name, version=want.version)
                has = await self._capabilities.install(place.id, install, ctx)
            for change in _changes(want, has):
                await self._capabilities.update(place.id, has.id, change, ctx)
        for surplus in known.values():
            await self._capabilities.remove(place.id, surplus.id, ctx)

    async def start(self, place: Place, ctx: RequestContext) -> Runtime:
        """Start or resume its compute, and wait until it runs. Raises :class:`StateConflict` if it does not."""
        runtime = await self.read(place, ctx)
        if runtime.state is State.PAUSED and Feature.PAUSE in place.provider.adapter.features:
            await self._lifecycle.resume(place.id, ctx)
        elif runtime.state is not State.RUNNING:
            await self._lifecycle.start(place.id, StartRequest(), ctx)
        until = self._clock.monotonic() + _STARTING_WITHIN
        while True:
            runtime = await self.read(place, ctx)
            if runtime.state is State.RUNNING:
                return runtime
            if runtime.state is not State.STARTING or self._clock.monotonic() >= until:
                detail = f"The runtime {place.id} was started, but is {runtime.state.value}."
                raise StateConflict(detail, provider=place.provider.name)
            await self._clock.sleep(_POLL)

    async def end(self, place: Place, how: str, ctx: RequestContext) -> None:
        """End its compute without destroying anything (``stop``), or ``reset`` or ``delete`` it; nothing if that is
        done. Raises :class:`StateConflict` if its compute can only be ended together with what it holds."""
        adapter = place.provider.adapter
        try:
            if how == "delete":
                await self._lifecycle.delete(place.id, ctx)
            elif how == "reset":
                await self._lifecycle.reset(place.id, ctx)
            elif lives(adapter, await self.read(place, ctx)):
                if can_stop(adapter):
                    await self._lifecycle.stop(place.id, StopRequest(), ctx)
                elif Feature.PAUSE in adapter.features:
                    await self._lifecycle.pause(place.id, ctx)
                else:
                    detail = f"The runtime {place.id} continues to run: its provider can only reset it."
                    raise StateConflict(detail, provider=place.provider.name)
        except (NotFound, RuntimeReplaced):
            return


def differing_bindings(wanted: Sequence[PlannedBinding], known: Sequence[CapabilityBinding]) -> Iterator[str]:
    """Pointers to the capabilities that are missing, that differ, or that were not wanted."""
    wants = {one.name: (one.version, one.enabled, one.flags or {}) for one in wanted}
    has = {one.name: (one.version, one.enabled, one.flags or {}) for one in known}
    for name in dict.fromkeys([*wants, *has]):
        if wants.get(name) != has.get(name):
            yield pointer("capabilities", name)


def _changes(want: PlannedBinding, has: CapabilityBinding) -> Iterator[UpdateCapability]:
    if has.version != want.version:
        yield UpdateCapability(version=want.version)
    if has.enabled is not want.enabled:
        yield UpdateCapability(enabled=want.enabled)
    wanted, known = dict(want.flags or {}), dict(has.flags or {})
    if wanted != known:
        yield UpdateCapability(flags={**dict.fromkeys(known.keys() - wanted.keys()), **wanted})
