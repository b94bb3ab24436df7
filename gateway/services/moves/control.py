"""Applies, pauses, continues, cancels and rolls back moves for callers; the work is done in the background."""

from collections.abc import AsyncIterator, Collection
from typing import Any, Final

import msgspec

from gateway.domain.errors import FieldError, GatewayError, PreconditionFailed, StateConflict
from gateway.domain.moves import (
    ApplyMove,
    Blocker,
    Change,
    ItemState,
    Move,
    MoveItem,
    MoveItems,
    MoveState,
    RollbackMove,
)
from gateway.ports.moves import StoredItem, StoredMove
from gateway.services.moves.context import MoverContext, Run
from gateway.services.moves.mover import CANCEL, PAUSE, concurrently, items_of
from gateway.services.moves.planned import item_view, problem_of, unsealed
from gateway.services.moves.rollback import Rollback, RollbackOptions
from gateway.services.moves.service import MoveService
from gateway.services.moves.worker import with_details

_COMPARED_AT_ONCE: Final = 8
_NAMED: Final = 10
_ENDED: Final = frozenset(
    {MoveState.DONE, MoveState.PAUSED, MoveState.CANCELLED, MoveState.FAILED, MoveState.ROLLED_BACK}
)


class MoveControl:
    """Changes the states of moves. All methods raise :class:`NotFound`, :class:`StateConflict` if the move is in a
    state in which this is not possible, and :class:`StoreUnavailable`."""

    def __init__(self, context: MoverContext, service: MoveService) -> None:
        self.context = context
        self._service = service
        self._rollback = Rollback(context)

    async def apply(self, move_id: str, request: ApplyMove) -> Move:
        """Apply a plan; nothing if that has begun. Raises :class:`PreconditionFailed` if it is not the plan of this
        digest."""
        move = await self._service.stored(move_id)
        if move.digest is not None and move.digest != request.digest:
            detail = "The plan has another digest; read it again before it is applied."
            raise PreconditionFailed(detail, errors=[FieldError(detail, "does_not_match", pointer="#/digest")])
        if move.state is MoveState.APPLYING:
            return await self._service.view(move)
        return await self._change(move, "apply", {MoveState.PLANNED}, MoveState.APPLYING)

    async def pause(self, move_id: str) -> Move:
        """Begin no further runtime. The move is paused when those that have begun have moved."""
        move = await self._service.stored(move_id)
        return await self._change(move, "pause", {MoveState.APPLYING}, MoveState.APPLYING, asked=PAUSE)

    async def resume(self, move_id: str) -> Move:
        """Continue a move that is paused, or that is done except for runtimes that failed: these are tried again."""
        move = await self._service.stored(move_id)
        if move.state is MoveState.DONE and not (await self._service.view(move)).counts.get(ItemState.FAILED):
            raise StateConflict("The move is done, and no runtime failed.", extra={"state": move.state.value})
        states = {MoveState.PAUSED, MoveState.DONE}
        return await self._change(move, "resume", states, MoveState.APPLYING, asked=None, problem=None, again=True)

    async def cancel(self, move_id: str) -> Move:
        """Begin no further runtime, and give up those that have not begun."""
        move = await self._service.stored(move_id)
        if move.state is MoveState.PLANNING:
            return await self._change(move, "cancel", {MoveState.PLANNING}, MoveState.CANCELLED)
        states = {MoveState.PLANNED, MoveState.APPLYING, MoveState.PAUSED}
        return await self._change(move, "cancel", states, MoveState.APPLYING, asked=CANCEL)

    async def rollback(self, move_id: str, request: RollbackMove) -> Move | MoveItems:
        """Bring back what has moved, or only say what has changed at the target since, and what cannot be brought back
        (``dry_run``). Raises :class:`StateConflict` if something would be lost that has changed and is not given up."""
        move = await self._service.stored(move_id)
        self._require(move, "rollback", _ENDED)
        options = RollbackOptions(request.sync_back, request.discard)
        changed, refused = await self._compared(self.context.run(move, ""), options, sources=request.dry_run)
        if request.dry_run:
            return MoveItems(items=changed)
        if refused:
            named = ", ".join(refused[:_NAMED]) + (
                f" and {len(refused) - _NAMED} others" if len(refused) > _NAMED else ""
            )
            raise StateConflict(
                f"Changed at the target: {named}. Send sync_back or discard.", extra={"state": move.state.value}
            )
        stored = msgspec.to_builtins(options)
        return await self._change(move, "rollback", _ENDED, MoveState.ROLLING_BACK, rollback=stored, problem=None)

    async def _compared(self, run: Run, options: RollbackOptions, *, sources: bool) -> tuple[list[MoveItem], list[str]]:
        """What has changed at the target, and the ids of what would be lost. With ``sources`` also those that cannot be
        brought back, because their sources have ended."""
        changed: dict[int, MoveItem] = {}
        refused: list[str] = []

        async def work(stored: StoredItem) -> None:
            view = item_view(stored, unsealed(stored, self.context.sealer), run.move.target)
            changes: list[Change] = []
            problem: Blocker | None = None
            try:
                found = await self._rollback.compare(run, stored)
                changes = found.changes
                if options.refuses(found):
                    refused.append(stored.runtime_id)
                if sources:
                    await self._rollback.require_source(stored)
            except GatewayError as error:
                problem = problem_of(error)
            if changes or problem is not None:
                changed[stored.position] = msgspec.structs.replace(view, changes=changes, problem=problem)

        items: AsyncIterator[StoredItem] = items_of(self.context, run, (ItemState.MOVED,))
        await concurrently(_COMPARED_AT_ONCE, items, work)
        return [changed[position] for position in sorted(changed)], refused

    async def _change(
        self, move: StoredMove, verb: str, states: Collection[MoveState], state: MoveState, **details: Any
    ) -> Move:
        self._require(move, verb, states)
        changed = await self.context.store.change_move(
            move.id, {move.state}, state=state, details=with_details(move, **details)
        )
        if changed is None:
            raise StateConflict("The move has just changed; read it again.")
        self._service.on_work()
        return await self._service.view(changed)

    def _require(self, move: StoredMove, verb: str, states: Collection[MoveState]) -> None:
        if move.state not in states:
            works_from = ", ".join(state.value for state in MoveState if state in states)
            raise StateConflict(
                f"The move is {move.state.value}; {verb} works from: {works_from}.", extra={"state": move.state.value}
            )
