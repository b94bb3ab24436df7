"""Plans a move: reads the runtimes of the source in pages, stores what the move of each would do, and sums up what does
not go with them."""

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from gateway.domain import errors
from gateway.domain.access import Principal
from gateway.domain.ids import RuntimeRef
from gateway.domain.moves import Blocker, CreateMove, ItemState, MoveState
from gateway.domain.ownership import outward
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.moves import MoveStore, StoredItem, StoredMove
from gateway.ports.sealing import Sealer, Unreadable
from gateway.services.fleet import Fleet, Provider
from gateway.services.moves.adopted import AdoptedRuntimes
from gateway.services.moves.describing import Describer, MoveBetween, config_labels, selects
from gateway.services.moves.documents import shown
from gateway.services.moves.map import MoveMap
from gateway.services.moves.planned import MoveDetails, PlannedItem, details_of, item_view, request_of, sealed, unsealed
from gateway.services.moves.reading import KeptCreates, SourceFacts
from gateway.services.moves.recreating import semantics_of
from gateway.services.moves.source_pages import BATCH, Found, SourcePages


async def digest_of(request: CreateMove, items: AsyncIterable[StoredItem], sealer: Sealer) -> str:
    """The digest of a plan: over everything that it shows, and the creates without their secrets."""
    digest = hashlib.sha256(_canonical(shown(request.model_dump(mode="json"))))
    async for item in items:
        if item.state is not ItemState.SKIPPED:
            planned = unsealed(item, sealer)
            view = item_view(item, planned, request.target.provider)
            digest.update(_canonical([view, shown(planned.create), planned.bindings]))
    return f"sha256:{digest.hexdigest()}"


def side_effects(between: MoveBetween, scopes: Sequence[str], principals: Iterable[Principal]) -> Iterator[str]:
    """What stays in the account of the source, and who does not see the runtimes any longer."""
    source, target = between.source, between.target
    semantics = semantics_of(source.adapter)
    if semantics is not None and semantics.account:
        yield f"Not moved from the account of {source.name}: {'; '.join(semantics.account)}."
    for principal in principals:
        for scope in scopes:
            goes_to = between.target_scope(scope)
            if principal.sees(source.name, scope) and not principal.sees(target.name, goes_to):
                yield f"The principal {principal.name} may use {source.name}, but not {target.name} in {goes_to}."
                break


def _canonical(document: object) -> bytes:
    return msgspec.json.encode(document, order="sorted")


AT_ONCE: Final = 8
"""Runtimes that are read at the same time."""

_FROM_KEPT: Final = (
    "The source could not be asked: the plan is made from what the gateway sent to it, and has no other runtimes."
)


class _LeaseLost(Exception):
    """Another replica works on the move."""


class Planner:
    """Plans moves. ``kept`` is read if the source cannot be asked, ``adopted`` knows the runtimes that a move must not
    delete, and ``principals`` returns the callers whose rights the plan compares. A plan that was interrupted continues
    with the page that was not stored."""

    def __init__(
        self,
        fleet: Fleet,
        moves: MoveMap,
        store: MoveStore,
        sealer: Sealer,
        describer: Describer,
        *,
        kept: KeptCreates | None = None,
        adopted: AdoptedRuntimes | None = None,
        principals: Callable[[], Iterable[Principal]] = lambda: (),
    ) -> None:
        self._fleet = fleet
        self._moves = moves
        self._store = store
        self._sealer = sealer
        self._describer = describer
        self._pages = SourcePages(fleet, moves, kept)
        self._adopted = adopted
        self._principals = principals

    async def run(self, move: StoredMove, holder: str) -> None:
        """Bring a move from ``planning`` to ``planned``, or to ``failed`` if its source or target cannot be read. Ends
        without a change if the holder has lost the lease. Raises :class:`StoreUnavailable`."""
        try:
            with RequestContext(move.id) as ctx:
                await self._plan(move, holder, ctx)
        except errors.StoreUnavailable:
            raise
        except _LeaseLost:
            return
        except (errors.GatewayError, Unreadable) as error:
            detail = (
                error.detail if isinstance(error, errors.GatewayError) else "No key of the settings opens the request."
            )
            problem = Blocker(code=getattr(error, "code", "unreadable"), detail=detail)
            await self._save(move, holder, MoveState.FAILED, MoveDetails(problem=problem))

    async def _plan(self, move: StoredMove, holder: str, ctx: RequestContext) -> None:
        request = request_of(move, self._sealer)
        source, target = self._provider(request.source.provider), self._provider(request.target.provider)
        scopes, progress = self._pages.scopes(request, source), details_of(move)
        between = self._describer.between(request, await self._pages.taken(target, request, scopes, ctx))
        if between is None:
            raise errors.ProviderNotConfigured("A provider of the move is not in the settings.")
        seen = {item.provider_id async for item in self._items(move.id) if item.position < progress.position}
        position = progress.position
        async for page in self._pages.pages(source, request, scopes, progress, ctx):
            new = [entry for entry in page.found if entry[0].provider_id not in seen]
            seen |= {ref.provider_id for ref, _ in new}
            items = await self._planned(move.id, between, new, position, ctx)
            if not await self._store.add_move_items(items, holder):
                raise _LeaseLost
            position += len(items)
            scope, cursor = page.after
            progress = MoveDetails(scope=scope, cursor=cursor, position=position, kept=page.kept, apply=progress.apply)
            await self._save(move, holder, MoveState.PLANNING, progress)
        async for left in self._items(move.id, position - 1):  # stored by a plan that was interrupted
            await self._store.change_move_item(msgspec.structs.replace(left, state=ItemState.SKIPPED), holder)
        if progress.kept and not position:
            raise errors.ProviderUnavailable(f"{source.name} cannot be asked, and nothing is known of such runtimes.")
        effects = [*([_FROM_KEPT] if progress.kept else []), *side_effects(between, scopes, self._principals())]
        details = MoveDetails(side_effects=effects, apply=progress.apply)
        digest = await digest_of(request, self._items(move.id), self._sealer)
        after = MoveState.APPLYING if progress.apply else MoveState.PLANNED
        await self._save(move, holder, after, details, digest)

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
            raise errors.ProviderNotConfigured(f"This gateway has no provider {name}.", provider=name)
        return provider

    async def _planned(
        self, move_id: str, between: MoveBetween, found: Sequence[Found], position: int, ctx: RequestContext
    ) -> list[StoredItem]:
        limit, source = asyncio.Semaphore(AT_ONCE), between.source.name

        async def one(ref: RuntimeRef, row: Runtime | SourceFacts | None) -> tuple[Runtime, PlannedItem] | None:
            if self._moves.of_source(source, ref.provider_id) is not None:
                return None  # what an earlier move has left
            async with limit:
                if isinstance(row, SourceFacts):
                    return await self._described(between, ref, row.runtime, ctx, row)
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
        self,
        between: MoveBetween,
        ref: RuntimeRef,
        row: Runtime | None,
        ctx: RequestContext,
        known: SourceFacts | None = None,
    ) -> tuple[Runtime, PlannedItem] | None:
        """What the move of a runtime does; None for one that the move does not select, or that is gone by now. One
        that cannot be read is blocked."""
        try:
            facts = known or await self._describer.read(between, ref, ctx, row)
            if not selects(between.request.source, facts.runtime, self._moves, config_labels(facts)):
                return None
            planned = await self._describer.describe(between, facts, ctx)
            return facts.runtime, await self._protected(between, facts.runtime, planned, ctx)
        except (errors.NotFound, errors.RuntimeReplaced):
            if row is None:
                raise
            return None
        except errors.StoreUnavailable:
            raise
        except errors.GatewayError as error:
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
