"""Applies a move: all its runtimes, several at a time, until each has moved or cannot be (docs/moves.md)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final

import msgspec

from gateway.domain.moves import ItemState, MoveState
from gateway.ports.moves import StoredItem, StoredMove
from gateway.services.moves.context import MoverContext, Run
from gateway.services.moves.items import ItemMover
from gateway.services.moves.map import ANNOUNCED_FOR
from gateway.services.moves.planned import Step
from gateway.services.moves.worker import with_details

EVERY: Final = 5.0
"""Seconds until a runtime that waits, or failed for now, is looked at again."""

PAUSE: Final = "pause"
CANCEL: Final = "cancel"
"""What ``asked`` in the details of a move that is applied can be: the runtimes that have begun are moved before."""

_PAGE: Final = 100
_LEFT: Final = (ItemState.MOVING, ItemState.PLANNED)


class Mover:
    """Applies moves. What was asked while it works is in the details of the move."""

    def __init__(self, context: MoverContext) -> None:
        self._context = context
        self._items = ItemMover(context)

    async def apply(self, move: StoredMove, holder: str) -> None:
        """Apply a move that is announced, as long as the holder has its lease."""
        store, clock = self._context.store, self._context.clock
        run = self._context.run(move, holder)
        if await self._asked(run) != CANCEL:
            await announced(self._context, move)
        if msgspec.json.decode(move.details).get("again"):
            async for item in items_of(self._context, run, (ItemState.FAILED,)):
                await self._items.again(run, item)
        run.failed = (await store.count_move_items(move.id)).get(ItemState.FAILED, 0)
        states: Collection[ItemState] = (*_LEFT, ItemState.MOVED)  # of these some have sources that are to be ended
        while True:
            began = clock.monotonic()
            asked = await self._pass(run, states)
            run.took = clock.monotonic() - began
            if asked == CANCEL:
                await self._skip_all(run)
                return await finish(self._context, run, MoveState.CANCELLED)
            if asked == PAUSE:
                return await finish(self._context, run, MoveState.PAUSED)
            counts = await store.count_move_items(move.id)
            if not any(counts.get(state) for state in _LEFT):
                return await finish(self._context, run, MoveState.DONE)
            states = _LEFT
            await clock.sleep(max(EVERY + began - clock.monotonic(), EVERY / 5))

    async def _pass(self, run: Run, states: Collection[ItemState]) -> str | None:
        """Work once on every item in these states. Returns what was asked meanwhile, when what had begun has ended."""
        asked: str | None = None

        async def items() -> AsyncIterator[StoredItem]:
            nonlocal asked
            async for item in items_of(self._context, run, states):
                if item.state is ItemState.MOVED and item.step != Step.SWITCHED:
                    continue
                if (asked := await self._asked(run)) is not None:
                    return
                yield item

        async def work(item: StoredItem) -> None:
            if await self._items.move(run, item) is ItemState.FAILED:
                run.failed += 1

        await concurrently(run.request.concurrency, items(), work)
        return asked

    async def _asked(self, run: Run) -> str | None:
        stored = await self._context.store.get_move(run.move.id)
        asked: str | None = None if stored is None else msgspec.json.decode(stored.details).get("asked")
        limit = run.request.stop_on_errors
        return PAUSE if asked is None and limit is not None and run.failed >= limit else asked

    async def _skip_all(self, run: Run) -> None:
        while page := await self._context.store.move_items(run.move.id, states=_LEFT, limit=_PAGE):
            for item in page:
                await self._items.skip(run, item)


async def items_of(context: MoverContext, run: Run, states: Collection[ItemState]) -> AsyncIterator[StoredItem]:
    """All items in these states, in the order of the plan."""
    after = -1
    while page := await context.store.move_items(run.move.id, states=states, after=after, limit=_PAGE):
        after = page[-1].position
        for item in page:
            yield item


async def concurrently(
    most: int, items: AsyncIterator[StoredItem], work: Callable[[StoredItem], Awaitable[None]]
) -> None:
    """Work on items, several at a time. The next one is taken when there is a slot for it. Raises what ``work`` and
    ``items`` raise first, after everything that has begun was cancelled."""
    slots = asyncio.Semaphore(most)
    tasks: set[asyncio.Task[None]] = set()

    async def one(item: StoredItem) -> None:
        try:
            await work(item)
        finally:
            slots.release()

    try:
        while True:
            await slots.acquire()
            try:
                item = await anext(items)
            except StopAsyncIteration:
                break
            for ended in [task for task in tasks if task.done()]:
                tasks.discard(ended)
                ended.result()
            tasks.add(asyncio.create_task(one(item)))
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def announced(context: MoverContext, move: StoredMove) -> None:
    """Wait until every replica knows of a move. Raises :class:`StoreUnavailable`."""
    since = await context.store.now() - (move.announced_at or 0.0)
    if since < ANNOUNCED_FOR:
        await context.clock.sleep(ANNOUNCED_FOR - since)


async def finish(context: MoverContext, run: Run, after: MoveState) -> None:
    """The work on a move has ended; whatever was asked is done."""
    stored = await context.store.get_move(run.move.id)
    if stored is None:
        return
    details = with_details(stored, asked=None, again=None, rollback=None)
    changed = await context.store.change_move(
        run.move.id, {run.move.state}, state=after, details=details, holder=run.holder
    )
    if changed is not None and context.signals is not None:
        context.signals.changed(changed)
