"""Monitoring of the store: whether it is available, how many intents are unsettled, and what operators decided."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from gateway.domain.errors import StoreUnavailable
from gateway.ports.clock import Clock
from gateway.ports.store import DecisionRecord, Store
from gateway.telemetry.signals import CreateSignals

EVERY: Final = 5.0  # seconds between two checks
_DECISIONS: Final = 50  # the most decisions between two checks that are all reported


@dataclass(eq=False, repr=False)
class StoreMonitor:
    """Checks a store every few seconds, for metrics and logs. Requests do not depend on it: they call the store.

    ``every``: seconds between two checks. ``upgrade`` migrates the schema; it is called until it succeeds once, and
    never again, so that a store that disappears later is not created again."""

    store: Store
    clock: Clock
    observer: CreateSignals
    _: KW_ONLY
    every: float = EVERY
    upgrade: Callable[[], Awaitable[object]] | None = None
    outdated: str | None = field(default=None, init=False)  # why this program must not serve any more
    first_check: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _up: bool | None = field(default=None, init=False)
    _down_since: float = field(default=0.0, init=False)
    _known: frozenset[DecisionRecord] | None = field(default=None, init=False)

    @property
    def up(self) -> bool:
        """Whether the store was available at the last check."""
        return self._up is True

    async def run(self) -> None:
        """Check until the task is cancelled. ``first_check`` is set after the first check."""
        while True:
            await self.check()
            self.first_check.set()
            await self.clock.sleep(self.every)

    async def check(self) -> None:
        """Check once, and report what has changed. Does not raise for a store that is not available."""
        try:
            if self.upgrade is not None:
                await self.upgrade()
                self.upgrade = None
            await self.store.ping()
            counts = await self.store.counts()
            decisions = await self.store.decisions(_DECISIONS)
        except StoreUnavailable as exc:
            self._is_down(exc)
            with suppress(StoreUnavailable):  # unreachable: as far as is known, nothing has changed
                self.outdated = await self.store.outdated()
        else:
            self.outdated = None
            self._is_up()
            self.observer.counted(counts)
            self._report(decisions)

    def _is_down(self, error: StoreUnavailable) -> None:
        if self._up is not False:
            self._down_since = self.clock.monotonic()
            cause = error.__cause__
            self.observer.store_down(str(error), None if cause is None else f"{type(cause).__name__}: {cause}")
        self._up = False

    def _is_up(self) -> None:
        if self._up is not True:
            self.observer.store_up(None if self._up is None else self.clock.monotonic() - self._down_since)
        self._up = True

    def _report(self, decisions: Sequence[DecisionRecord]) -> None:
        known, self._known = self._known, frozenset(decisions)
        if known is not None:
            for decision in reversed(decisions):
                if decision not in known:
                    self.observer.decided(decision)
