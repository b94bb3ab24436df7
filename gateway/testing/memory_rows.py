"""The rows of a store in memory: every operation whole, at once, and at a moment that is given."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from gateway.domain.intents import NAMED, UNSETTLED, Intent, IntentState, LeaseRule, NewIntent, Who, transition
from gateway.ports.store import (
    Begun,
    By,
    Changes,
    Counts,
    Decided,
    Decision,
    Existing,
    IntentQuery,
    Lost,
    Moved,
    NameTaken,
    Version,
)

_SETTLED: Final = frozenset({IntentState.DONE, IntentState.REFUSED, IntentState.ABSENT})

Pin: TypeAlias = tuple[str, str, str]
"""The principal, kind and name of creates that named no provider."""


@dataclass(slots=True)
class MemoryRows:
    """What stores over the same data share. ``moved_by`` is who moved an intent last: who asks for the same step again
    is told that it was taken."""

    intents: dict[str, Intent] = field(default_factory=dict)
    moved_by: dict[str, str] = field(default_factory=dict)
    pins: dict[Pin, str] = field(default_factory=dict)
    told: list[Decided] = field(default_factory=list)
    specs: dict[tuple[str, str], tuple[bytes, float]] = field(default_factory=dict)
    duties: dict[str, tuple[str, float]] = field(default_factory=dict)

    def begin(
        self, new: NewIntent, holder: str, lease: float, instead_of: Version | None, now: float
    ) -> Begun | Existing:
        """See :meth:`gateway.ports.store.Store.begin`."""
        known = self.intents.get(new.id) or self.by_key(new.principal, new.key)
        if known is not None:
            again = (new.id, IntentState.OPEN, 1, holder)
            repeated = (known.id, known.state, known.epoch, self.moved_by[known.id]) == again
            return Begun(known) if repeated else Existing(known, By.KEY)
        if new.pinned and (other := self._pinned_elsewhere(new, new.namespace)) is not None:
            return Existing(other, By.PIN)
        old = self.intents.get(instead_of.id) if instead_of else None
        if old is not None and (
            Version.of(old) != instead_of or old.state is not IntentState.ABSENT or old.superseded_by is not None
        ):
            old = None
        named = self._with_name(new, new.namespace, other_than=(new.id, old.id if old else ""))
        if named is not None:
            return Existing(named, By.NAME)
        if old is not None:
            self.intents[old.id] = replace(old, superseded_by=new.id, updated_at=now)
        if new.pinned:
            self.pins[_pin(new)] = new.namespace
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
        return Begun(self._put(intent, holder))

    def move(
        self,
        version: Version,
        to: IntentState,
        who: Who,
        holder: str,
        lease: float | None,
        look_in: float | None,
        changes: Changes,
        now: float,
    ) -> Moved | Lost | NameTaken:
        """See :meth:`gateway.ports.store.Store.move`."""
        step = transition(version.state, to, who)
        intent = self.intents.get(version.id)
        if intent is None:
            return Lost(None)
        epoch = version.epoch + step.next_epoch
        if (intent.state, intent.epoch, self.moved_by[intent.id]) == (to, epoch, holder) and (
            Version.of(intent) != version
        ):
            return Moved(intent)
        if Version.of(intent) != version or not _lease_allows(step.lease, intent, holder, now):
            return Lost(intent)
        values = changes.set()
        if to is IntentState.OPEN:
            namespace = str(values.get("namespace", intent.namespace))
            in_the_way = self._pinned_elsewhere(intent, namespace) if intent.pinned else None
            in_the_way = in_the_way or self._with_name(intent, namespace, other_than=(intent.id,))
            if in_the_way is not None:
                return NameTaken(in_the_way)
            if intent.pinned:
                self.pins[_pin(intent)] = namespace
            values["superseded_by"] = None
        elif to is IntentState.REFUSED:
            self._unpin(intent)
        return Moved(self._write(intent, to, epoch, holder, lease, look_in, values, now))

    def keep(
        self, version: Version, holder: str, lease: float | None, look_in: float | None, changes: Changes, now: float
    ) -> Moved | Lost:
        """See :meth:`gateway.ports.store.Store.keep`."""
        intent = self.intents.get(version.id)
        if intent is None:
            return Lost(None)
        repeated = lease is None and intent.holder is None and self.moved_by[intent.id] == holder
        if Version.of(intent) != version or not (repeated or _lease_allows(LeaseRule.OWN, intent, holder, now)):
            return Lost(intent)
        return Moved(self._write(intent, intent.state, intent.epoch, holder, lease, look_in, changes.set(), now))

    def found(
        self, intent_id: str, runtime_id: str, look_in: float | None, changes: Changes, now: float
    ) -> Intent | None:
        """See :meth:`gateway.ports.store.Store.found`."""
        intent = self.intents.get(intent_id)
        if intent is None:
            return None
        values = changes.set()
        if intent.state is not IntentState.DONE:
            transition(intent.state, IntentState.DONE, Who.ANYONE)
            if intent.pinned and intent.state is IntentState.REFUSED:
                self._pin_if_free(intent)
            values["runtime_id"] = runtime_id
            return self._write(intent, IntentState.DONE, intent.epoch, "anyone", None, look_in, values, now)
        outcome = values.get("outcome")
        if runtime_id == intent.runtime_id and intent.outcome is None and outcome is not None:
            return self._put(replace(intent, outcome=outcome, updated_at=now))
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
    ) -> Moved | Lost:
        """See :meth:`gateway.ports.store.Store.decide`."""
        to = IntentState.DONE if decision is Decision.MADE else IntentState.ABSENT
        transition(version.state, to, Who.OPERATOR)
        intent = self.intents.get(version.id)
        if intent is None:
            return Lost(None)
        mark = f"operator {operator}"
        decided = (to, version.epoch, runtime_id, mark)
        if (intent.state, intent.epoch, intent.runtime_id, self.moved_by[intent.id]) == decided:
            return Moved(intent)
        if Version.of(intent) != version:
            return Lost(intent)
        self.told.append(Decided(now, operator, intent.id, decision, runtime_id, note))
        look_in = 0.0 if to is IntentState.ABSENT else None
        values = {**changes.set(), "runtime_id": runtime_id}
        return Moved(self._write(intent, to, intent.epoch, mark, None, look_in, values, now))

    def due(self, holder: str, lease: float, limit: int, now: float) -> Sequence[Intent]:
        """See :meth:`gateway.ports.store.Store.due`."""
        waiting = [
            (intent.due_at, intent)
            for intent in self.intents.values()
            if intent.due_at is not None and intent.due_at <= now and _is_free(intent, now)
        ]
        taken = sorted(waiting, key=lambda due: due[0])[:limit]
        until = now + lease
        return [
            self._put(replace(intent, holder=holder, lease_until=until, due_at=until, updated_at=now), holder)
            for _, intent in taken
        ]

    def by_key(self, principal: str, key: str | None) -> Intent | None:
        """The intent of a principal's key; None for no key."""
        if key is None:
            return None
        return next((one for one in self.intents.values() if (one.principal, one.key) == (principal, key)), None)

    def by_name(self, namespace: str, kind: str, name: str, other_than: str | None) -> Intent | None:
        """See :meth:`gateway.ports.store.Store.by_name`."""
        of_name = (one for one in self._of_name(namespace, kind, name) if one.id != other_than)
        return max(of_name, key=lambda one: (_has_its_name(one), one.created_at, one.id), default=None)

    def list(self, query: IntentQuery) -> Sequence[Intent]:
        """See :meth:`gateway.ports.store.Store.list`."""
        found = [
            intent
            for intent in self.intents.values()
            if intent.state in query.states
            and (intent.surplus or not query.surplus_only)
            and (query.before is None or _age(intent) < query.before)
        ]
        return sorted(found, key=_age, reverse=True)[: query.limit]

    def counts(self, now: float) -> Counts:
        """See :meth:`gateway.ports.store.Store.counts`."""
        unsettled = [intent for intent in self.intents.values() if intent.state in UNSETTLED]
        states = [intent.state for intent in unsettled]
        return Counts(
            unsettled={state: states.count(state) for state in dict.fromkeys(states)},
            surplus=sum(1 for intent in self.intents.values() if intent.surplus),
            oldest_age=max((now - intent.created_at for intent in unsettled), default=0.0),
        )

    def lead(self, duty: str, holder: str, lease: float, now: float) -> bool:
        """See :meth:`gateway.ports.store.Store.lead`."""
        leader, until = self.duties.get(duty, (holder, now))
        if leader != holder and until > now:
            return False
        self.duties[duty] = (holder, now + lease)
        return True

    def purge(self, settled: float, kept: float, limit: int, now: float) -> int:
        """See :meth:`gateway.ports.store.Store.purge`."""
        old = [
            (intent.settled_at, intent)
            for intent in self.intents.values()
            if intent.settled_at is not None
            and intent.settled_at <= now - (max(settled, kept) if intent.surplus else settled)
            and _is_free(intent, now)
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

    def _of_name(self, namespace: str, kind: str, name: str) -> Iterator[Intent]:
        place = (namespace, kind, name)
        return (one for one in self.intents.values() if (one.namespace, one.kind, one.name) == place)

    def _with_name(self, new: NewIntent, namespace: str, other_than: Iterable[str]) -> Intent | None:
        """Another intent that has the name of this one for itself, in a namespace."""
        found = self._of_name(namespace, new.kind, new.name)
        return next((one for one in found if _has_its_name(one) and one.id not in other_than), None)

    def _pinned_elsewhere(self, new: NewIntent, namespace: str) -> Intent | None:
        """Another intent that holds creates of this pin to another namespace than this one."""
        if self.pins.get(_pin(new), namespace) == namespace:
            return None
        return self._other_of_pin(new)

    def _other_of_pin(self, new: NewIntent) -> Intent | None:
        others = (
            one
            for one in self.intents.values()
            if one.pinned and one.id != new.id and one.state is not IntentState.REFUSED and _pin(one) == _pin(new)
        )
        return max(others, key=_age, default=None)

    def _pin_if_free(self, intent: Intent) -> None:
        if self._pinned_elsewhere(intent, intent.namespace) is None:
            self.pins[_pin(intent)] = intent.namespace

    def _unpin(self, intent: Intent) -> None:
        if intent.pinned and self._other_of_pin(intent) is None:
            self.pins.pop(_pin(intent), None)

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


def _pin(new: NewIntent) -> Pin:
    return (new.principal, new.kind, new.name)


def _age(intent: Intent) -> tuple[float, str]:
    return (intent.created_at, intent.id)


def _has_its_name(intent: Intent) -> bool:
    return intent.state in NAMED and intent.superseded_by is None


def _is_free(intent: Intent, now: float) -> bool:
    return intent.lease_until is None or intent.lease_until <= now


def _lease_allows(rule: LeaseRule, intent: Intent, holder: str, now: float) -> bool:
    if rule is LeaseRule.ANY or intent.holder == holder:
        return True
    return rule is LeaseRule.FREE and _is_free(intent, now)
