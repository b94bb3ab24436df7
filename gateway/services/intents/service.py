"""One runtime per create, however often it is requested and whatever fails (docs/creates.md)."""

import asyncio

from gateway.ports.context import RequestContext
from gateway.services.intents.context import CreateCommand, CreateContext
from gateway.services.intents.dispatch import Dispatcher
from gateway.services.intents.records import IntentRecords
from gateway.services.intents.resume import CreateResult, Resumer


class IntentService:
    """Ensures creates. Every create runs in a task of the service, so a client that disconnects does not end it."""

    def __init__(self, context: CreateContext) -> None:
        self._context = context
        self._resumer = Resumer(context)
        self._dispatcher = Dispatcher(context, self._resumer)
        self.records = IntentRecords(context.fleet, context.store)
        self._tasks: set[asyncio.Task[CreateResult]] = set()

    @property
    def in_flight(self) -> int:
        """The number of creates in progress in this process."""
        return len(self._tasks)

    async def ensure(self, command: CreateCommand, ctx: RequestContext) -> CreateResult:
        """Create the runtime, or return the one that this key or name already has.

        Raises :class:`IdempotencyKeyReused`, :class:`IdempotencyInProgress`, :class:`AlreadyExists`,
        :class:`OutcomeUnknown` with ``intent``, ``name`` and ``idempotency_key``, :class:`StoreUnavailable`, and the
        errors of choosing a provider and of the provider itself.
        """
        task = asyncio.create_task(self._ensure(command, ctx))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if ctx.provider is None:  # no provider was called; the caller may be told so, so none may be called now
                task.cancel()
            raise

    async def drain(self) -> None:
        """Cancel the creates in progress; each writes how far it got."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[CreateResult]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have left; the intent has the outcome

    async def _ensure(self, command: CreateCommand, ctx: RequestContext) -> CreateResult:
        until = self._context.clock.monotonic() + self._context.rules.join_wait
        again = None
        if command.key is not None:
            known = await self._context.store.by_key(ctx.principal.name, command.key)
            if known is not None:
                joined = await self._resumer.resume_by_key(known, command, ctx, until)
                if isinstance(joined, CreateResult):
                    return joined
                again = joined
        return await self._dispatcher.open(command, await command.choose(), ctx, until, again)
