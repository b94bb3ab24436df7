"""Runtimes that have moved, for dialects: their clients go on with the provider's ids and names that they have."""

from collections.abc import Sequence
from typing import Any

from gateway.domain.errors import NotFound
from gateway.domain.ids import RuntimeRef, parse_runtime_id
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectTarget, Elsewhere, Moved
from gateway.ports.moves import Relocation
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Call
from gateway.services.fleet import Fleet
from gateway.services.moves.map import place_of


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
