"""One runtime per create: whoever asks, however often, whatever fails (the create promise)."""

import asyncio

from gateway.ports.context import RequestContext
from gateway.services.intents.context import CreateCommand, CreateContext
from gateway.services.intents.dispatch import Dispatcher
from gateway.services.intents.resume import CreateResult, Resumer


class IntentService:
    """Ensures creates. Every create runs in a task of the service: no client that leaves ends it."""

    def __init__(self, context: CreateContext) -> None:
        self._context = context
        self._joining = Resumer(context)
        self._opening = Dispatcher(context, self._joining)
        self._tasks: set[asyncio.Task[CreateResult]] = set()

    @property
    def in_flight(self) -> int:
        """How many creates are under way in this process."""
        return len(self._tasks)

    async def ensure(self, command: CreateCommand, ctx: RequestContext) -> CreateResult:
        """Make the runtime, or answer with the one that this key or name has already.

        Raises :class:`IdempotencyKeyReused`, :class:`IdempotencyInProgress`, :class:`AlreadyExists`,
        :class:`OutcomeUnknown` with ``intent``, ``name`` and ``idempotency_key``, :class:`StoreUnavailable`, and what
        the choice of a provider and the provider itself have to say.
        """
        task = asyncio.create_task(self._ensure(command, ctx))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if ctx.provider is None:  # nobody was asked, which the caller may be told: then nobody is asked any more
                task.cancel()
            raise

    async def drain(self) -> None:
        """Cut off the creates that are still under way; each writes down how far it came."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[CreateResult]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a caller who has left does not hear it; it is in the intent

    async def _ensure(self, command: CreateCommand, ctx: RequestContext) -> CreateResult:
        until = self._context.clock.monotonic() + self._context.rules.join_wait
        again = None
        if command.key is not None:
            known = await self._context.store.by_key(ctx.principal, command.key)
            if known is not None:
                joined = await self._joining.resume_by_key(known, command, ctx, until)
                if isinstance(joined, CreateResult):
                    return joined
                again = joined
        return await self._opening.open(command, await command.choose(), ctx, until, again)
