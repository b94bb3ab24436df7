"""The configured providers. All provider calls are made through :class:`Fleet`."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple

from gateway.domain.errors import (
    ClientError,
    FieldError,
    GatewayError,
    NotFound,
    ProviderCredentialsRejected,
    ProviderNotConfigured,
    UnsupportedFeature,
)
from gateway.domain.features import Feature
from gateway.domain.ids import RuntimeRef, parse_runtime_id
from gateway.domain.limits import Rate
from gateway.domain.operations import TRAITS, Operation
from gateway.domain.values import WorkClass
from gateway.ports.clock import Clock
from gateway.ports.context import Admission, RequestContext
from gateway.ports.error_mapping import transport_error
from gateway.ports.provider import ProviderAdapter
from gateway.ports.redaction import MAX_CODE, MAX_DETAIL, MAX_REQUEST_ID, redacted, short_redacted
from gateway.ports.transport import Call, Phase, TransportFailure
from gateway.services.access.lifetimes import Lifetimes
from gateway.services.access.owners import Owners
from gateway.services.access.quotas import Quotas
from gateway.services.access.rates import RateLimits
from gateway.services.access.visibility import NO_RUNTIME
from gateway.services.moves.map import MoveMap
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
    rate: Rate | None = field(init=False)

    def __post_init__(self) -> None:
        self.rate = self.adapter.settings.limits.rate

    @property
    def name(self) -> str:
        """The configured name."""
        return self.adapter.name

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
        self.quotas = Quotas(self)
        self.on_credentials = on_credentials
        self.on_write: list[Callable[[str, RuntimeRef | None], None]] = []
        """Called at the end of an operation that wrote at a provider (by name), or may have: to one runtime, or to an
        unknown one (None)."""
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
        """The provider of this name, or None."""
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
        """The provider that made a runtime, and the address of the runtime there. No I/O (docs/promises.md#p3). Sets
        the provider, scope and id in ``ctx``. ``work`` is the class of work of the operation.

        Raises :class:`NotFound` for a text that is not an id and for what the caller may not see,
        :class:`ProviderNotConfigured` and, except for a release, :class:`Overloaded` if the provider is too busy.
        """
        caller = ctx.principal
        runtime_id = caller.plain_id(runtime_id)
        name, reference = parse_runtime_id(runtime_id)
        provider = self._providers.get(name)
        if caller.confined and (provider is None or not caller.sees(name)):
            raise NotFound(NO_RUNTIME)
        if provider is None:
            raise ProviderNotConfigured(
                f"The runtime belongs to the provider {name}, which this gateway does not have.", provider=name
            )
        ref = provider.adapter.parse_reference(reference)
        if caller.confined and not caller.sees(name, ref.scope):
            raise NotFound(NO_RUNTIME)
        ctx.provider, ctx.scope, ctx.runtime_id = name, ref.scope, runtime_id
        if ctx.admission is not None:
            ctx.admission.enter(name, always=work is WorkClass.RELEASE)
        return ResolvedRuntime(provider, ref)

    def call_scope(
        self,
        provider: Provider,
        operation: Operation,
        ctx: RequestContext,
        secrets: Iterable[str] = (),
        *,
        runtime: RuntimeRef | None = None,
        at_most: float = math.inf,
        probing: bool = False,
    ) -> "ProviderCallScope":
        """Call a provider within the deadline of an operation, or within ``at_most`` seconds if that is less:
        ``async with fleet.call_scope(...) as call:``. ``runtime`` is the runtime that the operation is about, if it is
        resolved. ``probing``: the call is a probe of the gateway itself. Raises as :class:`ProviderCallScope`."""
        ctx.provider = provider.name
        limit = min(provider.adapter.settings.deadline(operation), at_most)
        secrets = (*secrets, provider.adapter.settings.token.get_secret_value())
        return ProviderCallScope(self, provider, operation, ctx, secrets, limit, runtime, probing)


@dataclass(slots=True, eq=False, repr=False)
class ProviderCallScope:
    """The provider calls of one operation, under one deadline. Every provider failure is raised as a
    :class:`GatewayError`, from whose texts ``secrets`` are removed, because a provider may echo what it received.
    Entering raises :class:`Overloaded` if too many requests are bound to the provider, and :class:`RateLimited` beyond
    the rate of its account."""

    _fleet: Fleet
    _provider: Provider
    _operation: Operation
    _ctx: RequestContext
    _secrets: tuple[str, ...]
    _limit: float
    _runtime: RuntimeRef | None
    _probing: bool
    _admission: Admission | None = field(default=None, init=False)  # a list releases each provider that has responded
    _call: Call = field(init=False)

    async def __aenter__(self) -> Call:
        work, admission, rate = TRAITS[self._operation].work, self._ctx.admission, self._provider.rate
        if rate is not None and admission is not None and self._fleet.rates and work is not WorkClass.RELEASE:
            await self._fleet.rates.charge(self._ctx, self._provider.name, rate)
        if admission is not None and admission.enter(self._provider.name, always=work is WorkClass.RELEASE):
            self._admission = admission if self._operation is Operation.LIST else None
        self._provider.calls += 1
        self._call = self._ctx.call(self._fleet.clock.monotonic() + self._limit)
        self._call.work, self._call.secrets = work, self._secrets
        return self._call

    async def __aexit__(
        self, _cls: type[BaseException] | None, exc: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._provider.calls -= 1
        if self._admission is not None:
            self._admission.leave(self._provider.name)
        attempts = self._call.attempts
        if self._call.unreadable_count and self._fleet.observer is not None:
            self._fleet.observer.unreadable_rows(self._provider.name, self._operation, self._call)
        self._ctx.attempts += attempts
        self._ctx.queued += self._call.queued
        if not _WRITES.isdisjoint([each.operation for each in attempts if each.phase >= Phase.SENT]):
            self._fleet.wrote(self._provider.name, self._runtime or self._runtime_of_context())
        if exc is None:
            if attempts:
                health = self._provider.health
                health.last_success, health.probed = self._fleet.clock.now(), self._probing
                self._credentials(accepted=True)
            if TRAITS[self._operation].work is WorkClass.RELEASE and self._ctx.principal.prepares_starts:
                await self._fleet.quotas.released(
                    self._operation, self._ctx, self._runtime or self._runtime_of_context()
                )
            return
        if isinstance(exc, TransportFailure):
            error: GatewayError = transport_error(self._provider.name, self._operation, exc)
            if exc.reason not in _NOT_SENT:
                self._observe(error)
            raise error from exc
        if isinstance(exc, GatewayError):
            exc.provider = exc.provider or self._provider.name
            self._observe(exc)
            self._redact(exc)

    def _runtime_of_context(self) -> RuntimeRef | None:
        """The runtime that a create or a dialect has set in the context; None where it set none, or one whose id this
        gateway cannot parse (a provider may return ids that no path can hold)."""
        if self._ctx.runtime_id is None:
            return None
        try:
            name, reference = parse_runtime_id(self._ctx.runtime_id)
            return self._provider.adapter.parse_reference(reference) if name == self._provider.name else None
        except NotFound:
            return None

    def _observe(self, error: GatewayError) -> None:
        if error.failure is None:
            return
        health = self._provider.health
        health.probed = self._probing
        if isinstance(error, ClientError):  # the provider responded, and the caller is at fault
            health.last_success = self._fleet.clock.now()
            return
        if isinstance(error, ProviderCredentialsRejected):
            self._credentials(accepted=False)
        health.last_failure = self._fleet.clock.now()
        health.last_failure_code = error.code

    def _credentials(self, *, accepted: bool) -> None:
        health = self._provider.health
        if health.credentials_ok is not accepted:
            health.credentials_ok = accepted
            current = self._fleet.get(self._provider.name) is self._provider  # False: it was replaced by a reload
            if self._fleet.on_credentials is not None and current:
                self._fleet.on_credentials(self._provider.name, accepted)

    def _redact(self, error: GatewayError) -> None:
        secrets, failure = self._secrets, error.failure
        if failure is not None:
            error.failure = replace(
                failure,
                code=short_redacted(failure.code, secrets, MAX_CODE),
                detail=short_redacted(failure.detail, secrets, MAX_DETAIL),
                request_id=short_redacted(failure.request_id, secrets, MAX_REQUEST_ID),
            )
        error.errors = tuple(
            FieldError(redacted(e.detail, secrets), e.code, e.pointer, e.parameter, e.header) for e in error.errors
        )


_NOT_SENT = frozenset({"circuit_open", "closed"})  # the gateway itself did not send the request
_WRITES: Final = frozenset(operation for operation, traits in TRAITS.items() if traits.mutates)
