"""The store monitor reports each change once, and upgrades the schema of a store when it becomes available."""

import asyncio
from typing import Any

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.intents import IntentState
from gateway.ports.store import Counts, Decision, DecisionRecord, Version
from gateway.services.store_monitor import StoreMonitor
from tests.contract.store.subject import LEASE, begun, bring, create
from tests.memory_store import MemoryStore
from tests.unit.services.fakes import FakeClock


class Seen:
    """Records the reports."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, Any]] = []
        self.counts: list[Counts] = []

    def store_up(self, down_for: float | None) -> None:
        self.reports.append(("up", down_for))

    def store_down(self, reason: str, cause: str | None) -> None:
        self.reports.append(("down", (reason, cause)))

    def counted(self, counts: Counts) -> None:
        self.counts.append(counts)

    def decided(self, decision: DecisionRecord) -> None:
        self.reports.append(("decided", (decision.operator, decision.intent_id)))


class Store(MemoryStore):
    """A store whose failures a test controls."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock.now, on_call=self._called)
        self.trouble: StoreUnavailable | None = None
        self.fails_at: str | None = None

    async def _called(self, name: str, done: bool) -> None:
        if self.trouble is not None and not done and self.fails_at in {None, name}:
            raise self.trouble


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> Store:
    made = Store(clock)
    await made.open()
    return made


@pytest.fixture
def seen() -> Seen:
    return Seen()


async def test_a_store_that_is_too_new_is_reported_until_it_is_usable_again(
    store: Store, clock: FakeClock, seen: Seen
) -> None:
    monitor = StoreMonitor(store, clock, seen)
    await monitor.check()
    assert monitor.outdated is None
    connection = store.database._connection
    connection.execute("INSERT INTO store_schema (version, readable_from, applied_at) VALUES (999, 999, 0)")
    await monitor.check()
    assert "too new" in (monitor.outdated or "")
    assert not monitor.up
    store.trouble = trouble()
    await monitor.check()
    assert "too new" in (monitor.outdated or "")
    store.trouble = None
    connection.execute("DELETE FROM store_schema WHERE version = 999")
    await monitor.check()
    assert monitor.outdated is None
    assert monitor.up


def trouble(cause: Exception | None = None) -> StoreUnavailable:
    error = StoreUnavailable("The store cannot be used now.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("fails_at", ["ping", "counts", "decisions"])
async def test_each_change_of_availability_is_reported_once(
    store: Store, clock: FakeClock, seen: Seen, fails_at: str
) -> None:
    monitor = StoreMonitor(store, clock, seen)
    assert not monitor.up
    for _ in range(2):
        await monitor.check()
    assert monitor.up
    store.trouble, store.fails_at = trouble(OSError("no route")), fails_at
    for _ in range(3):
        await monitor.check()
        clock.time += 5
    assert not monitor.up
    store.trouble = None
    for _ in range(2):
        await monitor.check()
    down = ("The store cannot be used now.", "OSError: no route")
    assert seen.reports == [("up", None), ("down", down), ("up", 15.0)]


async def test_a_store_that_is_unavailable_at_first_is_reported_and_so_is_its_recovery(
    store: Store, clock: FakeClock, seen: Seen
) -> None:
    monitor = StoreMonitor(store, clock, seen)
    store.trouble = trouble()
    await monitor.check()
    clock.time += 60
    store.trouble = None
    await monitor.check()
    assert seen.reports == [("down", ("The store cannot be used now.", None)), ("up", 60.0)]
    assert len(seen.counts) == 1


async def test_the_schema_is_upgraded_until_that_succeeds_once(store: Store, clock: FakeClock, seen: Seen) -> None:
    """Not after a later failure: a store that disappeared is not created again."""
    upgrades = 0

    async def upgrade() -> None:
        nonlocal upgrades
        upgrades += 1
        if upgrades < 3:
            raise trouble()

    monitor = StoreMonitor(store, clock, seen, upgrade=upgrade)
    for number in range(1, 4):
        assert not monitor.up
        await monitor.check()
        assert upgrades == number
    assert monitor.up
    store.trouble = trouble()
    await monitor.check()
    store.trouble = None
    await monitor.check()
    assert upgrades == 3


async def test_unsettled_intents_are_counted_at_every_check(store: Store, clock: FakeClock, seen: Seen) -> None:
    monitor = StoreMonitor(store, clock, seen)
    await monitor.check()
    intent = begun(await store.begin(create(), "me", LEASE))
    await bring(store, intent, IntentState.UNKNOWN)
    clock.time += 7
    await monitor.check()
    assert seen.counts == [Counts(), Counts(unsettled={IntentState.UNKNOWN: 1}, oldest_age=7.0)]


async def test_decisions_after_the_first_check_are_reported_once(store: Store, clock: FakeClock, seen: Seen) -> None:
    """They are reported in the order in which they were made."""

    async def decide(name: str) -> str:
        parked = await bring(store, begun(await store.begin(create(name), "me", LEASE)), IntentState.PARKED)
        clock.time += 1
        await store.decide(Version.of(parked), Decision.ABSENT, "olga")
        return parked.id

    await decide("before")
    monitor = StoreMonitor(store, clock, seen)
    await monitor.check()
    first, second = await decide("first"), await decide("second")
    for _ in range(2):
        await monitor.check()
    assert seen.reports == [("up", None), ("decided", ("olga", first)), ("decided", ("olga", second))]


async def test_the_monitor_checks_until_it_is_cancelled(store: Store, seen: Seen) -> None:
    class Pausing(FakeClock):
        def __init__(self) -> None:
            super().__init__()
            self.slept: list[float] = []

        async def sleep(self, seconds: float) -> None:
            self.slept.append(seconds)
            if len(self.slept) == 3:
                raise asyncio.CancelledError

    clock = Pausing()
    with pytest.raises(asyncio.CancelledError):
        await StoreMonitor(store, clock, seen, every=2.5).run()
    assert clock.slept == [2.5] * 3
    assert len(seen.counts) == 3
