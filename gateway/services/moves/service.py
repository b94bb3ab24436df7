"""Moves for callers: plans, lists, single moves and their items (docs/moves.md)."""

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import msgspec

from gateway.domain.errors import FieldError, InvalidRequest, NotFound, ValidationFailed
from gateway.domain.moves import Blocker, CreateMove, ItemState, Move, MoveItems, MoveList, MoveState
from gateway.domain.values import Feature, Kind, State
from gateway.ports.context import RequestContext
from gateway.ports.moves import MoveStore, StoredItem, StoredMove, new_move_id
from gateway.ports.sealing import Sealer, Unreadable
from gateway.services.fleet import Fleet, Provider
from gateway.services.intents.records import rfc3339
from gateway.services.moves.documents import shown
from gateway.services.moves.planned import (
    MoveDetails,
    PlannedItem,
    details_of,
    item_view,
    request_of,
    sealed_request,
    unsealed,
)

_FIXED: Final = ("kind", "name", "provider", "scope", "start", "if_exists")
"""Members of a create that an override cannot change."""
_UNREADABLE: Final = "No key of the settings opens what was planned; plan the move again."


class MoveService:
    """Plans and shows moves. All methods raise :class:`StoreUnavailable`."""

    def __init__(self, fleet: Fleet, store: MoveStore, sealer: Sealer) -> None:
        self._fleet = fleet
        self._store = store
        self._sealer = sealer
        self.on_work: Callable[[], None] = lambda: None
        """Called when there is something to do with a move."""

    async def plan(self, request: CreateMove, ctx: RequestContext, *, apply: bool = False) -> Move:
        """Store a move that is planned in the background, and then applied if ``apply`` is set. Raises as
        :meth:`require_possible`."""
        self.require_possible(request)
        move_id = new_move_id(self._fleet.clock.now())
        stored = await self._store.add_move(
            StoredMove(
                id=move_id,
                state=MoveState.PLANNING,
                principal=ctx.principal.name,
                source=request.source.provider,
                source_scope=request.source.scope or None,
                target=request.target.provider,
                request=sealed_request(request, move_id, self._sealer),
                details=msgspec.json.encode(MoveDetails(apply=apply)).decode(),
            )
        )
        self.on_work()
        return await self.view(stored)

    def require_possible(self, request: CreateMove) -> None:
        """Raise :class:`ValidationFailed` with the faults of a plan that are known before anything is read."""
        faults = list(self._faults(request))
        if faults:
            raise ValidationFailed(f"{faults[0].pointer}: {faults[0].detail}", errors=faults)

    async def list(self, limit: int, cursor: str | None) -> MoveList:
        """A page of moves, newest first."""
        found = await self._store.list_moves(limit + 1, cursor)
        items = [await self.view(move) for move in found[:limit]]
        return MoveList(items=items, next_cursor=items[-1].id if len(found) > limit else None)

    async def get(self, move_id: str) -> Move:
        """One move. Raises :class:`NotFound`."""
        return await self.view(await self.stored(move_id))

    async def items(self, move_id: str, states: Collection[ItemState], limit: int, cursor: str | None) -> MoveItems:
        """A page of the items of a move. Raises :class:`NotFound`, :class:`InvalidRequest` for a cursor of another
        list."""
        move = await self.stored(move_id)
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
            detail = "The cursor was not returned by this list."
            raise InvalidRequest(detail, errors=[FieldError(detail, "invalid", parameter="cursor")])
        after = -1 if cursor is None else int(cursor)
        found = await self._store.move_items(move_id, states=states, after=after, limit=limit + 1)
        return MoveItems(
            items=[item_view(item, self._planned(item), move.target) for item in found[:limit]],
            next_cursor=str(found[limit - 1].position) if len(found) > limit else None,
        )

    def _planned(self, item: StoredItem) -> PlannedItem:
        try:
            return unsealed(item, self._sealer)
        except Unreadable:
            blocked = [Blocker(code="unreadable", detail=_UNREADABLE)]
            create = {"kind": item.kind, "name": item.name}
            return PlannedItem(blocked_by=blocked, target_scope="", create=create, starts=False, state=State.UNKNOWN)

    async def stored(self, move_id: str) -> StoredMove:
        """One move, as it is stored. Raises :class:`NotFound`."""
        move = await self._store.get_move(move_id)
        if move is None:
            raise NotFound("There is no move of this id.")
        return move

    async def view(self, move: StoredMove) -> Move:
        details = details_of(move)
        counts = await self._store.count_move_items(move.id)
        return Move(
            id=move.id,
            state=move.state,
            digest=move.digest,
            counts={state.value: counts[state] for state in ItemState if counts.get(state)},
            side_effects=list(details.side_effects),
            request=self._request(move),
            principal=move.principal,
            problem=details.problem,
            created_at=rfc3339(move.created_at),
            updated_at=rfc3339(move.updated_at),
        )

    def _request(self, move: StoredMove) -> dict[str, Any]:
        try:
            return _public(request_of(move, self._sealer))
        except Unreadable:
            return {}

    def _faults(self, request: CreateMove) -> Iterator[FieldError]:
        source, target = self._fleet.get(request.source.provider), self._fleet.get(request.target.provider)
        for where, provider in (("source", source), ("target", target)):
            if provider is None:
                detail = f"This gateway has no such provider; it has: {', '.join(each.name for each in self._fleet)}."
                yield FieldError(detail, "unknown_provider", pointer=f"#/{where}/provider")
        if source is None or target is None:
            return
        yield from _scope_faults(request, source, target)
        kinds = source.adapter.kinds & target.adapter.creates
        if not kinds:
            detail = f"{target.name} creates only: {', '.join(sorted(target.adapter.creates)) or 'nothing'}."
            yield FieldError(detail, "unsupported", pointer="#/target/provider")
        after, needed = request.source_after, {"reset": Feature.RESET, "delete": Feature.DELETE}
        if after in needed and needed[after] not in source.adapter.features:
            detail = f"{source.name} ({source.adapter.api}) has no {after}."
            yield FieldError(detail, "unsupported", pointer="#/source_after")
        selectors = [("#/source", request.source)]
        selectors += [(f"#/overrides/{i}/match", each.match) for i, each in enumerate(request.overrides)]
        for where, selector in selectors:
            if selector.kind not in {"", *Kind}:
                yield FieldError(f"A kind is one of: {', '.join(Kind)}.", "not_allowed", pointer=f"{where}/kind")
            if not {*selector.state} <= {*State}:
                yield FieldError(f"A state is one of: {', '.join(State)}.", "not_allowed", pointer=f"{where}/state")
        for index, override in enumerate(request.overrides):
            for name in _FIXED:
                if name in override.patch:
                    detail = "The move decides this itself."
                    yield FieldError(detail, "not_allowed", pointer=f"#/overrides/{index}/patch/{name}")


def _scope_faults(request: CreateMove, source: Provider, target: Provider) -> Iterator[FieldError]:
    places = []
    for where, provider, given in (("source", source, request.source), ("target", target, request.target)):
        pinned, scope = provider.pinned_scope, given.scope
        if scope:
            try:
                scope = provider.adapter.parse_scope(scope)
            except ValueError as exc:
                yield FieldError(f"{provider.name}: {exc}", "invalid", pointer=f"#/{where}/scope")
                continue
            if pinned not in {None, scope}:
                yield FieldError(
                    f"{provider.name} is pinned to another scope.", "unsupported", pointer=f"#/{where}/scope"
                )
                continue
        scope = scope or pinned or ""
        named = bool(request.source.ids) if where == "source" else bool(request.mappings.scopes)
        if not scope and not named:
            yield FieldError(f"{provider.name} has no fixed scope: name one.", "required", pointer=f"#/{where}/scope")
        settings = provider.adapter.settings
        places.append((settings.api, settings.address, settings.token.get_secret_value(), scope))
    if len(places) == 2 and places[0] == places[1]:
        yield FieldError("Source and target are the same place.", "same_place", pointer="#/target")


def _public(request: CreateMove) -> dict[str, Any]:
    """The request without values that could be secrets."""
    document: dict[str, Any] = request.model_dump(mode="json", exclude_unset=True)
    for override in document.get("overrides", ()):
        override["patch"] = shown(override["patch"])
    return document
