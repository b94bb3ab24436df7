"""The services of the gateway for dialects: routing by scope, provider calls, and creates."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.access import Principal
from gateway.domain.errors import NotFound
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import AddressIssuer, SupportsDataPlane
from gateway.ports.dialect import DialectGateway, DialectTarget, View
from gateway.ports.native import Rules
from gateway.ports.provider import Created, ProviderAdapter
from gateway.ports.sealing import Sealer
from gateway.ports.transport import Call
from gateway.services.access.cursors import CursorSeal
from gateway.services.access.owners import Owners
from gateway.services.access.visibility import reads_first
from gateway.services.create import CreateService
from gateway.services.data_plane.issuing import Issuer
from gateway.services.data_plane.service import DataPlane
from gateway.services.dialect_moves import DialectMoves
from gateway.services.fleet import Fleet, Provider
from gateway.services.idempotency_keys import provider_key
from gateway.services.provider_choice import Target


@dataclass(frozen=True, slots=True)
class DialectRule:
    """A rule of the settings: requests for ``scope`` (of ``era``, or of all eras) go to ``provider``, and there to
    ``target_scope``, or to the same scope without one."""

    scope: str
    provider: str
    target_scope: str | None = None
    era: str | None = None


@dataclass(frozen=True, slots=True)
class _View(View):
    principal: Principal
    owners: Owners
    adapter: ProviderAdapter[Any]
    cursors: CursorSeal
    partial: bool

    def sees(self, runtime: Runtime) -> bool:
        return self.owners.sees(self.principal, runtime)

    def addresses(self, name: str) -> Sequence[str]:
        return self.owners.addresses(name, self.principal, self.adapter)

    def name_at_provider(self, name: str) -> str:
        return self.owners.name_at_provider(name, self.principal)

    def require_current(self) -> None:
        self.owners.require_current(self.principal)

    def mark(self, name: str | None) -> str | None:
        return self.owners.mark(self.principal, self.adapter.name, name)

    def seal(self, cursor: bytes) -> str:
        return self.cursors.seal(cursor)

    def unseal(self, sealed: str) -> bytes:
        return self.cursors.unseal(sealed)


@dataclass(slots=True, eq=False, repr=False)
class DialectService(DialectMoves, DialectGateway):
    """Serves all dialects with one fleet. ``rules`` are the rules of the settings by prefix. ``sealer`` encrypts
    cursors. ``plane`` None: the data plane is off."""

    _fleet: Fleet
    _create: CreateService
    _rules: Mapping[str, Sequence[DialectRule]]
    _sealer: Sealer
    _plane: DataPlane | None = None
    _forward: Mapping[str, Rules] = field(default_factory=dict)

    def view(self, adapter: ProviderAdapter[Any], ctx: RequestContext) -> View:
        partial = reads_first(ctx.principal, adapter)
        cursors = CursorSeal(self._sealer, ctx.principal.owner, adapter.name)
        return _View(ctx.principal, self._fleet.owners, adapter, cursors, partial)

    def issuer(self, adapter: ProviderAdapter[Any], ctx: RequestContext) -> AddressIssuer | None:
        if self._plane is None or not isinstance(adapter, SupportsDataPlane):
            return None
        return Issuer(self._plane, adapter, ctx.principal)

    def replace_rules(self, rules: Mapping[str, Sequence[DialectRule]], forward: Mapping[str, Rules]) -> None:
        """Replace all rules. ``forward`` has those for requests that no route serves, by prefix."""
        self._rules, self._forward = rules, forward

    def forwards(self, prefix: str, method: str, segments: Sequence[str]) -> bool:
        return prefix in self._forward and self._forward[prefix].allow(method, segments)

    def target(self, ctx: RequestContext, prefix: str, api: str, scope: str, era: str | None = None) -> DialectTarget:
        found = self._target(ctx, prefix, api, scope, era)
        if not ctx.principal.sees(found.adapter.name, found.scope):
            raise _not_served(scope)
        return found

    def _target(self, ctx: RequestContext, prefix: str, api: str, scope: str, era: str | None) -> DialectTarget:
        for rule in self._rules.get(prefix, ()):
            if rule.scope == scope and rule.era in {None, era}:
                named = self._fleet.get(rule.provider)
                if named is not None and named.adapter.api == api:
                    return DialectTarget(named.adapter, named.pinned_scope or rule.target_scope or scope, scope)
        providers = self._preferred(ctx, api)
        for provider in providers:
            if provider.pinned_scope == scope:
                return DialectTarget(provider.adapter, scope, scope)
        for provider in providers:
            if provider.pinned_scope is None and (resolved := _scope(provider, scope)) is not None:
                return DialectTarget(provider.adapter, resolved, scope)
        raise _not_served(scope)

    def targets(self, ctx: RequestContext, prefix: str, api: str) -> Sequence[DialectTarget]:
        known = [rule.scope for rule in self._rules.get(prefix, ())]
        known += [
            provider.pinned_scope
            for provider in self._fleet
            if provider.adapter.api == api and provider.pinned_scope is not None
        ]
        found = []
        for scope in dict.fromkeys(known):
            try:
                found.append(self.target(ctx, prefix, api, scope))
            except NotFound:  # a rule of another API with the same prefix
                continue
        return found

    def adapters(self, ctx: RequestContext, api: str) -> Sequence[ProviderAdapter[Any]]:
        return [provider.adapter for provider in self._preferred(ctx, api)]

    def call_scope(
        self, adapter: ProviderAdapter[Any], operation: Operation, ctx: RequestContext, secrets: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[Call]:
        return self._fleet.call_scope(self._provider(adapter), operation, ctx, secrets)

    async def create(
        self, target: DialectTarget, request: CreateRequest, ctx: RequestContext, *, idempotency_key: str | None = None
    ) -> Created:
        provider = self._provider(target.adapter)
        return await self._create.create_at(Target(provider, target.scope), request, ctx, idempotency_key)

    async def begin_instance(self, adapter: ProviderAdapter[Any], runtime: Runtime, ctx: RequestContext) -> None:
        await self._fleet.quotas.begin(adapter, runtime, ctx.principal)

    def plans_ends(self, adapter: ProviderAdapter[Any]) -> bool:
        return self._fleet.lifetimes.has_end(adapter.name)

    def planned_end(self, adapter: ProviderAdapter[Any], runtime_id: str, read: Callable[[], Runtime]) -> str | None:
        lifetimes = self._fleet.lifetimes
        if not lifetimes.has_end(adapter.name, runtime_id):
            return None
        runtime = read()
        shown = lifetimes.shown(adapter, runtime)
        return None if shown is runtime else shown.expires_at

    async def require_keepalive(self, runtime: Runtime, seconds: int, ctx: RequestContext) -> None:
        await self._fleet.lifetimes.require_keepalive(runtime, seconds, ctx.principal)

    def provider_key(self, target: DialectTarget, ctx: RequestContext, idempotency_key: str) -> str:
        return provider_key(target.adapter, target.scope, ctx.principal.name, idempotency_key)

    def _preferred(self, ctx: RequestContext, api: str) -> Sequence[Provider]:
        providers = (
            provider
            for provider in self._fleet
            if provider.adapter.api == api and ctx.principal.sees(provider.name, provider.pinned_scope)
        )
        return sorted(providers, key=lambda provider: provider.adapter.settings.order)

    def _provider(self, adapter: ProviderAdapter[Any]) -> Provider:
        """The provider of an adapter that a dialect holds, also if the fleet has replaced it since."""
        provider = self._fleet.get(adapter.name)
        return provider if provider is not None and provider.adapter is adapter else Provider(adapter)


def _not_served(scope: str) -> NotFound:
    return NotFound(f"No provider of this gateway serves {scope}.")


def _scope(provider: Provider, scope: str) -> str | None:
    try:
        return provider.adapter.parse_scope(scope)
    except ValueError:
        return None
