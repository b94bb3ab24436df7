"""Ends instances that have reached their maximum lifetime (docs/access.md#maximum-lifetime), on one replica for all.

The provider is asked first: an instance that is over, or that was replaced, is not touched. The instance of a start is
learned by a read soon after it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from gateway.domain.errors import GatewayError, NotFound, RuntimeReplaced, StoreUnavailable
from gateway.domain.ids import RuntimeRef
from gateway.domain.runtime import Runtime
from gateway.domain.values import Feature, Operation
from gateway.ports.context import RequestContext
from gateway.ports.places import EndStore, PlannedEnd
from gateway.services.access.lifetimes import can_stop, lives
from gateway.services.fleet import Fleet, Provider
from gateway.telemetry.signals import LifetimeSignals

ROLE: Final = "lifetimes"
"""The name of the role that one replica has."""

ENDER: Final = "lifetime-end"
"""The request id of the calls, at providers and in logs."""

EVERY: Final = 5.0
"""Seconds between two rounds."""

LEASE: Final = 10.0
"""Seconds after which another replica takes the role of one that has died."""

POSTPONE: Final = 20.0
"""Seconds after which a runtime that could not be read or ended is tried again."""

_AT_ONCE: Final = 100
_PER_PROVIDER: Final = 20  # so that one that hangs does not delay the ends at others
_START_AGAIN: Final = 300.0  # seconds; a start takes at most four minutes


@dataclass(eq=False, repr=False)
class LifetimeEnder:
    """Ends instances when they are due. ``lead`` takes or renews a role for a number of seconds, and returns whether
    this process has it."""

    _fleet: Fleet
    _store: EndStore
    _lead: Callable[[str, float], Awaitable[bool]]
    _observer: LifetimeSignals
    _tasks: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict, init=False)

    async def run(self) -> None:
        """Work until cancelled. While the store is unavailable nothing is ended."""
        try:
            while True:
                await self._reported(self.round())
                await self._fleet.clock.sleep(EVERY)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await self.settled()

    async def round(self) -> None:
        """Read the planned ends, and begin to act on those that are to be looked at if this replica has the role."""
        ends = await self._fleet.lifetimes.refresh()
        self._observer.overdue(max((-end.due_in for end in ends if end.due_in < 0), default=0.0))
        if not any(end.look_in <= 0 for end in ends) or not await self._lead(ROLE, LEASE):
            return
        for end in await self._store.take_ends(_AT_ONCE, POSTPONE):
            key = (end.provider, end.runtime_id)
            if key not in self._tasks and sum(name == end.provider for name, _ in self._tasks) < _PER_PROVIDER:
                self._tasks[key] = task = asyncio.create_task(self._reported(self._look_at(end)))
                task.add_done_callback(partial(self._ended, key))

    def _ended(self, key: tuple[str, str], _task: asyncio.Task[None]) -> None:
        del self._tasks[key]

    async def settled(self) -> None:
        """Wait until everything that was begun has ended."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _reported(self, work: Awaitable[None]) -> None:
        try:
            await work
        except StoreUnavailable:
            pass  # the store's own monitor reports it
        except Exception as error:  # noqa: BLE001 (reported; the loop must not end)
            self._observer.failed(error)

    async def _look_at(self, end: PlannedEnd) -> None:
        provider = self._fleet.get(end.provider)
        if provider is None:
            self._trouble(end, "provider_not_configured")
            return
        with RequestContext(request_id=ENDER) as ctx:
            try:
                async with self._fleet.call_scope(provider, Operation.GET, ctx) as call:
                    runtime = await provider.adapter.get(RuntimeRef(end.scope, end.runtime_id, end.name), call)
            except (NotFound, RuntimeReplaced):
                await self._store.drop_end(end)
                return
            except GatewayError as error:
                self._trouble(end, error.code)
                return
            await self._act(provider, end, runtime, ctx)

    async def _act(self, provider: Provider, end: PlannedEnd, runtime: Runtime, ctx: RequestContext) -> None:
        adapter, due = provider.adapter, end.due_in <= 0
        instance = adapter.instance_of(runtime)
        if not lives(adapter, runtime):
            if due or end.instance is not None:
                await self._store.drop_end(end)
            else:  # the start may still be in progress
                await self._store.keep_end(end, instance=None, look_in=min(_START_AGAIN, end.due_in))
        elif None not in {end.instance, instance} and instance != end.instance:
            await self._store.drop_end(end)
        elif not due:
            await self._store.keep_end(end, instance=instance, look_in=None)
        else:
            await self._end(provider, end, runtime, ctx)

    async def _end(self, provider: Provider, end: PlannedEnd, runtime: Runtime, ctx: RequestContext) -> None:
        """End the instance with the verb that ends its costs and destroys least: stop, else pause, else reset."""
        adapter: Any = provider.adapter
        instance = runtime.durable.instance if runtime.durable else None
        can_pause = instance is None or instance.supports_pause is not False
        if can_stop(adapter):
            operation, act = Operation.STOP, adapter.stop
        elif Feature.PAUSE in adapter.features and can_pause:
            operation, act = Operation.PAUSE, adapter.pause
        else:
            operation, act = Operation.RESET, adapter.reset
        ref = adapter.reference(runtime)
        try:
            async with self._fleet.call_scope(provider, operation, ctx, runtime=ref) as call:
                await act(ref, call)
        except GatewayError as error:
            self._trouble(end, error.code)
            return
        self._observer.ended(end, self._fleet.first_id(adapter, ref), operation)
        await self._store.drop_end(end)

    def _trouble(self, end: PlannedEnd, reason: str) -> None:
        if end.due_in <= 0:
            self._observer.not_ended(end, reason)
