"""The part of the store contract about audit events (:mod:`gateway.ports.audit`)."""

import asyncio
from typing import Any

from gateway.ports.audit import ID, AuditEvent, AuditOutcome, AuditQuery, first_id, new_event_id
from tests.contract.store.subject import StoreSubject

NOW = 1_800_000_000.0


def event(seconds: float = 0.0, **fields: Any) -> AuditEvent:
    """An event this many seconds after :data:`NOW`."""
    values: dict[str, Any] = {"action": "stopRuntime", "outcome": AuditOutcome.OK, **fields}
    return AuditEvent(id=new_event_id(NOW + seconds), at="2027-01-15T08:00:00.000Z", **values)


class AuditContract:
    """Events are only added, and deleted by age; see :class:`tests.contract.store.contract`."""

    async def test_stored_events_are_read_unchanged_newest_first(self, stores: StoreSubject) -> None:
        full = event(
            1,
            principal="näme",
            key_id="key_1",
            remote="::1",
            runtime_id="one.r-1",
            provider="one",
            status=404,
            code="not_found",
            request_id="r",
            changes={"fields": ["#/name"], "owner": None},
            count=7,
        )
        events = [event(), full, event(2, runtime_id="with\0nul")]
        await stores.store.add_events(events)
        assert await (await stores.another()).audit_events(AuditQuery()) == events[::-1]
        assert all(ID.match(one.id) for one in events)

    async def test_an_event_that_is_stored_is_not_added_again(self, stores: StoreSubject) -> None:
        """By any replica, also within a batch of others."""
        events = [event(number) for number in range(3)]
        await stores.store.add_events(events[:2])
        other = await stores.another()
        await asyncio.gather(*(store.add_events(events) for store in (stores.store, other) for _ in range(4)))
        assert await stores.store.audit_events(AuditQuery()) == events[::-1]

    async def test_batches_of_any_size_are_stored(self, stores: StoreSubject) -> None:
        await stores.store.add_events([])
        sizes = (1, 7, 8, 64, 73, 200)
        for size in sizes:
            await stores.store.add_events([event(number) for number in range(size)])
        assert len(await stores.store.audit_events(AuditQuery(limit=1000))) == sum(sizes)

    async def test_events_are_found_by_each_filter_and_by_all_together(self, stores: StoreSubject) -> None:
        wanted = event(10, principal="shop", runtime_id="one.r", outcome=AuditOutcome.FAILED)
        others = [
            event(10, runtime_id="one.r", outcome=AuditOutcome.FAILED),
            event(10, principal="shop", outcome=AuditOutcome.FAILED),
            event(10, principal="shop", runtime_id="one.r"),
            event(10, principal="shop", runtime_id="one.r", outcome=AuditOutcome.FAILED, action="native"),
            event(9, principal="shop", runtime_id="one.r", outcome=AuditOutcome.FAILED),
            event(11, principal="shop", runtime_id="one.r", outcome=AuditOutcome.FAILED),
        ]
        await stores.store.add_events([wanted, *others])
        filters: dict[str, Any] = {
            "principal": "shop",
            "runtime_id": "one.r",
            "outcome": "failed",
            "actions": frozenset({"stopRuntime", "startRuntime"}),
            "since": NOW + 10,
            "until": NOW + 11,
        }
        assert await stores.store.audit_events(AuditQuery(**filters)) == [wanted]
        for name, missed in zip(filters, others, strict=True):
            rest = {other: value for other, value in filters.items() if other != name}
            found = await stores.store.audit_events(AuditQuery(**rest))
            assert {one.id for one in found} == {wanted.id, missed.id}, name

    async def test_pages_show_each_event_once_although_events_are_added(self, stores: StoreSubject) -> None:
        events = [event(number) for number in range(5)]
        await stores.store.add_events(events)
        seen: list[AuditEvent] = []
        before = None
        while page := await stores.store.audit_events(AuditQuery(limit=2, before=before)):
            seen += page
            before = page[-1].id
            await stores.store.add_events([event(100)])
        assert seen == events[::-1]

    async def test_old_events_are_deleted_in_batches_the_oldest_first(self, stores: StoreSubject) -> None:
        now = await stores.store.now()
        events = [event(now - NOW - age) for age in (300, 250, 200, 10)]
        await stores.store.add_events(events)
        assert await stores.store.purge_events(100, 2) == 2
        assert await stores.store.audit_events(AuditQuery()) == [events[3], events[2]]
        assert await stores.store.purge_events(100, 2) == 1
        assert await stores.store.purge_events(100, 2) == 0
        await stores.advance(200)
        assert await stores.store.purge_events(100, 2) == 1
        assert await stores.store.audit_events(AuditQuery()) == []

    def test_ids_are_ordered_by_time(self) -> None:
        times = [0.0, 1.0, 1.25, 99_999.5, NOW, NOW + 0.001, 4e9]
        ids = [new_event_id(time) for time in times]
        assert ids == sorted(ids)
        assert all(first_id(time) <= one for time, one in zip(times, ids, strict=True))
        assert all(one < first_id(time) for time, one in zip(times[1:], ids, strict=False))
