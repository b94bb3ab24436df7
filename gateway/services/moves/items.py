"""Moves one runtime: holds it, creates it at the target, switches, and ends the source (docs/moves.md)."""

import contextlib
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final

import msgspec

from gateway.domain.errors import GatewayError, ProviderNotConfigured, StoreUnavailable
from gateway.domain.ids import RuntimeRef
from gateway.domain.moves import Blocker, ItemState
from gateway.ports.context import RequestContext
from gateway.ports.moves import StoredItem
from gateway.services.moves.context import MoverContext, Run, context_of, guarded, relocation_of, target_of
from gateway.services.moves.creating import TargetCreator, create_of
from gateway.services.moves.holding import Hold, holding, keys_of, new_work
from gateway.services.moves.planned import LostLease, MovingItem, Step, Waits, problem_of, sealed, unsealed
from gateway.services.moves.runtimes import Place, waits_until_idle

_ENDS_TRIED: Final = 3
_END_AGAIN: Final = 2.0
_DRAINED_FOR: Final = 30.0
"""Seconds for which at least nothing begins on a runtime that is drained, after it was looked at."""


class ItemMover:
    """Moves runtimes to their target, each step once."""

    def __init__(self, context: MoverContext) -> None:
        self._context = context
        self._creator = TargetCreator(context)

    async def move(self, run: Run, stored: StoredItem) -> ItemState:
        """Move a runtime as far as that is possible now. Returns the state that it has then."""
        item = MovingItem(self._context.store, run.holder, stored)
        with context_of(stored) as ctx, contextlib.suppress(LostLease, StoreUnavailable):
            await guarded(self._context, item, self._alone(run, item, ctx), ItemState.FAILED)
            if item.stored.state is ItemState.FAILED:
                await self._leave(run, item, ctx)
            if item.stored.state not in {ItemState.PLANNED, ItemState.MOVING}:
                await self._end_drain(run, stored)
        return item.stored.state

    async def skip(self, run: Run, stored: StoredItem) -> None:
        """Give up a runtime that has not been switched, because the move was cancelled."""
        item = MovingItem(self._context.store, run.holder, stored)
        with context_of(stored) as ctx:
            await item.put({"waits_for": None}, state=ItemState.SKIPPED)
            await self._leave(run, item, ctx)
            await self._end_drain(run, stored)

    async def again(self, run: Run, stored: StoredItem) -> None:
        """Try a runtime that failed again. A create that was refused is not the same request then."""
        item = MovingItem(self._context.store, run.holder, stored)
        known = stored.target_id is not None
        creates = item.progress.creates + (stored.step == Step.CREATING)
        await item.put(
            {"problem": None, "tries": 0, "creates": creates},
            state=ItemState.MOVING if known else ItemState.PLANNED,
            step=stored.step if known else "",
        )

    async def _alone(self, run: Run, item: MovingItem, ctx: RequestContext) -> None:
        with self._context.occupied.alone((item.stored.provider, item.stored.provider_id)):
            await self._move(run, item, ctx)

    async def _move(self, run: Run, item: MovingItem, ctx: RequestContext) -> None:
        context, stored = self._context, item.stored
        source = context.configured(stored.provider)
        name = unsealed(stored, context.sealer).create.get("name")
        at = Place(source, RuntimeRef(stored.scope, stored.provider_id, name), name)
        if stored.state is not ItemState.MOVED:
            if run.request.when != "now" and stored.step == "":
                await self._refuse_running(run, at, ctx)
            slot: AbstractAsyncContextManager[Any] = nullcontext()
            if run.doubles is not None and run.request.when == "now":
                slot = run.doubles
            rows = [
                (source.name, keys_of(stored.provider_id, name)),
                (run.request.target.provider, keys_of(None, name)),
            ]
            async with slot:
                async with holding(context.store, context.clock, run.holder, rows) as hold:
                    await self._switch(run, item, at, hold, ctx)
                await self._end_source(run, item, at, ctx)
        else:
            await self._end_source(run, item, at, ctx)

    async def _refuse_running(self, run: Run, at: Place, ctx: RequestContext) -> None:
        """Raise :class:`Waits` while a runtime has compute. If it cannot be read, the description decides. A drain lets
        nothing begin on it until it is looked at again."""
        if run.request.when == "drain":
            seconds, row = max(_DRAINED_FOR, 3 * run.took), new_work(at.ref.provider_id)
            if await self._context.store.hold_runtime(at.provider.name, [row], run.holder, seconds) is None:
                raise Waits("another mover that drains the runtime")
        with contextlib.suppress(GatewayError):
            runtime = await self._context.runtimes.read(at, ctx)
            if waits_until_idle(run.request.when, runtime.state):
                raise Waits(f"idle: the runtime is {runtime.state.value}")

    async def _end_drain(self, run: Run, stored: StoredItem) -> None:
        """What has been refused may begin."""
        if run.request.when == "drain":
            with contextlib.suppress(StoreUnavailable):  # it may when the hold ends
                await self._context.store.release_runtime(stored.provider, [new_work(stored.provider_id)], run.holder)

    async def _switch(self, run: Run, item: MovingItem, at: Place, hold: Hold, ctx: RequestContext) -> None:
        context = self._context
        await context.occupied.refuse_gone(at.provider.name, at.ref.provider_id)
        between = context.describer.between(run.request)
        if between is None:
            raise ProviderNotConfigured("This gateway does not have both providers of the move now.")
        facts = await context.describer.read(between, at.ref, ctx)
        if not facts.live and unsealed(item.stored, context.sealer).live:
            raise Waits(f"the source: {at.provider.name} cannot be asked")
        planned = await context.describer.describe(between, facts, ctx)
        if facts.live and waits_until_idle(run.request.when, planned.state):
            raise Waits(f"idle: the runtime is {planned.state.value}")
        if planned.blocked_by and item.stored.step == "":
            await item.put({"waits_for": None, "problem": planned.blocked_by[0]}, state=ItemState.BLOCKED)
            context.report(item)
            return
        place = await self._creator.created(run, item, between.target, planned, hold, ctx)
        target, digest = await self._creator.brought_up(
            item, place, planned, create_of(planned, item.stored), hold, ctx
        )
        hold.require()
        await context.switch(
            item,
            relocation_of(item.stored, facts.runtime, at, target, place),
            run.holder,
            {"config_digest": digest, "state": target.state.value},
            state=ItemState.MOVED,
            step=Step.SWITCHED,
            plan=sealed(planned, item.stored.move_id, item.stored.position, context.sealer),
        )

    async def _end_source(self, run: Run, item: MovingItem, at: Place, ctx: RequestContext) -> None:
        """End the source as the plan says. If that fails, the runtime has moved all the same, with a problem."""
        if item.stored.step != Step.SWITCHED:
            return
        problem = None
        for last in (False,) * (_ENDS_TRIED - 1) + (True,):
            try:
                if run.request.source_after != "keep":
                    await self._context.runtimes.end(at, run.request.source_after, ctx)
                problem = None
                break
            except GatewayError as error:
                problem = problem_of(error)
                if not last:
                    await self._context.clock.sleep(_END_AGAIN)
        await item.put({"problem": problem}, step=Step.DONE)
        if problem is not None:
            self._context.report(item)

    async def _leave(self, run: Run, item: MovingItem, ctx: RequestContext) -> None:
        """Leave what the move has made at the target, without compute, and say so."""
        if item.stored.target_id is None or not item.progress.made:
            return
        provider = self._context.configured(run.request.target.provider)
        planned, left = unsealed(item.stored, self._context.sealer), "without compute"
        try:
            await self._context.runtimes.end(target_of(item.stored, provider, planned), "stop", ctx)
        except GatewayError as error:
            left = f"and may be running ({error.code})"
        problem = item.progress.problem or Blocker(code="cancelled", detail="The move was cancelled.")
        detail = f"{problem.detail} The runtime {item.stored.target_runtime_id} was left at the target, {left}."
        await item.put({"problem": msgspec.structs.replace(problem, detail=detail)})
