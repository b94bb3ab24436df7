"""Plans a move: reads the runtimes of the source in pages, and stores what the move of each would do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.domain.access import Principal
from gateway.domain.errors import GatewayError, NotFound, ProviderNotConfigured, RuntimeReplaced, StoreUnavailable
from gateway.domain.ids import RuntimeRef, parse_runtime_id
from gateway.domain.lifecycle import is_live
from gateway.domain.move_requests import CreateMove
from gateway.domain.moves import Blocker, ItemState, MoveState
from gateway.domain.operations import Operation
from gateway.domain.ownership import outward
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.context import RequestContext
from gateway.ports.moves import MoveStore, StoredItem, StoredMove
from gateway.ports.sealing import Sealer, Unreadable
from gateway.services.fleet import Fleet, Provider
from gateway.services.moves.adopted import AdoptedRuntimes
from gateway.services.moves.describing import Describer, MoveBetween, config_labels, selects
from gateway.services.moves.map import MoveMap
from gateway.services.moves.planned import MoveDetails, PlannedItem, details_of, request_of, sealed
from gateway.services.moves.summary import digest_of, side_effects

BATCH: Final = 100
"""Runtimes that are read and stored at once."""
AT_ONCE: Final = 8
"""Runtimes that are read at the same time."""


class _LeaseLost(Exception):
    """Another replica works on the move."""


@dataclass(frozen=True, slots=True)
class _Page:
    """Addresses of runtimes at the source, with their rows where they were listed. ``after`` is where the next page
    begins: the number of the scope, and a cursor."""

    found: Sequence[tuple[RuntimeRef, Runtime | None]]
    after: tuple[int, str | None]


class Planner:
    """Plans moves. ``adopted`` knows the runtimes that a move must not delete, ``principals`` returns the callers whose
    rights the plan compares. A plan that was interrupted continues with the page that was not stored."""

    def __init__(
        self,
        fleet: Fleet,
        moves: MoveMap,
        store: MoveStore,
        sealer: Sealer,
        describer: Describer,
        *,
        adopted: AdoptedRuntimes | None = None,
        principals: Callable[[], Iterable[Principal]] = lambda: (),
    ) -> None:
        self._fleet = fleet
        self._moves = moves
        self._store = store
        self._sealer = sealer
        self._describer = describer
        self._adopted = adopted
        self._principals = principals

    async def run(self, move: StoredMove, holder: str) -> None:
        """Bring a move from ``planning`` to ``planned``, or to ``failed`` if its source or target cannot be read. Ends
        without a change if the holder has lost the lease. Raises :class:`StoreUnavailable`."""
        try:
            with RequestContext(move.id) as ctx:
                await self._plan(move, holder, ctx)
        except StoreUnavailable:
            raise
        except _LeaseLost:
            return
        except (GatewayError, Unreadable) as error:
            detail = error.detail if isinstance(error, GatewayError) else "No key of the settings opens the request."
            problem = Blocker(code=getattr(error, "code", "unreadable"), detail=detail)
            await self._save(move, holder, MoveState.FAILED, MoveDetails(problem=problem))

    async def _plan(self, move: StoredMove, holder: str, ctx: RequestContext) -> None:
        request = request_of(move, self._sealer)
        source = self._provider(request.source.provider)
        scopes, progress = self._scopes(request, source), details_of(move)
        between = self._describer.between(request, await self._taken(request, scopes, ctx))
        if between is None:
            raise ProviderNotConfigured("A provider of the move is not in the settings.")
        seen = {item.provider_id async for item in self._items(move.id) if item.position < progress.position}
        position = progress.position
        async for page in self._pages(source, request, scopes, progress, ctx):
            new = [entry for entry in page.found if entry[0].provider_id not in seen]
            seen |= {ref.provider_id for ref, _ in new}
            items = await self._planned(move.id, between, new, position, ctx)
            if not await self._store.add_move_items(items, holder):
                raise _LeaseLost
            position += len(items)
            await self._save(
                move,
                holder,
                MoveState.PLANNING,
                MoveDetails(scope=page.after[0], cursor=page.after[1], position=position),
            )
        async for left in self._items(move.id, position - 1):  # stored by a plan that was interrupted
            await self._store.change_move_item(msgspec.structs.replace(left, state=ItemState.SKIPPED), holder)
        details = MoveDetails(side_effects=list(side_effects(between, scopes, self._principals())))
        digest = await digest_of(request, self._items(move.id), self._sealer)
        await self._save(move, holder, MoveState.PLANNED, details, digest)

    async def _save(
        self, move: StoredMove, holder: str, state: MoveState, details: MoveDetails, digest: str | None = None
    ) -> None:
        changed = await self._store.change_move(
            move.id,
            {MoveState.PLANNING},
            state=state,
            digest=digest,
            details=msgspec.json.encode(details).decode(),
            holder=holder,
        )
        if changed is None:
            raise _LeaseLost

    def _provider(self, name: str) -> Provider:
        provider = self._fleet.get(name)
        if provider is None:
            raise ProviderNotConfigured(f"This gateway has no provider {name}.", provider=name)
        return provider

    def _scopes(self, request: CreateMove, source: Provider) -> list[str]:
        """The scopes of the source that are read."""
        if request.source.scope:
            return [source.adapter.parse_scope(request.source.scope)]
        if source.pinned_scope is not None:
            return [source.pinned_scope]
        return list(dict.fromkeys(self._address(source, each).scope for each in request.source.ids))

    async def _taken(
        self, request: CreateMove, scopes: Sequence[str], ctx: RequestContext
    ) -> dict[str, frozenset[str | None]]:
        """The names that exist at the target, by scope, where one that exists prevents a move."""
        target, taken = self._provider(request.target.provider), dict[str, frozenset[str | None]]()
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
            async with self._fleet.call_scope(provider, Operation.LIST, ctx) as call:
                page = await provider.adapter.list(query, call)
            cursor = page.next_cursor
            yield page.items, cursor
            if cursor is None:
                return

    async def _pages(
        self,
        source: Provider,
        request: CreateMove,
        scopes: Sequence[str],
        progress: MoveDetails,
        ctx: RequestContext,
    ) -> AsyncIterator[_Page]:
        """The runtimes of the source that may be selected, from where the plan was interrupted."""
        if request.source.ids:
            refs = [self._address(source, runtime_id) for runtime_id in request.source.ids]
            for start in range(progress.scope, len(refs), BATCH):
                yield _Page([(ref, None) for ref in refs[start : start + BATCH]], (start + BATCH, None))
            return
        wanted = ListFilter(
            kinds=frozenset(filter(None, [request.source.kind])),
            states=frozenset(map(State, request.source.state)),
            outward_name=request.source.name or None,
        )
        cursor = progress.cursor
        for index in range(progress.scope, len(scopes)):
            async for rows, following in self._listed(source, scopes[index], wanted, cursor, ctx):
                after = (index + 1, None) if following is None else (index, following)
                yield _Page([(source.adapter.reference(row), row) for row in rows], after)
            cursor = None

    def _address(self, source: Provider, runtime_id: str) -> RuntimeRef:
        """The address at the source of a runtime with any of its ids. Raises :class:`NotFound`."""
        gone = self._moves.of_id(runtime_id)
        if gone is not None:
            if gone.target == source.name:
                return RuntimeRef(gone.target_scope, gone.target_id, gone.target_name)
        else:
            name, reference = parse_runtime_id(runtime_id)
            if name == source.name:
                return source.adapter.parse_reference(reference)
        raise NotFound(f"The runtime {runtime_id} is not at the provider {source.name}.")

    async def _planned(
        self,
        move_id: str,
        between: MoveBetween,
        found: Sequence[tuple[RuntimeRef, Runtime | None]],
        position: int,
        ctx: RequestContext,
    ) -> list[StoredItem]:
        limit, source = asyncio.Semaphore(AT_ONCE), between.source.name

        async def one(ref: RuntimeRef, row: Runtime | None) -> tuple[Runtime, PlannedItem] | None:
            if self._moves.of_source(source, ref.provider_id) is not None:
                return None  # what an earlier move has left
            async with limit:
                return await self._described(between, ref, row, ctx)

        described = await asyncio.gather(*(one(*entry) for entry in found))
        return [
            StoredItem(
                move_id=move_id,
                position=index,
                provider=source,
                scope=runtime.scope,
                provider_id=runtime.provider_id,
                runtime_id=self._moves.shown_id(runtime),
                name=outward(runtime.name),
                kind=runtime.kind,
                state=ItemState.BLOCKED if planned.blocked_by else ItemState.PLANNED,
                plan=sealed(planned, move_id, index, self._sealer),
            )
            for index, (runtime, planned) in enumerate(filter(None, described), position)
        ]

    async def _described(
        self, between: MoveBetween, ref: RuntimeRef, row: Runtime | None, ctx: RequestContext
    ) -> tuple[Runtime, PlannedItem] | None:
        """What the move of a runtime does; None for one that the move does not select, or that is gone by now. One
        that cannot be read is blocked."""
        try:
            facts = await self._describer.read(between, ref, ctx, row)
            if not selects(between.request.source, facts.runtime, self._moves, config_labels(facts)):
                return None
            planned = await self._describer.describe(between, facts, ctx)
            return facts.runtime, await self._protected(between, facts.runtime, planned, ctx)
        except (NotFound, RuntimeReplaced):
            if row is None:
                raise
            return None
        except StoreUnavailable:
            raise
        except GatewayError as error:
            if row is None:
                raise
            return row, PlannedItem(
                blocked_by=[Blocker(code=error.code, detail=error.detail)],
                target_scope=between.target_scope(row.scope),
                create={"kind": row.kind, "name": row.name},
                starts=False,
                state=row.state,
            )

    async def _protected(
        self, between: MoveBetween, runtime: Runtime, planned: PlannedItem, ctx: RequestContext
    ) -> PlannedItem:
        """The item, blocked if the move would delete a runtime that was adopted."""
        request = between.request
        if self._adopted is None or request.source_after != "delete" or request.force:
            return planned
        if not await self._adopted.is_adopted(between.source, runtime, ctx):
            return planned
        detail = "The gateway only presumes that it made this runtime; deleting it needs force."
        adopted = Blocker(code="adopted", detail=detail, pointer="#/force")
        return msgspec.structs.replace(planned, blocked_by=[*planned.blocked_by, adopted])

    async def _items(self, move_id: str, after: int = -1) -> AsyncIterator[StoredItem]:
        while items := await self._store.move_items(move_id, after=after, limit=BATCH):
            for item in items:
                yield item
            after = items[-1].position
