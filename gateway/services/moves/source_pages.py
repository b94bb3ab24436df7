"""The runtimes of the source of a move, page by page, so that a plan can continue after an interruption."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.domain.errors import NotFound
from gateway.domain.ids import RuntimeRef, parse_runtime_id
from gateway.domain.lifecycle import is_live
from gateway.domain.moves import CreateMove
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation, State
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet, Provider
from gateway.services.moves.map import MoveMap
from gateway.services.moves.planned import MoveDetails
from gateway.services.moves.reading import UNREACHABLE, KeptCreates, SourceFacts

BATCH: Final = 100
"""Runtimes of a page."""

Found: TypeAlias = tuple[RuntimeRef, Runtime | SourceFacts | None]
"""The address of a runtime, with its row if it was listed, or with what is known of it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Runtimes that may be selected. ``after`` is where the next page begins: the number of the scope, and a cursor.
    ``kept``: it is a page of kept creates, because the source cannot be asked."""

    found: Sequence[Found]
    after: tuple[int, str | None]
    kept: bool = False


@dataclass(frozen=True, slots=True)
class SourcePages:
    """Reads lists at both ends, and ``kept`` if the source cannot be asked."""

    fleet: Fleet
    moves: MoveMap
    kept: KeptCreates | None = None

    def scopes(self, request: CreateMove, source: Provider) -> list[str]:
        """The scopes of the source that are read."""
        if request.source.scope:
            return [source.adapter.parse_scope(request.source.scope)]
        if source.pinned_scope is not None:
            return [source.pinned_scope]
        return list(dict.fromkeys(self._address(source, each).scope for each in request.source.ids))

    async def taken(
        self, target: Provider, request: CreateMove, scopes: Sequence[str], ctx: RequestContext
    ) -> dict[str, frozenset[str | None]]:
        """The names that exist at the target, by scope, where one that exists prevents a move."""
        taken = dict[str, frozenset[str | None]]()
        if request.on_name_conflict == "adopt":
            return taken
        places = {request.mappings.scopes.get(scope) or request.target.scope for scope in scopes}
        for scope in filter(None, {place or target.pinned_scope or "" for place in places}):
            pages = self._listed(target, scope, ListFilter(), None, ctx)
            taken[scope] = frozenset([row.name async for rows, _ in pages for row in rows if is_live(row.state)])
        return taken

    async def _listed(
        self, provider: Provider, scope: str, wanted: ListFilter, cursor: str | None, ctx: RequestContext
    ) -> AsyncIterator[tuple[Sequence[Runtime], str | None]]:
        """The pages of a list, each with the cursor of the next one."""
        while True:
            query = ProviderQuery(scope=scope, filter=wanted, limit=BATCH, cursor=cursor)
            async with self.fleet.call_scope(provider, Operation.LIST, ctx) as call:
                page = await provider.adapter.list(query, call)
            cursor = page.next_cursor
            yield page.items, cursor
            if cursor is None:
                return

    async def pages(
        self, source: Provider, request: CreateMove, scopes: Sequence[str], progress: MoveDetails, ctx: RequestContext
    ) -> AsyncIterator[Page]:
        """The runtimes of the source that may be selected, from where the plan was interrupted."""
        if request.source.ids:
            refs = [self._address(source, runtime_id) for runtime_id in request.source.ids]
            for start in range(progress.scope, len(refs), BATCH):
                yield Page([(ref, None) for ref in refs[start : start + BATCH]], (start + BATCH, None))
            return
        wanted = ListFilter(
            kinds=frozenset(filter(None, [request.source.kind])),
            states=frozenset(map(State, request.source.state)),
            outward_name=request.source.name or None,
        )
        cursor, kept = progress.cursor, progress.kept
        for index in range(progress.scope, len(scopes)):
            try:
                if not kept:
                    async for rows, following in self._listed(source, scopes[index], wanted, cursor, ctx):
                        cursor = following
                        after = (index + 1, None) if following is None else (index, following)
                        yield Page([(source.adapter.reference(row), row) for row in rows], after)
                    continue
            except UNREACHABLE:
                if self.kept is None or cursor is not None:
                    raise
            kept = True
            async for page in self._kept_pages(source, scopes[index], index, cursor or ""):
                yield page
            cursor = None

    async def _kept_pages(self, source: Provider, scope: str, index: int, after: str) -> AsyncIterator[Page]:
        """What is known of the runtimes of a source that cannot be asked."""
        assert self.kept is not None  # noqa: S101 (callers check it)
        found: list[Found] = []
        async for facts in self.kept.of_source(source, scope, after):
            found.append((source.adapter.reference(facts.runtime), facts))
            if len(found) == BATCH:
                yield Page(found, (index, facts.runtime.provider_id), kept=True)
                found = []
        yield Page(found, (index + 1, None), kept=True)

    def _address(self, source: Provider, runtime_id: str) -> RuntimeRef:
        """The address at the source of a runtime with any of its ids. Raises :class:`NotFound`."""
        gone = self.moves.of_id(runtime_id)
        if gone is not None:
            if gone.target == source.name:
                return RuntimeRef(gone.target_scope, gone.target_id, gone.target_name)
        else:
            name, reference = parse_runtime_id(runtime_id)
            if name == source.name:
                return source.adapter.parse_reference(reference)
        raise NotFound(f"The runtime {runtime_id} is not at the provider {source.name}.")
