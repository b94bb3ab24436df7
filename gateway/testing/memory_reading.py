"""Reading the rows of a store in memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.domain.intents import HOLDS_NAME, UNSETTLED, Intent, IntentState, NewIntent
from gateway.ports.store import Counts, DecisionRecord, IntentQuery

Pin: TypeAlias = tuple[str, str, str]
"""The principal, kind and name of creates that named no provider."""


@dataclass(slots=True)
class MemoryReading:
    """The rows, and what is asked of them. ``moved_by`` is who moved an intent last: who asks for the same step again
    is told that it was taken."""

    intents: dict[str, Intent] = field(default_factory=dict)
    moved_by: dict[str, str] = field(default_factory=dict)
    pins: dict[Pin, str] = field(default_factory=dict)
    told: list[DecisionRecord] = field(default_factory=list)
    specs: dict[tuple[str, str], tuple[bytes, float]] = field(default_factory=dict)
    duties: dict[str, tuple[str, float]] = field(default_factory=dict)

    def by_key(self, principal: str, key: str | None) -> Intent | None:
        """The intent of a principal's key; None for no key."""
        if key is None:
            return None
        return next((one for one in self.intents.values() if (one.principal, one.key) == (principal, key)), None)

    def by_name(
        self, namespace: str, kind: str, name: str, other_than: str | None, *, done: bool = False
    ) -> Intent | None:
        """See :meth:`gateway.ports.store.Store.by_name`."""
        states = {IntentState.DONE} if done else set(IntentState)
        of_name = (o for o in self._of_name(namespace, kind, name) if o.id != other_than and o.state in states)
        return max(of_name, key=lambda one: (has_its_name(one), one.created_at, one.id), default=None)

    def made_under(self, namespace: str, kind: str, name: str, other_than: str) -> frozenset[str]:
        """See :meth:`gateway.ports.store.Store.made_under`."""
        others = (one for one in self._of_name(namespace, kind, name) if one.id != other_than)
        return frozenset(made for one in others if one.runtime_id for made in (one.runtime_id, *one.surplus))

    def list(self, query: IntentQuery) -> Sequence[Intent]:
        """See :meth:`gateway.ports.store.Store.list`."""
        found = [
            intent
            for intent in self.intents.values()
            if intent.state in query.states
            and (intent.surplus or not query.surplus_only)
            and (query.before is None or age_of(intent) < query.before)
        ]
        return sorted(found, key=age_of, reverse=True)[: query.limit]

    def counts(self, now: float) -> Counts:
        """See :meth:`gateway.ports.store.Store.counts`."""
        unsettled = [intent for intent in self.intents.values() if intent.state in UNSETTLED]
        states = [intent.state for intent in unsettled]
        return Counts(
            unsettled={state: states.count(state) for state in dict.fromkeys(states)},
            surplus=sum(1 for intent in self.intents.values() if intent.surplus),
            oldest_age=max((now - intent.created_at for intent in unsettled), default=0.0),
        )

    def _of_name(self, namespace: str, kind: str, name: str) -> Iterator[Intent]:
        place = (namespace, kind, name)
        return (one for one in self.intents.values() if (one.namespace, one.kind, one.name) == place)

    def with_name(self, new: NewIntent, namespace: str, other_than: Iterable[str]) -> Intent | None:
        """Another intent that has the name of this one for itself, in a namespace."""
        found = self._of_name(namespace, new.kind, new.name)
        return next((one for one in found if has_its_name(one) and one.id not in other_than), None)

    def pinned_elsewhere(self, new: NewIntent, namespace: str) -> Intent | None:
        """Another intent that holds creates of this pin to another namespace than this one."""
        if self.pins.get(pin_of(new), namespace) == namespace:
            return None
        return self.other_of_pin(new)

    def other_of_pin(self, new: NewIntent) -> Intent | None:
        """Another intent that is a reason for the pin of this one."""
        others = (
            one
            for one in self.intents.values()
            if one.pinned and one.id != new.id and one.state is not IntentState.REFUSED and pin_of(one) == pin_of(new)
        )
        return max(others, key=age_of, default=None)


def pin_of(new: NewIntent) -> Pin:
    """The pin of an intent, if it is pinned."""
    return (new.principal, new.kind, new.name)


def age_of(intent: Intent) -> tuple[float, str]:
    """What orders intents by age."""
    return (intent.created_at, intent.id)


def has_its_name(intent: Intent) -> bool:
    """Whether an intent has its name for itself."""
    return intent.state in HOLDS_NAME and intent.superseded_by is None


def is_free(intent: Intent, now: float) -> bool:
    """Whether nobody has the lease of an intent."""
    return intent.lease_until is None or intent.lease_until <= now
