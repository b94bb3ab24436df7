"""Records the events of the audit trail, and moves them to the store.

Recording is synchronous and short: one log line and one append to the journal, so an event is safe before its response
is sent. A task moves the journal's events to the store in batches, and repeats that until the store has them.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Final, Literal

import msgspec

from gateway.domain.access import refuse_outside
from gateway.domain.errors import StoreUnavailable
from gateway.domain.runtime import Model
from gateway.ports.audit import AuditEvent, AuditOutcome, AuditQuery, AuditStore, GatewayAction, new_event_id
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.places import PlannedEnd
from gateway.services.intents.records import rfc3339
from gateway.storage.audit_journal import AuditJournal
from gateway.telemetry.signals import AuditSignals

EVERY: Final = 1.0
"""Seconds between two moves of events to the store."""
MINUTE: Final = 60.0
IN_MEMORY: Final = 10_000
"""Events that are kept in memory while the journal cannot be written."""
REFUSALS: Final = 1000
"""Kinds of refusals that are counted apart in one minute: by caller, address, action and code."""

_BATCH: Final = 256
_PURGED_AT_ONCE: Final = 500
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(AuditEvent)


class AuditTrail:
    """The events of this process. ``retention`` is how many seconds the store keeps events."""

    def __init__(
        self, store: AuditStore, journal: AuditJournal, clock: Clock, observer: AuditSignals, *, retention: float
    ) -> None:
        self.store = store
        self._journal = journal
        self._clock = clock
        self._observer = observer
        self._retention = retention
        self._memory: deque[AuditEvent] = deque()
        self._journaled = True  # whether the last append succeeded
        self._waiting = True  # whether the journal or the memory may have events; an earlier process may have left some
        self._repeated: dict[Hashable, tuple[dict[str, Any], int]] = {}
        self._moving = asyncio.Lock()
        self._minute_began = clock.monotonic()

    def record(self, **fields: Any) -> None:
        """Record an event with these fields."""
        now = self._clock.now()
        event = AuditEvent(id=new_event_id(now), at=rfc3339(now), **fields)
        self._observer.recorded(event)
        self._waiting = True
        try:
            self._journal.append(_ENCODER.encode(event) + b"\n")
            self._journaled = True
        except OSError as error:
            if self._journaled:
                self._observer.not_journaled(error)
            self._journaled = False
            if len(self._memory) < IN_MEMORY:
                self._memory.append(event)
            else:
                self._observer.lost(event.id)

    def refused(self, **fields: Any) -> None:
        """Record a refusal at once, and equal ones of the same minute with their number when it ends."""
        key = (fields["principal"], fields["remote"], fields["action"], fields["code"])
        if key not in self._repeated and len(self._repeated) >= REFUSALS:
            fields |= {"principal": None, "key_id": None, "remote": None}
            key = (None, None, *key[2:])
        first, repeated = self._repeated.get(key, (fields, -1))
        self._repeated[key] = first, repeated + 1
        if repeated < 0:
            self.record(**fields)

    def lifetime_ended(self, end: PlannedEnd, runtime_id: str, verb: str) -> None:
        """Record that the gateway has ended an instance at its maximum lifetime."""
        self.record(
            action=GatewayAction.LIFETIME_ENDED,
            outcome=AuditOutcome.OK,
            runtime_id=runtime_id,
            provider=end.provider,
            changes={"verb": str(verb), "started_by": end.principal},
        )

    def principals_reloaded(self, names: list[str]) -> None:
        """Record that a reload has changed the keys or rights of these principals."""
        self.record(
            action=GatewayAction.PRINCIPALS_RELOADED, outcome=AuditOutcome.OK, changes={"principals": names[:100]}
        )

    async def run(self) -> None:
        """Move events to the store, and delete old ones there, until the task is cancelled."""
        while True:
            try:
                await self._round()
            except StoreUnavailable:
                pass  # the store's own monitor reports it
            except Exception as error:  # noqa: BLE001 (reported; the loop must not end)
                self._observer.failed(error)
            await self._clock.sleep(EVERY)

    async def _round(self) -> None:
        now = self._clock.monotonic()
        ended = now - self._minute_began >= MINUTE
        if ended:
            self._minute_began = now
            self.sum_up()
        if self._waiting or ended:  # another process may have died
            await self.move()
        while ended and await self.store.purge_events(self._retention, _PURGED_AT_ONCE) == _PURGED_AT_ONCE:
            pass

    def sum_up(self) -> None:
        """Record the repeated refusals."""
        repeated, self._repeated = self._repeated, {}
        for fields, count in repeated.values():
            if count:
                self.record(**fields, count=count)

    async def move(self) -> None:
        """Move the events that were recorded before to the store. Raises :class:`StoreUnavailable` and ``OSError``."""
        async with self._moving:
            self._waiting = False
            try:
                await self._move_memory()
                await self._move_journal()
            except BaseException:
                self._waiting = True
                raise

    async def _move_memory(self) -> None:
        while batch := list(islice(self._memory, _BATCH)):
            await self.store.add_events(batch)
            for _ in batch:
                self._memory.popleft()

    async def _move_journal(self) -> None:
        """The current file is closed only when all others are moved, so there is one at most while the store is away,
        apart from full ones."""
        closed = False
        while True:
            found = await asyncio.to_thread(self._journal.oldest)
            if found is None and (closed or not self._journal.rotate()):
                return
            if found is None:
                closed = True
                continue
            path, lines = found
            events = list(filter(None, map(_event, lines.splitlines())))
            for start in range(0, len(events), _BATCH):
                await self.store.add_events(events[start : start + _BATCH])
            await asyncio.to_thread(self._journal.remove, path)
            for _ in range(lines.count(b"\n") - len(events)):
                self._observer.lost("unreadable")


def _event(line: bytes) -> AuditEvent | None:
    try:
        return _DECODER.decode(line)
    except msgspec.DecodeError:
        return None  # the last line may be incomplete: its process ended before it sent the response


class AuditEvents(Model, frozen=True, kw_only=True):
    """A page of audit events, newest first."""

    object: Literal["list"] = "list"
    items: list[AuditEvent]
    next_cursor: str | None


async def list_events(trail: AuditTrail, query: AuditQuery, ctx: RequestContext) -> AuditEvents:
    """One page, with the newest events of this process. A caller that may not see everything sees its own actions only.
    Raises :class:`PermissionDenied` if it asks for those of another principal, and :class:`StoreUnavailable`."""
    caller = ctx.principal
    if caller.confined:
        asked = () if query.principal is None else (query.principal,)
        refuse_outside(asked, frozenset({caller.name}), "principals", parameter="principal")
        query = replace(query, principal=caller.name)
    with suppress(OSError):  # the trail's own task reports it
        await trail.move()
    found = await trail.store.audit_events(replace(query, limit=query.limit + 1))
    items = list(found[: query.limit])
    return AuditEvents(items=items, next_cursor=items[-1].id if len(found) > query.limit else None)
