"""Audit events reach the store once, whatever fails on the way."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.ports.audit import AuditEvent, AuditOutcome, AuditQuery
from gateway.services.audit import trail as module
from gateway.services.audit.trail import EVERY, MINUTE, AuditTrail
from gateway.storage.audit_journal import AuditJournal
from tests.memory_store import MemoryStore
from tests.unit.services.access.test_replication import ManualClock, settle

RETENTION = 1000.0
FIELDS: dict[str, Any] = {"action": "stopRuntime", "outcome": AuditOutcome.OK}


class TickingClock(ManualClock):
    """A clock that advances by a millisecond on each read, so that events have an order."""

    def now(self) -> float:
        self.time += 0.001
        return self.time


class Seen:
    """Records the reports."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.journal_errors: list[OSError] = []
        self.lost_ids: list[str] = []
        self.errors: list[Exception] = []

    def recorded(self, event: AuditEvent) -> None:
        self.events.append(event)

    def not_journaled(self, error: OSError) -> None:
        self.journal_errors.append(error)

    def lost(self, event_id: str) -> None:
        self.lost_ids.append(event_id)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


class Store(MemoryStore):
    """A store that fails before or after its commit when the test wants it."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock.now, on_call=self._called)
        self.fails: bool | None = None
        self.adds = 0

    def _called(self, name: str, done: bool) -> None:
        self.adds += name == "add" and not done
        if self.fails is done:
            raise StoreUnavailable("The store is away.")


class Scene:
    """A trail over a store in memory and a journal in a folder."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.seen, self.folder = TickingClock(), Seen(), folder
        self.store = Store(self.clock)
        self.trail = self.another()

    def another(self) -> AuditTrail:
        """The trail of another process."""
        journal = AuditJournal(self.folder, 1 << 20)
        return AuditTrail(self.store, journal, self.clock, self.seen, retention=RETENTION)

    async def stored(self) -> Sequence[AuditEvent]:
        """The events in the store, oldest first."""
        return (await self.store.audit_events(AuditQuery(limit=100_000)))[::-1]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "audit")


async def until_idle(clock: ManualClock, seconds: float) -> None:
    """Advance the clock, and wait until the threads of the journal have finished."""
    end = clock.time + seconds
    while clock.time < end:
        await clock.advance(min(EVERY, end - clock.time))
        while not clock.sleepers or all(future.done() for _, future in clock.sleepers):  # noqa: ASYNC110 (a thread works)
            await asyncio.sleep(0)
        await settle()


async def test_an_event_is_reported_at_once_and_stored_by_the_task(scene: Scene):
    task = asyncio.create_task(scene.trail.run())
    scene.trail.record(**FIELDS, principal="shop", changes={"fields": ["#/name"]})
    (event,) = scene.seen.events
    assert (event.principal, event.count, event.at) == ("shop", 1, module.rfc3339(scene.clock.time))
    await until_idle(scene.clock, 2 * EVERY)
    assert await scene.stored() == [event]
    assert list(scene.folder.iterdir()) == []
    task.cancel()


@pytest.mark.parametrize("after_commit", [False, True])
async def test_events_of_an_outage_are_stored_once_when_it_ends(scene: Scene, after_commit: bool):
    """Also if the store fails after it has stored them."""
    task = asyncio.create_task(scene.trail.run())
    scene.store.fails = after_commit
    for _ in range(3):
        scene.trail.record(**FIELDS)
        await until_idle(scene.clock, 3 * EVERY)
    assert len(list(scene.folder.iterdir())) == 2, "the closed file, and the current one"
    scene.store.fails = None
    await until_idle(scene.clock, 2 * EVERY)
    assert await scene.stored() == scene.seen.events
    assert list(scene.folder.iterdir()) == []
    assert not scene.seen.errors
    task.cancel()


async def test_events_of_a_killed_process_are_stored_by_the_next_one(scene: Scene):
    """And not twice, if it was killed before it had removed what it had stored. A line that it had begun is left out:
    its response was not sent."""
    scene.trail.record(**FIELDS)
    scene.trail.record(**FIELDS)
    await scene.store.add_events(scene.seen.events[:1])
    scene.trail._journal.append(b'{"object":"audit_event","id":"ev_')
    scene.trail._journal.rotate()  # as the end of the process
    await scene.another().move()
    assert await scene.stored() == scene.seen.events
    assert list(scene.folder.iterdir()) == []


async def test_a_whole_line_of_the_journal_that_cannot_be_read_is_reported(scene: Scene):
    scene.trail._journal.append(b'{"of": "a later version"}\n')
    scene.trail.record(**FIELDS)
    await scene.trail.move()
    assert await scene.stored() == scene.seen.events
    assert scene.seen.lost_ids == ["unreadable"]


async def test_a_process_takes_over_the_journal_of_another_that_dies_later(scene: Scene):
    other = scene.another()
    other.record(**FIELDS)
    task = asyncio.create_task(scene.trail.run())
    await until_idle(scene.clock, 2 * EVERY)
    assert await scene.stored() == []
    other._journal.rotate()
    await until_idle(scene.clock, MINUTE)
    assert await scene.stored() == scene.seen.events
    task.cancel()


async def test_events_are_kept_in_memory_while_the_journal_cannot_be_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "IN_MEMORY", 3)
    scene.folder.write_text("not a folder")
    scene.store.fails = False
    for _ in range(5):
        scene.trail.record(**FIELDS)
    assert len(scene.seen.journal_errors) == 1
    assert scene.seen.lost_ids == [event.id for event in scene.seen.events[3:]]
    with pytest.raises(StoreUnavailable):
        await scene.trail.move()
    scene.store.fails = None
    scene.folder.unlink()
    await scene.trail.move()
    assert await scene.stored() == scene.seen.events[:3]
    scene.trail.record(**FIELDS)
    await scene.trail.move()
    assert await scene.stored() == [*scene.seen.events[:3], scene.seen.events[5]]


async def test_concurrent_moves_store_all_that_was_recorded_before(scene: Scene):
    for _ in range(600):
        scene.trail.record(**FIELDS)
    await asyncio.gather(*(scene.trail.move() for _ in range(3)))
    assert await scene.stored() == scene.seen.events
    assert scene.store.adds <= 4, "in batches"


async def test_equal_refusals_of_a_minute_are_summed(scene: Scene):
    """The first one is recorded at once."""
    refused = {**FIELDS, "outcome": AuditOutcome.REFUSED, "principal": "shop", "remote": "::1", "code": "x"}
    for number in range(5):
        scene.trail.refused(**refused, runtime_id=f"r-{number}")
    scene.trail.refused(**{**refused, "remote": "::2"})
    assert [(event.remote, event.count) for event in scene.seen.events] == [("::1", 1), ("::2", 1)]
    task = asyncio.create_task(scene.trail.run())
    await until_idle(scene.clock, MINUTE + EVERY)
    (summed,) = scene.seen.events[2:]
    assert (summed.remote, summed.count, summed.runtime_id) == ("::1", 4, "r-0")
    await until_idle(scene.clock, 2 * EVERY)
    assert await scene.stored() == scene.seen.events
    scene.trail.refused(**refused)
    assert scene.seen.events[-1].count == 1
    task.cancel()


async def test_kinds_of_refusals_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """Beyond the bound, callers and addresses are not distinguished, but all are counted."""
    monkeypatch.setattr(module, "REFUSALS", 3)
    refused = {**FIELDS, "outcome": AuditOutcome.REFUSED, "principal": None, "key_id": None, "code": "x"}
    for number in range(10):
        scene.trail.refused(**refused, remote=f"::{number}")
    scene.trail.sum_up()
    assert [event.remote for event in scene.seen.events] == ["::0", "::1", "::2", None, None]
    assert sum(event.count for event in scene.seen.events) == 10


async def test_old_events_are_deleted_every_minute(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_PURGED_AT_ONCE", 2)
    for _ in range(5):
        scene.trail.record(**FIELDS)
    await scene.trail.move()
    task = asyncio.create_task(scene.trail.run())
    await until_idle(scene.clock, RETENTION - 2 * MINUTE)
    assert len(await scene.stored()) == 5
    await until_idle(scene.clock, 4 * MINUTE)
    assert await scene.stored() == []
    task.cancel()


async def test_a_bug_does_not_end_the_task(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    async def broken(_events: Sequence[AuditEvent]) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(scene.store, "add_events", broken)
    task = asyncio.create_task(scene.trail.run())
    scene.trail.record(**FIELDS)
    await until_idle(scene.clock, 2 * EVERY)
    assert [str(error) for error in scene.seen.errors][:1] == ["a bug"]
    monkeypatch.undo()
    await until_idle(scene.clock, 2 * EVERY)
    assert await scene.stored() == scene.seen.events
    task.cancel()
