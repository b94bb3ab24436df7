"""The services of the gateway for dialects: routing by scope, provider calls, creates, and runtimes that have moved."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.access import Principal
from gateway.domain.errors import NotFound
from gateway.domain.ids import RuntimeRef, parse_runtime_id
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import AddressIssuer, SupportsDataPlane
from gateway.ports.dialect import DialectGateway, DialectTarget, Elsewhere, Moved, View
from gateway.ports.moves import Relocation
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
from gateway.services.fleet import Fleet, Provider
from gateway.services.idempotency_keys import provider_key
from gateway.services.moves.map import place_of
from gateway.services.provider_choice import Target


class DialectMoves:
    """The part of :class:`gateway.ports.dialect.DialectGateway` about moves."""

    _fleet: Fleet

    def moved(
        self, target: DialectTarget, kind: str, named: str, names: Sequence[str], ctx: RequestContext
    ) -> Moved | None:
        moves, adapter = self._fleet.moves, target.adapter
        if ctx.moves_known is None:
            ctx.moves_known = moves.change
        if not moves:
            return None
        row = moves.of_source(adapter.name, named) or moves.of_native(adapter.name, named)
        for name in names if row is None else ():
            row = row or moves.of_name(adapter.name, target.scope, kind, name)
        if row is None or target.scope not in {row.source_scope, row.target_scope}:
            return None
        found = self._at(row.target, row.target_scope, target.asked_scope, ctx)
        if found is None:
            raise NotFound("There is no such runtime.")
        self._fleet.require_moves()
        self.here(found.adapter, row.target_id, ctx)
        return Moved(found, place_of(row).ref, row.source_id, row.name)

    def here(self, adapter: ProviderAdapter[Any], provider_id: str, ctx: RequestContext) -> bool:
        moves = self._fleet.moves
        if not moves:
            return True
        if moves.of_source(adapter.name, provider_id) is not None:
            return False
        row = moves.of_target(adapter.name, provider_id)
        if row is None or row.runtime_id == row.target_runtime_id:  # it never moved, or is back where it was first
            return True
        if row.source_id != provider_id and self._is_of(adapter, row):
            ctx.renamed[provider_id] = row.source_id
        return True

    def latest_move(self) -> int:
        return self._fleet.moves.latest

    async def know_moves(self, adapter: ProviderAdapter[Any], since: int) -> None:
        await self._fleet.know_moves(adapter.name, since)

    def lists(self, target: DialectTarget, row: tuple[str, str, str | None], since: int, ctx: RequestContext) -> bool:
        if not self._fleet.moves.lists(since, target.adapter.name, target.scope, *row):
            return False
        self.here(target.adapter, row[1], ctx)
        if (gone := self._fleet.moves.of_source(target.adapter.name, row[1])) is not None:  # since the list began
            first = self._fleet.moves.of_id(gone.runtime_id)
            place = self._fleet.get(parse_runtime_id(gone.runtime_id)[0])
            if place is not None and place.adapter.api == target.adapter.api:
                ctx.renamed[row[1]] = gone.target_id if first is None else first.source_id
        return True

    def elsewhere(self, target: DialectTarget, kind: str, since: int, ctx: RequestContext) -> Sequence[Elsewhere]:
        found: dict[tuple[str, str], Elsewhere] = {}
        for first_id, *at, present_id in self._fleet.moves.away(since, target.adapter.name, target.scope, kind):
            place = at[0], at[1]
            if place not in found and (there := self._at(*place, target.asked_scope, ctx)) is not None:
                found[place] = Elsewhere(there, {})
            if place in found:
                found[place].ids[present_id] = first_id
        return [found[place] for place in sorted(found)]

    def left_behind(self, scope: str, kind: str, ctx: RequestContext) -> Sequence[Moved]:
        rows = self._fleet.moves.rows() if self._fleet.moves else ()
        gone = [row for row in rows if self._fleet.get(row.source) is None]
        places = [
            (row, self._at(row.target, row.target_scope, scope, ctx))
            for row in gone
            if (row.source_scope, row.kind) == (scope, kind)
        ]
        return [Moved(at, place_of(row).ref, row.source_id, row.name) for row, at in places if at is not None]

    async def admit_write(self, ref: RuntimeRef, name: str | None, call: Call) -> None:
        if call.writer and self._fleet.permits is not None:
            rows = [ref.provider_id, *([] if name is None else [f"name:{name}"])]
            await self._fleet.permits.enter(call.writer, rows)

    def _at(self, name: str, scope: str, asked_scope: str, ctx: RequestContext) -> DialectTarget | None:
        """A place; None if the caller may not see it, or the gateway does not have it."""
        provider = self._fleet.get(name)
        if provider is None or not ctx.principal.sees(name, scope):
            return None
        return DialectTarget(provider.adapter, scope, asked_scope)

    def _is_of(self, adapter: ProviderAdapter[Any], row: Relocation) -> bool:
        """Whether the place that a runtime has left has the same API as an adapter, so that its ids can be shown."""
        source = self._fleet.get(row.source)
        if source is not None:
            return source.adapter.api == adapter.api
        try:
            ref = adapter.parse_reference(parse_runtime_id(row.source_runtime_id)[1])
        except NotFound:
            return False
        return ref.provider_id == row.source_id and ref.scope in {row.source_scope, adapter.settings.scope}


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
