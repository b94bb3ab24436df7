"""Brings the runtimes of a move back to their sources, which take their ids again, and compares what has changed at the
target since the switch (docs/moves.md)."""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.domain.config import RuntimeConfig
from gateway.domain.differences import config_of
from gateway.domain.errors import NotFound, RuntimeReplaced, StateConflict, StoreUnavailable
from gateway.domain.ids import RuntimeRef
from gateway.domain.lifecycle import is_live
from gateway.domain.moves import Change, ItemState, MoveState
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import CapabilityBinding, ConfigDocument, Runtime
from gateway.domain.values import Feature, State
from gateway.ports.context import RequestContext
from gateway.ports.moves import StoredItem, StoredMove
from gateway.services.fleet import Provider
from gateway.services.moves.context import MoverContext, Run, context_of, guarded, relocation_of, target_of
from gateway.services.moves.creating import create_of
from gateway.services.moves.documents import changes, merged
from gateway.services.moves.holding import Hold, holding, keys_of
from gateway.services.moves.items import ItemMover
from gateway.services.moves.mover import EVERY, announced, concurrently, finish, items_of
from gateway.services.moves.planned import (
    LostLease,
    MovingItem,
    PlannedBinding,
    PlannedItem,
    Progress,
    Step,
    problem_of,
    unsealed,
)
from gateway.services.moves.runtimes import MovedRuntimes, Place, differing_bindings


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """A runtime at the target, and what of it has changed since the switch. ``patch`` is what has changed in its
    config, as a JSON Merge Patch."""

    runtime: Runtime
    bindings: Sequence[PlannedBinding]
    patch: Mapping[str, Any]
    config: Sequence[Change]
    capabilities: Sequence[Change]
    state: Sequence[Change]

    @property
    def changes(self) -> list[Change]:
        return [*self.config, *self.capabilities, *self.state]


async def diverged(
    runtimes: MovedRuntimes,
    at: Place,
    planned: PlannedItem,
    request: CreateRequest,
    progress: Progress,
    ctx: RequestContext,
) -> Divergence:
    """Compare a runtime with what it was at the switch. Raises as any read does."""
    runtime = await runtimes.read(at, ctx)
    patch, config = _config(config_of(request), await runtimes.config(at, ctx), progress)
    known = await runtimes.bindings(at, ctx)
    state = []
    if progress.state not in {None, runtime.state.value}:
        state.append(Change(pointer="#/state", from_=progress.state, to=runtime.state.value))
    return Divergence(
        runtime=runtime,
        bindings=[PlannedBinding(one.name, one.version, one.enabled, one.flags) for one in known],
        patch=patch,
        config=config,
        capabilities=_capabilities(planned.bindings, known) if planned.knows_bindings else [],
        state=state,
    )


def _config(
    made: RuntimeConfig | None, known: ConfigDocument | None, progress: Progress
) -> tuple[Mapping[str, Any], list[Change]]:
    if known is None or known.config_digest == progress.config_digest:
        return {}, []
    before = {} if made is None else made.model_dump(exclude_none=True)
    after = RuntimeConfig.model_validate(known.config).model_dump(exclude_none=True)
    found = changes({"config": before}, {"config": after})
    digests = Change(pointer="#/config", from_=progress.config_digest, to=known.config_digest)
    return patch_of(before, after), found or [digests]


def _capabilities(wanted: Sequence[PlannedBinding], known: Sequence[CapabilityBinding]) -> list[Change]:
    before = {one.name: one.version for one in wanted}
    after = {one.name: one.version for one in known}
    names = {where: where.rpartition("/")[2] for where in differing_bindings(wanted, known)}
    return [Change(pointer=where, from_=before.get(name), to=after.get(name)) for where, name in names.items()]


def patch_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Merge Patch (RFC 7396) that makes one document of another."""
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            if inner := patch_of(old, value):
                patch[name] = inner
        elif old != value or name not in before:
            patch[name] = value
    return patch


_RUNS = frozenset({State.STARTING, State.RUNNING})


class RollbackOptions(msgspec.Struct, frozen=True):
    """What becomes of what has changed at the target: ``sync_back`` is copied to the source, and with ``discard`` the
    rest is given up. It is stored in the details of the move."""

    sync_back: Collection[str] = ()
    discard: bool = False

    def refuses(self, found: Divergence) -> bool:
        """Whether something has changed that would be lost without being given up. The state is carried over."""
        return not self.discard and bool(
            (found.config and "config" not in self.sync_back)
            or (found.capabilities and "capabilities" not in self.sync_back)
        )


class Rollback:
    """Rolls moves back: the last runtime first."""

    def __init__(self, context: MoverContext) -> None:
        self._context = context
        self._items = ItemMover(context)

    async def roll_back(self, move: StoredMove, holder: str) -> None:
        """Roll back a move that is announced, as long as the holder has its lease."""
        run = self._context.run(move, holder)
        options = msgspec.convert(msgspec.json.decode(move.details).get("rollback", {}), RollbackOptions)
        await announced(self._context, move)
        async for item in items_of(self._context, run, (ItemState.MOVING, ItemState.PLANNED)):
            await self._items.skip(run, item)
        left: set[int] = set()
        async for item in items_of(self._context, run, (ItemState.MOVED, ItemState.ROLLED_BACK)):
            if item.state is ItemState.MOVED or item.step == Step.SWITCHED:
                left.add(item.position)

        async def items() -> AsyncIterator[StoredItem]:
            for position in sorted(left, reverse=True):
                for item in await self._context.store.move_items(move.id, after=position - 1, limit=1):
                    yield item

        async def work(item: StoredItem) -> None:
            if await self._bring_back(run, item, options):
                left.discard(item.position)

        while True:
            await concurrently(run.request.concurrency, items(), work)
            if not left:
                return await finish(self._context, run, MoveState.ROLLED_BACK)
            await self._context.clock.sleep(EVERY)

    async def compare(self, run: Run, stored: StoredItem) -> Divergence:
        """What has changed at the target since the switch. Raises as any read does."""
        planned = unsealed(stored, self._context.sealer)
        at = target_of(stored, self._context.configured(run.request.target.provider), planned)
        progress = MovingItem(self._context.store, run.holder, stored).progress
        with context_of(stored) as ctx:
            return await diverged(self._context.runtimes, at, planned, create_of(planned, stored), progress, ctx)

    async def require_source(self, stored: StoredItem) -> None:
        """Raise as a rollback does for a source that does not exist any longer, or has ended for good."""
        planned = unsealed(stored, self._context.sealer)
        with context_of(stored) as ctx:
            await self._source(_source_of(stored, self._context.configured(stored.provider), planned), ctx)

    async def _bring_back(self, run: Run, stored: StoredItem, options: RollbackOptions) -> bool:
        """Bring a runtime back as far as that is possible now. Whether nothing is left to do for it."""
        item = MovingItem(self._context.store, run.holder, stored)
        with context_of(stored) as ctx, contextlib.suppress(LostLease, StoreUnavailable):
            await item.put({"waits_for": None})
            await guarded(self._context, item, self._return(run, item, options, ctx), ItemState.MOVED)
            if item.progress.waits_for is None:
                return item.stored.step != Step.SWITCHED or item.stored.state is not ItemState.ROLLED_BACK
        return False

    async def _return(self, run: Run, item: MovingItem, options: RollbackOptions, ctx: RequestContext) -> None:
        context, stored = self._context, item.stored
        planned = unsealed(stored, context.sealer)
        here = target_of(stored, context.configured(run.request.target.provider), planned)
        if stored.state is ItemState.MOVED:
            there = _source_of(stored, context.configured(stored.provider), planned)
            both = (here, there)
            rows = [(at.provider.name, keys_of(at.ref.provider_id, here.name)) for at in both]
            places = [(at.provider.name, at.ref.provider_id) for at in both]
            with context.occupied.alone(*places):
                async with holding(context.store, context.clock, run.holder, rows) as hold:
                    if not await self._switch_back(run, item, planned, here, there, options, hold, ctx):
                        return
        await context.runtimes.end(here, "stop", ctx)
        await item.put({}, step=Step.DONE)

    async def _switch_back(
        self,
        run: Run,
        item: MovingItem,
        planned: PlannedItem,
        here: Place,
        there: Place,
        options: RollbackOptions,
        hold: Hold,
        ctx: RequestContext,
    ) -> bool:
        """Lead clients to the source again. False: it does not exist any longer."""
        context = self._context
        await context.occupied.refuse_gone(here.provider.name, here.ref.provider_id)
        try:
            await self._source(there, ctx)
        except NotFound as gone:
            await item.put({"problem": problem_of(gone)}, state=ItemState.FAILED)
            context.report(item)
            return False
        request = create_of(planned, item.stored)
        found = await diverged(context.runtimes, here, planned, request, item.progress, ctx)
        if options.refuses(found):
            pointers = ", ".join(change.pointer for change in (*found.config, *found.capabilities))
            raise StateConflict(f"The runtime has changed at the target: {pointers}.")
        hold.require()
        if found.config and "config" in options.sync_back:
            known = await context.runtimes.config(there, ctx)
            config = RuntimeConfig.model_validate(merged({} if known is None else known.config, found.patch))
            await context.runtimes.replace_config(there, config, ctx)
        if found.capabilities and "capabilities" in options.sync_back:
            await context.runtimes.set_bindings(there, _renamed(found.bindings, run), ctx)
        source = await self._source(there, ctx)
        if found.runtime.state in _RUNS:
            source = await context.runtimes.start(there, ctx)
        hold.require()
        relocation = relocation_of(item.stored, found.runtime, here, source, there)
        await context.switch(item, relocation, run.holder, {}, state=ItemState.ROLLED_BACK, step=Step.SWITCHED)
        return True

    async def _source(self, there: Place, ctx: RequestContext) -> Runtime:
        """The source. Raises :class:`NotFound` if it does not exist any longer, and :class:`StateConflict` if it has
        ended for good."""
        try:
            source = await self._context.runtimes.read(there, ctx)
        except (NotFound, RuntimeReplaced) as gone:
            raise NotFound("The source does not exist any longer.", provider=there.provider.name) from gone
        if not is_live(source.state) and Feature.START not in there.provider.adapter.features:
            raise StateConflict("The source has ended and cannot be started again.", provider=there.provider.name)
        return source


def _source_of(stored: StoredItem, provider: Provider, planned: PlannedItem) -> Place:
    name = planned.create.get("name")
    return Place(provider, RuntimeRef(stored.scope, stored.provider_id, name), name, planned.owner)


def _renamed(bindings: Sequence[PlannedBinding], run: Run) -> list[PlannedBinding]:
    """Capabilities under the names that they have at the source."""
    names = {theirs: ours for ours, theirs in run.request.mappings.capabilities.items()}
    return [msgspec.structs.replace(one, name=names.get(one.name, one.name)) for one in bindings]
