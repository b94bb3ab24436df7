"""The rows of a store in memory: every operation whole, at once, and at a moment that is given."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.domain.intents import Actor, Intent, IntentState, LeaseRule, NewIntent, transition
from gateway.ports.store import (
    Changes,
    Conflict,
    ConflictReason,
    Decision,
    DecisionRecord,
    Inserted,
    NameTaken,
    Stale,
    Updated,
    Version,
)
from gateway.testing.memory_reading import MemoryReading, is_free, pin_of

_SETTLED: Final = frozenset({IntentState.DONE, IntentState.REFUSED, IntentState.ABSENT})


class MemoryRows(MemoryReading):
    """What stores over the same data share, and the steps that they take."""

    def begin(
        self, new: NewIntent, holder: str, lease: float, instead_of: Version | None, now: float
    ) -> Inserted | Conflict:
        """See :meth:`gateway.ports.store.Store.begin`."""
        known = self.intents.get(new.id) or self.by_key(new.principal, new.key)
        if known is not None:
            again = (new.id, IntentState.OPEN, 1, holder)
            repeated = (known.id, known.state, known.epoch, self.moved_by[known.id]) == again
            return Inserted(known) if repeated else Conflict(known, ConflictReason.KEY)
        if new.pinned and (other := self.pinned_elsewhere(new, new.namespace)) is not None:
            return Conflict(other, ConflictReason.PIN)
        old = self.intents.get(instead_of.id) if instead_of else None
        if old is not None and (
            Version.of(old) != instead_of or old.state is not IntentState.ABSENT or old.superseded_by is not None
        ):
            old = None
        named = self.with_name(new, new.namespace, other_than=(new.id, old.id if old else ""))
        if named is not None:
            return Conflict(named, ConflictReason.NAME)
        if old is not None:
            self.intents[old.id] = replace(old, superseded_by=new.id, updated_at=now)
        if new.pinned:
            self.pins[pin_of(new)] = new.namespace
        intent = Intent(
            **{name: getattr(new, name) for name in NewIntent.__dataclass_fields__},
            state=IntentState.OPEN,
            epoch=1,
            holder=holder,
            lease_until=now + lease,
            due_at=now + lease,
            attempts=(),
            looks=(),
            created_at=now,
            updated_at=now,
        )
        return Inserted(self._put(intent, holder))

    def move(
        self,
        version: Version,
        to: IntentState,
        who: Actor,
        holder: str,
        lease: float | None,
        look_in: float | None,
        changes: Changes,
        now: float,
    ) -> Updated | Stale | NameTaken:
        """See :meth:`gateway.ports.store.Store.move`."""
        step = transition(version.state, to, who)
        intent = self.intents.get(version.id)
        if intent is None:
            return Stale(None)
        epoch = version.epoch + step.next_epoch
        if (intent.state, intent.epoch, self.moved_by[intent.id]) == (to, epoch, holder) and (
            Version.of(intent) != version
        ):
            return Updated(intent)
        if Version.of(intent) != version or not _lease_allows(step.lease, intent, holder, now):
            return Stale(intent)
        values = changes.set()
        if to is IntentState.OPEN:
            namespace = str(values.get("namespace", intent.namespace))
            in_the_way = self.pinned_elsewhere(intent, namespace) if intent.pinned else None
            in_the_way = in_the_way or self.with_name(intent, namespace, other_than=(intent.id,))
            if in_the_way is not None:
                return NameTaken(in_the_way)
            if intent.pinned:
                self.pins[pin_of(intent)] = namespace
            values["superseded_by"] = None
        elif to is IntentState.REFUSED:
            self._unpin(intent)
        return Updated(self._write(intent, to, epoch, holder, lease, look_in, values, now))

    def update(
        self, version: Version, holder: str, lease: float | None, look_in: float | None, changes: Changes, now: float
    ) -> Updated | Stale:
        """See :meth:`gateway.ports.store.Store.keep`."""
        intent = self.intents.get(version.id)
        if intent is None:
            return Stale(None)
        repeated = lease is None and intent.holder is None and self.moved_by[intent.id] == holder
        if Version.of(intent) != version or not (repeated or _lease_allows(LeaseRule.OWN, intent, holder, now)):
            return Stale(intent)
        return Updated(self._write(intent, intent.state, intent.epoch, holder, lease, look_in, changes.set(), now))

    def record_created(
        self, intent_id: str, runtime_id: str, look_in: float | None, changes: Changes, now: float
    ) -> Intent | None:
        """See :meth:`gateway.ports.store.Store.found`."""
        intent = self.intents.get(intent_id)
        if intent is None:
            return None
        values = changes.set()
        if intent.state is not IntentState.DONE:
            transition(intent.state, IntentState.DONE, Actor.ANYONE)
            if intent.pinned and intent.state is IntentState.REFUSED:
                self._pin_if_free(intent)
            values["runtime_id"] = runtime_id
            return self._write(intent, IntentState.DONE, intent.epoch, "anyone", None, look_in, values, now)
        if runtime_id == intent.runtime_id and intent.outcome is None and isinstance(changes.outcome, bytes):
            return self._put(replace(intent, outcome=changes.outcome, updated_at=now))
        if runtime_id == intent.runtime_id or runtime_id in intent.surplus:
            return intent
        return self._put(replace(intent, surplus=(*intent.surplus, runtime_id), updated_at=now))

    def decide(
        self,
        version: Version,
        decision: Decision,
        operator: str,
        runtime_id: str | None,
        note: str | None,
        changes: Changes,
        now: float,
    ) -> Updated | Stale:
        """See :meth:`gateway.ports.store.Store.decide`."""
        to = IntentState.DONE if decision is Decision.MADE else IntentState.ABSENT
        transition(version.state, to, Actor.OPERATOR)
        intent = self.intents.get(version.id)
        if intent is None:
            return Stale(None)
        mark = f"operator {operator}"
        decided = (to, version.epoch, runtime_id, mark)
        if (intent.state, intent.epoch, intent.runtime_id, self.moved_by[intent.id]) == decided:
            return Updated(intent)
        if Version.of(intent) != version:
            return Stale(intent)
        self.told.append(DecisionRecord(now, operator, intent.id, decision, runtime_id, note))
        look_in = 0.0 if to is IntentState.ABSENT else None
        values = {**changes.set(), "runtime_id": runtime_id}
        return Updated(self._write(intent, to, intent.epoch, mark, None, look_in, values, now))

    def claim_due(self, holder: str, lease: float, limit: int, now: float) -> Sequence[Intent]:
        """See :meth:`gateway.ports.store.Store.due`."""
        waiting = [
            (intent.due_at, intent)
            for intent in self.intents.values()
            if intent.due_at is not None and intent.due_at <= now and is_free(intent, now)
        ]
        taken = sorted(waiting, key=lambda due: due[0])[:limit]
        until = now + lease
        return [
            self._put(replace(intent, holder=holder, lease_until=until, due_at=until, updated_at=now), holder)
            for _, intent in taken
        ]

    def acquire_leadership(self, role: str, holder: str, lease: float, now: float) -> bool:
        """See :meth:`gateway.ports.store.Store.lead`."""
        leader, until = self.duties.get(role, (holder, now))
        if leader != holder and until > now:
            return False
        self.duties[role] = (holder, now + lease)
        return True

    def purge(self, settled: float, kept: float, limit: int, now: float) -> int:
        """See :meth:`gateway.ports.store.Store.purge`."""
        old = [
            (intent.settled_at, intent)
            for intent in self.intents.values()
            if intent.settled_at is not None
            and intent.settled_at <= now - (max(settled, kept) if intent.surplus else settled)
            and is_free(intent, now)
        ]
        gone = [intent for _, intent in sorted(old, key=lambda aged: aged[0])[:limit]]
        for intent in gone:
            del self.intents[intent.id], self.moved_by[intent.id]
        for intent in gone:
            self._unpin(intent)
        specs = sorted((at, place) for place, (_, at) in self.specs.items() if at <= now - kept)[:limit]
        for _, place in specs:
            del self.specs[place]
        return len(gone) + len(specs)

    def _pin_if_free(self, intent: Intent) -> None:
        if self.pinned_elsewhere(intent, intent.namespace) is None:
            self.pins[pin_of(intent)] = intent.namespace

    def _unpin(self, intent: Intent) -> None:
        if intent.pinned and self.other_of_pin(intent) is None:
            self.pins.pop(pin_of(intent), None)

    def _put(self, intent: Intent, mover: str | None = None) -> Intent:
        self.intents[intent.id] = intent
        if mover is not None:
            self.moved_by[intent.id] = mover
        return intent

    def _write(
        self,
        intent: Intent,
        to: IntentState,
        epoch: int,
        mover: str,
        lease: float | None,
        look_in: float | None,
        values: dict[str, Any],
        now: float,
    ) -> Intent:
        if look_in is None and to is IntentState.OPEN:
            look_in = lease or 0.0
        settled_at = intent.settled_at if to is intent.state else None
        if to in _SETTLED and settled_at is None:
            settled_at = now
        after = replace(
            intent,
            state=to,
            epoch=epoch,
            holder=None if lease is None else mover,
            lease_until=None if lease is None else now + lease,
            due_at=None if look_in is None else now + look_in,
            updated_at=now,
            settled_at=settled_at,
            **values,
        )
        return self._put(after, mover)


def _lease_allows(rule: LeaseRule, intent: Intent, holder: str, now: float) -> bool:
    if rule is LeaseRule.ANY or intent.holder == holder:
        return True
    return rule is LeaseRule.FREE and is_free(intent, now)
