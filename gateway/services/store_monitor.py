"""Watching the store: whether it answers, how much in it is unsettled, and what people decided."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from gateway.domain.errors import StoreUnavailable
from gateway.ports.clock import Clock
from gateway.ports.store import Counts, DecisionRecord, Store

EVERY: Final = 5.0  # seconds
_DECISIONS: Final = 50  # that can be made between two looks and are all told


class StoreObserver(Protocol):
    """Who is told what was seen."""

    def store_up(self, down_for: float | None) -> None:
        """The store answers: for the first time (None), or again after so many seconds."""

    def store_down(self, reason: str, cause: str | None) -> None:
        """It does not answer any more, or not yet. ``cause`` is what the database or the system said."""

    def counted(self, counts: Counts) -> None:
        """How much is unsettled."""

    def decided(self, decision: DecisionRecord) -> None:
        """A person decided about an intent while this process was there to see it."""


class StoreMonitor:
    """Looks at a store every few seconds. It gates nothing: whoever needs the store asks it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        observer: StoreObserver,
        *,
        every: float = EVERY,
        upgrade: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """``upgrade`` brings the schema up to date; it is called until it succeeds once, and never again: a store that
        vanishes later is not made anew."""
        self._store = store
        self._clock = clock
        self._observer = observer
        self._every = every
        self._upgrade = upgrade
        self._up: bool | None = None
        self._down_since = 0.0
        self._known: frozenset[DecisionRecord] | None = None
        self.first_check = asyncio.Event()

    @property
    def up(self) -> bool:
        """Whether the store answered at the last look."""
        return self._up is True

    async def run(self) -> None:
        """Look for as long as the task lives."""
        while True:
            await self.check()
            self.first_check.set()
            await self._clock.sleep(self._every)

    async def check(self) -> None:
        """Look once. Call it before serving, so that the store is ready for the first create."""
        try:
            if self._upgrade is not None:
                await self._upgrade()
                self._upgrade = None
            await self._store.ping()
            counts = await self._store.counts()
            decisions = await self._store.decisions(_DECISIONS)
        except StoreUnavailable as exc:
            self._is_down(exc)
        else:
            self._is_up()
            self._observer.counted(counts)
            self._tell(decisions)

    def _is_down(self, error: StoreUnavailable) -> None:
        if self._up is not False:
            self._down_since = self._clock.monotonic()
            cause = error.__cause__
            self._observer.store_down(str(error), None if cause is None else f"{type(cause).__name__}: {cause}")
        self._up = False

    def _is_up(self) -> None:
        if self._up is not True:
            self._observer.store_up(None if self._up is None else self._clock.monotonic() - self._down_since)
        self._up = True

    def _tell(self, decisions: Sequence[DecisionRecord]) -> None:
        known, self._known = self._known, frozenset(decisions)
        if known is not None:
            for decision in reversed(decisions):
                if decision not in known:
                    self._observer.decided(decision)
