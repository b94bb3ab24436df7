"""The configured providers. All provider calls are made through :class:`Fleet`."""

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from gateway.domain.access import Rate
from gateway.domain.errors import NotFound, ProviderNotConfigured, StoreUnavailable, UnsupportedFeature
from gateway.domain.ids import RuntimeRef, format_runtime_id, parse_runtime_id
from gateway.domain.runtime import Runtime
from gateway.domain.values import Feature, Operation, WorkClass
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.moves import Relocation
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Call
from gateway.services.access.lifetimes import Lifetimes
from gateway.services.access.owners import Owners
from gateway.services.access.quotas import Quotas
from gateway.services.access.rates import RateLimits
from gateway.services.access.visibility import NO_RUNTIME
from gateway.services.moves.holding import keys_of
from gateway.services.moves.map import CURRENT_FOR, USED_FOR, MoveMap, place_of
from gateway.services.moves.permits import WritePermits, is_moving, moved_meanwhile
from gateway.services.provider_calls import ProviderCallScope
from gateway.telemetry.signals import CallSignals


@dataclass(slots=True)
class Health:
    """The health of a provider as this process observed it. Times are seconds since the epoch. ``probed``: whether the
    last observation was a probe; None before the first observation."""

    last_success: float | None = None
    last_failure: float | None = None
    last_failure_code: str | None = None
    credentials_ok: bool | None = None
    probed: bool | None = None

    @property
    def failing(self) -> bool:
        """Whether the last observation was a failure."""
        return self.last_failure is not None and self.last_failure >= (self.last_success or 0)


@dataclass(slots=True, eq=False)
class Provider:
    """One configured provider: its adapter, health and calls in progress, and the rate of callers' requests."""

    adapter: ProviderAdapter[Any]
    health: Health = field(default_factory=Health)
    calls: int = 0
    name: str = field(init=False)
    rate: Rate | None = field(init=False)
    token: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        settings = self.adapter.settings
        self.name, self.rate, self.token = self.adapter.name, settings.limits.rate, settings.token.get_secret_value()

    @property
    def pinned_scope(self) -> str | None:
        """The scope to which the provider is pinned; None if it is open."""
        scope: str | None = self.adapter.settings.scope
        return scope

    def require(self, feature: Feature, what: str) -> Any:
        """The adapter, which has the methods of the feature. Raises :class:`UnsupportedFeature` if the provider does
        not have it; ``what`` is its name in the message."""
        if feature not in self.adapter.features:
            raise UnsupportedFeature(
                f"The provider {self.name} ({self.adapter.api}) has no {what}.",
                provider=self.name,
                extra={"feature": feature.value},
            )
        return self.adapter


class ResolvedRuntime(NamedTuple):
    """A runtime id, resolved: the provider that made the runtime, and the runtime's address there."""

    provider: Provider
    ref: RuntimeRef


class Fleet:
    """All providers by name, in the order of the settings."""

    def __init__(
        self,
        adapters: Iterable[ProviderAdapter[Any]],
        clock: Clock,
        *,
        on_credentials: Callable[[str, bool], None] | None = None,
        observer: CallSignals | None = None,
    ) -> None:
        """``on_credentials`` is called when a provider (by name) starts to accept (True) or to reject (False) the
        gateway's credentials."""
        self.observer = observer
        self.clock = clock
        self.owners = Owners()
        self.lifetimes = Lifetimes(None, clock)
        self.rates: RateLimits | None = None
        self.moves = MoveMap()
        self.moves_age: Callable[[], float] = lambda: 0.0
        """How many seconds ago ``moves`` was as the store is."""
        self.permits: WritePermits | None = None
        self.refresh_moves: Callable[[], Awaitable[None]] | None = None
        self.quotas = Quotas(self)
        self.on_credentials = on_credentials
        self.on_write: list[Callable[[str, RuntimeRef | None], None]] = []
        """Called at the end of an operation that wrote at a provider (by name), or may have: to one runtime, or to an
        unknown one (None)."""
        self.on_release: list[Callable[[str, RuntimeRef | None], None]] = []
        """Called then too, if the operation may have ended the runtime's instance."""
        self._providers: Mapping[str, Provider] = {}
        self.replace(adapters)

    def replace(self, adapters: Iterable[ProviderAdapter[Any]]) -> list[Provider]:
        """Replace all adapters at once, and return the providers that are no longer in the fleet; calls that hold one
        of them continue to use it. An adapter that was in the fleet before keeps its provider and its health."""
        known = {provider.adapter: provider for provider in self._providers.values()}
        providers = {}
        for adapter in adapters:
            adapter.owner_marks.open = partial(self.owners.owner_of_mark, adapter.name)
            providers[adapter.name] = known.pop(adapter) if adapter in known else Provider(adapter)
        self._providers = providers
        return list(known.values())

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers.values())

    def get(self, name: str) -> Provider | None:
        return self._providers.get(name)

    def wrote(self, provider: str, runtime: RuntimeRef | None = None) -> None:
        """Call everything in :attr:`on_write`."""
        for report in self.on_write:
            report(provider, runtime)

    def visible(self, ctx: RequestContext) -> list[Provider]:
        """The providers that the caller may use, in the order of the settings."""
        return [each for each in self._providers.values() if ctx.principal.sees(each.name, each.pinned_scope)]

    def names(self, ctx: RequestContext) -> str:
        """The names of :meth:`visible`, for a message."""
        return ", ".join(provider.name for provider in self.visible(ctx))

    def resolve(self, runtime_id: str, ctx: RequestContext, work: WorkClass | None = None) -> ResolvedRuntime:
        """The provider that has a runtime, and the address of the runtime there. No I/O (docs/promises.md#p3). Sets the
        provider, scope and id in ``ctx``: those of the present place, and the id that the runtime had first. ``work``
        is the class of work of the operation.

        Raises :class:`NotFound` for a text that is not an id and for what the caller may not see,
        :class:`ProviderNotConfigured`, :class:`StoreUnavailable` as :meth:`require_moves`, and, except for a release,
        :class:`Overloaded` if the provider is too busy.
        """
        caller = ctx.principal
        runtime_id = caller.plain_id(runtime_id)
        if (moved := self._moved(runtime_id) if self.moves and not ctx.mover else None) is not None:
            name, ref = place_of(moved)
            runtime_id, provider = moved.runtime_id, self._providers.get(name)
        else:
            name, reference = parse_runtime_id(runtime_id)
            ref, provider = None, self._providers.get(name)
        if caller.confined and (provider is None or not caller.sees(name)):
            raise NotFound(NO_RUNTIME)
        if provider is None:
            raise ProviderNotConfigured(
                f"The runtime belongs to the provider {name}, which this gateway does not have.", provider=name
            )
        if ref is None:
            ref = provider.adapter.parse_reference(reference)
        if caller.confined and not caller.sees(name, ref.scope):
            raise NotFound(NO_RUNTIME)
        if moved is not None:
            self.require_moves()
        ctx.provider, ctx.scope, ctx.runtime_id = name, ref.scope, runtime_id
        if ctx.admission is not None:
            ctx.admission.enter(name, always=work is WorkClass.RELEASE)
        return ResolvedRuntime(provider, ref)

    def _moved(self, runtime_id: str) -> Relocation | None:
        """The relocation of a runtime, for any public id that it had or has."""
        if (row := self.moves.of_id(runtime_id)) is not None:
            return row
        with suppress(NotFound):
            name, reference = parse_runtime_id(runtime_id)
            if (provider := self._providers.get(name)) is not None:
                provider_id = provider.adapter.parse_reference(reference).provider_id
                return self.moves.of_source(name, provider_id) or self.moves.of_target(name, provider_id)
        return None

    def require_moves(self) -> None:
        """Before a call on a runtime that has moved: raise :class:`StoreUnavailable` if the relocations were read
        so long ago that the runtime may have moved again since."""
        if self.moves_age() > USED_FOR:
            detail = "Where the runtime is now is not known, because the store cannot be reached."
            raise StoreUnavailable(detail, retry_after=2.0)

    async def refuse_moved_meanwhile(self, provider: str, ctx: RequestContext) -> None:
        """After a provider responded that a runtime does not exist: set ``ctx.moved_meanwhile`` and raise
        :class:`StateConflict` if relocations have changed since the request chose it, unless it is there now."""
        if provider in self.moves.active and self.refresh_moves is not None:
            with suppress(StoreUnavailable):
                await self.refresh_moves()
        is_here = ctx.runtime_id is not None and self.is_at(provider, ctx.runtime_id)
        if ctx.moves_known not in {None, self.moves.change} and not is_here and not ctx.mover:
            ctx.moved_meanwhile = True
            raise moved_meanwhile()

    async def refuse_moved_name(self, at: tuple[str, str, str, str], call: Call, ctx: RequestContext) -> None:
        """Raise :class:`StateConflict` if the runtime of the name has moved since the place of a create was chosen,
        now and again before the request is sent (``call.before_write``). ``at``: a provider, scope, kind and name."""
        if ctx.mover:
            return
        if self.refresh_moves is not None and (at[0] in self.moves.active or self.moves_age() > CURRENT_FOR):
            await self.refresh_moves()
        is_permitted = call.before_write

        def require() -> None:
            if is_permitted is not None:
                is_permitted()
            if self.moves and self.moves.of_name(*at) is not None:
                raise is_moving()

        require()
        call.before_write = require

    def place(self, provider: str, ref: RuntimeRef) -> tuple[str, RuntimeRef]:
        """Where a runtime is now that was at this place: a provider's name, and the address there. No I/O."""
        return (self.moves.translated(provider, ref) if self.moves else None) or (provider, ref)

    def is_at(self, provider: str, runtime_id: str) -> bool:
        """Whether the runtime of a public id is at a provider now. No I/O."""
        moved = self.moves.of_id(runtime_id)
        return runtime_id.startswith(f"{provider}.") if moved is None else moved.target == provider

    def present(self, resolved: ResolvedRuntime) -> ResolvedRuntime:
        """The present place of a runtime that was resolved before. No I/O."""
        name, ref = self.place(resolved.provider.name, resolved.ref)
        provider = self.get(name)
        return resolved if ref is resolved.ref or provider is None else ResolvedRuntime(provider, ref)

    async def know_moves(self, provider: str, since: int) -> None:
        """After a page of a provider's list was read: read the relocations again while a move is active there, or if
        the list began with a later change (``since``) than this process has. Without the store, the copy is used."""
        if self.refresh_moves is not None and (provider in self.moves.active or since > self.moves.latest):
            with suppress(StoreUnavailable):
                await self.refresh_moves()

    def first_id(self, adapter: ProviderAdapter[Any], ref: RuntimeRef) -> str:
        """The id that clients use for the runtime at an address. No I/O."""
        runtime_id = format_runtime_id(adapter.name, adapter.format_reference(ref))
        moved = self.moves.of_place(adapter.name, ref.provider_id) if self.moves else None
        return runtime_id if moved is None else moved.runtime_id

    def note_first_id(self, ctx: RequestContext) -> None:
        """Let the context have the id that its runtime had first: a dialect and a create set the present one."""
        if self.moves and ctx.runtime_id is not None and not ctx.mover:
            ctx.runtime_id = self.moves.first_id(ctx.runtime_id)

    def shown(self, adapter: ProviderAdapter[Any], runtime: Runtime) -> Runtime:
        """A runtime as callers see it: :meth:`named`, and with its planned end. No I/O."""
        return self.named(self.lifetimes.shown(adapter, runtime))

    def named(self, runtime: Runtime) -> Runtime:
        """A runtime with its owner, its name for callers, and the id that it had first. No I/O."""
        shown = self.owners.shown(runtime)
        return self.moves.shown(shown) if self.moves else shown

    def shown_rows(self, adapter: ProviderAdapter[Any], rows: Sequence[Runtime]) -> Sequence[Runtime]:
        """As :meth:`shown`, for the rows of a list."""
        shown = self.owners.shown_rows(self.lifetimes.shown_rows(adapter, rows))
        return [self.moves.shown(row) for row in shown] if self.moves else shown

    def relocated(self, news: Iterable[Relocation]) -> None:
        """Runtimes have moved, or have moved back: what is known of them at both places is outdated."""
        for row in news:
            source, ref = self.get(row.source), None
            with suppress(NotFound):
                if source is not None:
                    ref = source.adapter.parse_reference(parse_runtime_id(row.source_runtime_id)[1])
            self.wrote(row.source, ref)
            self.wrote(*place_of(row))

    def call_scope(
        self,
        provider: Provider,
        operation: Operation,
        ctx: RequestContext,
        secrets: Iterable[str] = (),
        *,
        runtime: RuntimeRef | None = None,
        name: str | None = None,
        only_reads: bool = False,
        at_most: float = math.inf,
        probing: bool = False,
    ) -> ProviderCallScope:
        """Call a provider within the deadline of an operation, or within ``at_most`` seconds if that is less:
        ``async with fleet.call_scope(...) as call:``. ``runtime`` is the runtime that the operation is about, if it is
        resolved, ``name`` its name at the provider. ``only_reads``: nothing is written, whatever the operation is.
        ``probing``: the call is a probe of the gateway itself. Raises as :class:`ProviderCallScope`."""
        ctx.provider = provider.name
        if ctx.moves_known is None:
            ctx.moves_known = self.moves.change
        limit = min(provider.adapter.settings.deadline(operation), at_most)
        secrets = (*secrets, provider.token)
        writes = None if only_reads or probing else keys_of(None if runtime is None else runtime.provider_id, name)
        return ProviderCallScope(self, provider, operation, ctx, secrets, limit, runtime, probing, writes)
