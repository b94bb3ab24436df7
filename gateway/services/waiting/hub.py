"""Runtimes that callers wait for: one poll per runtime at its provider, however many wait.

What is shared is the state that the provider reports. Whether a caller may see it, and how, is found out for each
caller (:class:`gateway.services.waiting.following.Following`).
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gateway.domain.errors import GatewayError, InternalError, NotFound, ProviderNotConfigured, RuntimeReplaced
from gateway.domain.ids import RuntimeRef
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation, State
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet, ResolvedRuntime
from gateway.services.waiting.places import Pausing, Waiter

FAST: Final = 1.0
"""Seconds from one poll to the next, at least. They are as many after a change, and while the state changes."""
SLOW: Final = 5.0
"""The same for a runtime whose state does not change."""
LONGEST_BACKOFF: Final = 30.0
"""The same while the provider fails, unless it asks for a longer pause."""
LONGEST_RETRY_AFTER: Final = 300.0

WATCHER: Final = "watcher"
"""The request id of the polls."""

_CHANGING: Final = frozenset({State.STARTING, State.STOPPING})
_GONE: Final = (NotFound, RuntimeReplaced)
"""What the provider reports of a runtime that is gone. It is polled as one that exists, because a caller that may not
see a runtime must not find out from the time of the answer whether it exists."""

_Key = tuple[str, RuntimeRef]


def _state(outcome: Runtime | GatewayError) -> State | None:
    """None: it is gone."""
    return outcome.state if isinstance(outcome, Runtime) else None


class Watched(Pausing):
    """A runtime that somebody waits for. ``begun`` is the number of polls; ``outcome`` is what the last one that has
    ended returned, ``number`` its number, ``place`` where it asked. ``failing_since`` is when the failures that have
    lasted until now began."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.waiters: set[Waiter] = set()
        self.outcome: Runtime | GatewayError | None = None
        self.place: _Key | None = None
        self.begun = self.number = 0
        self.failing_since: float | None = None
        self.polling: asyncio.Task[None] | None = None
        self._began = 0.0
        self._hurried = self._reported = False
        self._every = FAST

    def hurry(self) -> None:
        """Poll again as soon as the interval allows, and wake the waiters then in any case."""
        self._hurried = True
        self.wake()

    def begin(self) -> None:
        """A poll begins. What is written from now on may be missing in its outcome."""
        self.begun += 1
        self._began = self._clock.monotonic()
        self._reported, self._hurried = self._hurried, False

    def end(self, outcome: Runtime | GatewayError, place: _Key) -> None:
        before, self.outcome, self.number, self.place = self.outcome, outcome, self.begun, place
        if isinstance(outcome, GatewayError) and not isinstance(outcome, _GONE):
            self._every = min(max(2 * self._every, 2 * FAST), LONGEST_BACKOFF)
            self._every = max(self._every, min(outcome.retry_after or 0.0, LONGEST_RETRY_AFTER))
            self.failing_since = self._began if self.failing_since is None else self.failing_since
        else:
            self.failing_since = None
            settled = before is not None and _state(before) is _state(outcome) and _state(outcome) not in _CHANGING
            self._every = min(1.5 * self._every, SLOW) if settled and not self._reported else FAST
        if self._reported or outcome != before:
            for waiter in self.waiters:
                waiter.wake()

    @property
    def left(self) -> float:
        """Seconds until the next poll."""
        hurries = self._hurried and self.failing_since is None
        return self._began + (FAST if hurries else self._every) - self._clock.monotonic()


class RuntimeHub:
    """Polls the runtimes that somebody waits for."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._watched: dict[_Key, Watched] = {}
        fleet.on_write.append(self.written)

    def __len__(self) -> int:
        return len(self._watched)

    @contextmanager
    def watching(self, resolved: ResolvedRuntime, waiter: Waiter) -> Iterator[Watched]:
        """Wake ``waiter`` whenever the runtime has changed."""
        key = (resolved.provider.name, resolved.ref)
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = Watched(self.fleet.clock)
            watched.polling = asyncio.create_task(self._poll(key, watched))
        watched.waiters.add(waiter)
        try:
            yield watched
        finally:
            watched.waiters.discard(waiter)

    def written(self, provider: str, runtime: RuntimeRef | None = None) -> None:
        """A runtime of the provider, or an unknown one (None), may have been changed."""
        for key, watched in self._watched.items():
            for name, ref in {key, self.fleet.place(*key)}:
                if name == provider and runtime in {None, ref}:
                    watched.hurry()

    def wake_all(self) -> None:
        """Make all waiters look again: what they may see may have changed."""
        for watched in self._watched.values():
            for waiter in watched.waiters:
                waiter.wake()

    async def close(self) -> None:
        polling = [watched.polling for watched in self._watched.values() if watched.polling is not None]
        for task in polling:
            task.cancel()
        await asyncio.gather(*polling, return_exceptions=True)

    async def _poll(self, key: _Key, watched: Watched) -> None:
        """Poll while there is a waiter. After that, the last outcome stays for one interval, for those that return."""
        try:
            with RequestContext(request_id=WATCHER) as ctx:
                while True:
                    watched.begin()
                    place = self.fleet.place(*key)
                    watched.end(await self._ask(*place, ctx), place)
                    ctx.attempts.clear()
                    while (left := watched.left) > 0:
                        await watched.pause(left)
                    if not watched.waiters:
                        return
        finally:
            del self._watched[key]

    async def _ask(self, name: str, ref: RuntimeRef, ctx: RequestContext) -> Runtime | GatewayError:
        provider = self.fleet.get(name)
        if provider is None:
            return ProviderNotConfigured(f"This gateway has no provider {name} any longer.", provider=name)
        try:
            async with self.fleet.call_scope(provider, Operation.GET, ctx) as call:
                return await provider.adapter.get(ref, call)
        except GatewayError as error:
            return error
        except Exception as bug:  # noqa: BLE001 (those that wait get an answer; the bug is reported)
            if self.fleet.observer is not None:
                self.fleet.observer.unexpected_error(name, Operation.GET, WATCHER, bug)
            return InternalError("The gateway made a mistake; its log has the details.")
