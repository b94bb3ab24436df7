"""Exports runtimes: what would make them again, read from their providers (docs/moves.md)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.errors import GatewayError, NotFound, RuntimeReplaced
from gateway.domain.exports import ExportedRuntime, NotExported
from gateway.domain.moves import Blocker
from gateway.domain.ownership import outward
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.sealing import Sealer
from gateway.services.fleet import Fleet
from gateway.services.listing import ListQuery, ListService
from gateway.services.moves.documents import with_references
from gateway.services.moves.reading import SourceFacts, SourceReader
from gateway.services.moves.recreating import recreated

AT_ONCE: Final = 8
"""Runtimes of an export that are read at the same time."""

Line = ExportedRuntime | NotExported


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """Some lines, and where the export continues after them; ``failures`` are the providers that could not be
    listed."""

    lines: Sequence[Line]
    next_cursor: str | None
    failures: Sequence[tuple[str, GatewayError]]


@dataclass(frozen=True, slots=True)
class ExportService:
    fleet: Fleet
    listing: ListService
    reader: SourceReader
    sealer: Sealer

    async def pages(self, query: ListQuery, ctx: RequestContext) -> AsyncIterator[ExportedPage]:
        """The lines in the order of the list, page by page. Raises as :meth:`ListService.page`."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def line(runtime: Runtime) -> Line | None:
            async with limit:
                return await self._line(runtime, ctx)

        while True:
            page = await self.listing.page(query, ctx)
            lines = await asyncio.gather(*map(line, page.items))
            yield ExportedPage([each for each in lines if each is not None], page.next_cursor, page.failures)
            if page.next_cursor is None:
                return
            query = ListQuery(
                filter=query.filter,
                providers=query.providers,
                scopes=query.scopes,
                limit=query.limit,
                cursor=page.next_cursor,
            )

    async def _line(self, runtime: Runtime, ctx: RequestContext) -> Line | None:
        """One runtime; None if it is gone by now."""
        try:
            provider, ref = self.fleet.resolve(runtime.id, ctx)
            facts = await self.reader.read(provider, ref, ctx)
            if not facts.live:
                detail = "Its provider cannot be asked. A move of it works with what is known of its create."
                return NotExported(id=runtime.id, problem=Blocker(code="provider_unavailable", detail=detail))
            create, unknown = recreated(facts, provider.adapter)
            return self._exported(runtime, facts, provider.adapter.api, with_references(create, self.sealer), unknown)
        except (NotFound, RuntimeReplaced):
            return None
        except GatewayError as error:
            return NotExported(id=runtime.id, problem=Blocker(code=error.code, detail=error.detail))

    def _exported(
        self, runtime: Runtime, facts: SourceFacts, api: str, create: dict[str, object], unknown: list[str]
    ) -> ExportedRuntime:
        found = facts.runtime
        return ExportedRuntime(
            id=runtime.id,
            kind=found.kind,
            api=api,
            provider=found.provider,
            scope=found.scope,
            provider_id=found.provider_id,
            name=outward(found.name),
            owner=self.fleet.owners.owner_of(found),
            state=found.state,
            create=create,
            bindings=None if facts.bindings is None else list(facts.bindings),
            unknown=unknown,
        )
