"""A store under test: how the suite reaches it, moves its clock, and the creates that it writes down."""

from abc import ABC, abstractmethod
from typing import Any, Final

from gateway.domain.intents import Actor, Intent, IntentState, Look, NewIntent, namespace_of, new_intent_id
from gateway.ports.store import Conflict, Decision, Inserted, NameTaken, Stale, Store, Updated, Version

HERE: Final = namespace_of("durable", "https://one.example/", "account-1", "acme/research")
THERE: Final = namespace_of("durable", "https://two.example", "account-2", "acme/research")

LEASE: Final = 100.0  # seconds


class StoreSubject(ABC):
    """A store, open and up to date, that nothing was written to."""

    store: Store

    @abstractmethod
    async def another(self) -> Store:
        """One more store over the same data, as another replica has it. It is closed at the end."""

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Move the database's clock, for all stores over this data."""


def create(name: str = "one", **options: Any) -> NewIntent:
    """A create that is about to be sent."""
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
    """The intent that was written."""
    assert isinstance(result, Inserted), result
    return result.intent


def moved(result: Updated | Stale | NameTaken) -> Intent:
    """The intent that was changed."""
    assert isinstance(result, Updated), result
    return result.intent


def identity(new: NewIntent) -> dict[str, Any]:
    """What was given when it was begun, of an intent of any age."""
    return {field: getattr(new, field) for field in NewIntent.__dataclass_fields__}


async def bring(store: Store, intent: Intent, state: IntentState) -> Intent:
    """Move an intent that is open and leased by ``me`` to a state. Further on it is nobody's."""
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
    """The intent as it is now."""
    found = await store.get(intent.id)
    assert found is not None
    return found


async def settle(store: Store, intent: Intent, decision: Decision) -> Intent:
    """Decide a parked intent."""
    made = f"runtime-of-{intent.id}" if decision is Decision.MADE else None
    return moved(await store.decide(Version.of(intent), decision, "olga", runtime_id=made))


SEEN: Final = Look(1234.5, ("a", "b"))
