"""Shared parts of the store contract: the store under test, its clock, and intents in every state."""

from abc import ABC, abstractmethod
from typing import Any, Final

from gateway.domain.intents import Actor, Intent, IntentState, Look, NewIntent, namespace_of, new_intent_id
from gateway.ports.store import Conflict, Decision, Inserted, NameTaken, Stale, Store, Updated, Version
from gateway.ports.whole_store import WholeStore

HERE: Final = namespace_of("durable", "https://one.example/", "account-1", "acme/research")
THERE: Final = namespace_of("durable", "https://two.example", "account-2", "acme/research")

LEASE: Final = 100.0  # seconds


class StoreSubject(ABC):
    """An open, empty store with the current schema."""

    store: WholeStore

    @abstractmethod
    async def another(self) -> WholeStore:
        """Another open store over the same data, as of another replica. It is closed at the end."""

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Advance the database's clock, for all stores over this data."""

    async def begun(
        self, name: str = "one", *, holder: str = "me", instead_of: Version | None = None, **options: Any
    ) -> Intent:
        """A new intent that was inserted."""
        return begun(await self.store.begin(create(name, **options), holder, LEASE, instead_of=instead_of))

    async def brought(self, state: IntentState, name: str = "one", **options: Any) -> Intent:
        """A new intent in a state."""
        return await bring(self.store, await self.begun(name, **options), state)

    async def move(
        self, intent: Intent, to: IntentState, who: Actor = Actor.HOLDER, holder: str = "me", **options: Any
    ) -> Updated | Stale | NameTaken:
        """The answer to a transition whose holder takes or renews the lease."""
        return await self.store.move(Version.of(intent), to, who, holder, lease=LEASE, **options)

    async def proven(self, intent: Intent, runtime_id: str, **options: Any) -> Intent:
        """The intent after proof that its runtime exists."""
        after = await self.store.record_created(intent.id, runtime_id, **options)
        assert after is not None
        return after


def create(name: str = "one", **options: Any) -> NewIntent:
    """A new intent; ``options`` replace its other fields."""
    defaults: dict[str, Any] = {
        "id": new_intent_id(),
        "principal": "alice",
        "key": None,
        "namespace": HERE,
        "pinned": False,
        "provider": "durable-main",
        "scope": "acme/research",
        "kind": "durable",
        "name": name,
        "operation": "create",
        "digest": b"\x00digest\xff",
        "digest_version": "1.abc",
        "target": "target-1",
    }
    return NewIntent(**defaults | options)


def begun(result: Inserted | Conflict) -> Intent:
    """The inserted intent; fails if it was not inserted."""
    assert isinstance(result, Inserted), result
    return result.intent


def moved(result: Updated | Stale | NameTaken) -> Intent:
    """The updated intent; fails if it was not updated."""
    assert isinstance(result, Updated), result
    return result.intent


def identity(new: NewIntent) -> dict[str, Any]:
    """The fields of an intent that were set when it was inserted."""
    return {field: getattr(new, field) for field in NewIntent.__struct_fields__}


async def bring(store: Store, intent: Intent, state: IntentState) -> Intent:
    """Bring an open intent, whose lease ``me`` has, to a state. In any other state than open it has no lease."""
    version = Version.of(intent)
    if state is IntentState.OPEN:
        return intent
    if state is IntentState.DONE:
        done = await store.record_created(intent.id, f"runtime-of-{intent.id}")
        assert done is not None
        return done
    if state is IntentState.PARKED:
        unknown = moved(await store.move(version, IntentState.UNKNOWN, Actor.HOLDER, "me", lease=LEASE))
        return moved(await store.move(Version.of(unknown), state, Actor.RECONCILER, "me"))
    return moved(await store.move(version, state, Actor.HOLDER, "me"))


async def current(store: Store, intent: Intent) -> Intent:
    """The current value of the intent."""
    found = await store.get(intent.id)
    assert found is not None
    return found


async def settle(store: Store, intent: Intent, decision: Decision) -> Intent:
    """Settle a parked intent by an operator's decision."""
    made = f"runtime-of-{intent.id}" if decision is Decision.MADE else None
    return moved(await store.decide(Version.of(intent), decision, "olga", runtime_id=made))


SEEN: Final = Look(1234.5, ("a", "b"))
