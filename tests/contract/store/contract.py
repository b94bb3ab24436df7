"""The contract of stores: the promises of :class:`gateway.ports.store.Store`, as tests.

Subclass :class:`StoreContract` in a test module, provide a fixture ``stores`` that returns an empty
:class:`tests.contract.store.subject.StoreSubject`, and run it with pytest and pytest-asyncio in its auto mode.
"""

import asyncio

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.intents import HOLDS_NAME, UNSETTLED, Actor, IntentState
from gateway.ports.intent_query import IntentQuery
from gateway.ports.moves import StoredSpec
from gateway.ports.store import Conflict, ConflictReason, Decision, Inserted, Version
from tests.contract.store.access import AccessContract
from tests.contract.store.audit import AuditContract
from tests.contract.store.ends import EndsContract
from tests.contract.store.kept_creates import KeptCreatesContract
from tests.contract.store.moves import MovesContract
from tests.contract.store.places import PlacesContract
from tests.contract.store.proof import ProofContract
from tests.contract.store.settling import SettlingContract
from tests.contract.store.spellings import SpellingsContract
from tests.contract.store.subject import (
    HERE,
    LEASE,
    SEEN,
    THERE,
    StoreSubject,
    begun,
    bring,
    create,
    identity,
    moved,
    settle,
)

_STATES = pytest.mark.parametrize("state", IntentState)


class StoreContract(
    SettlingContract,
    ProofContract,
    SpellingsContract,
    AccessContract,
    EndsContract,
    PlacesContract,
    AuditContract,
    MovesContract,
    KeptCreatesContract,
):
    """The behaviour of every store, on any database."""

    async def test_a_new_intent_is_open_and_has_its_fields(self, stores: StoreSubject) -> None:
        """Bytes, texts and numbers are read unchanged, also by other replicas."""
        new = create(
            "näme", key='k"1', request=bytes(range(256)), provider_key="rtgw-1", generation=3, before=SEEN, pinned=True
        )
        intent = begun(await stores.store.begin(new, "me", LEASE))
        assert identity(intent) == identity(new)
        assert (intent.state, intent.epoch, intent.holder) == (IntentState.OPEN, 1, "me")
        assert (intent.attempts, intent.looks, intent.surplus) == ((), (), ())
        assert (intent.outcome, intent.runtime_id, intent.settled_at) == (None, None, None)
        assert await (await stores.another()).get(new.id) == intent

    async def test_times_are_from_the_databases_clock(self, stores: StoreSubject) -> None:
        await stores.advance(1_000_000)
        before = await stores.store.now()
        intent = await stores.begun()
        after = await stores.store.now()
        assert before <= intent.created_at <= after
        assert intent.lease_until is not None
        assert before + LEASE <= intent.lease_until <= after + LEASE
        assert intent.due_at == pytest.approx(intent.lease_until, abs=1)

    async def test_a_key_belongs_to_its_principal(self, stores: StoreSubject) -> None:
        """One key of one principal has one intent, even if all else differs. Two principals may use the same key."""
        first = await stores.begun("one", key="k")
        again = await stores.store.begin(create("two", key="k", namespace=THERE, kind="browser"), "you", LEASE)
        assert again == Conflict(first, ConflictReason.KEY)
        other = await stores.begun("two", key="k", principal="bob", holder="you")
        assert other.id != first.id
        assert await stores.store.by_key("alice", "k") == first
        assert await stores.store.by_key("bob", "k") == other
        assert await stores.store.by_key("bob", "other") is None

    @_STATES
    async def test_a_key_conflicts_with_its_intent_in_every_state(
        self, stores: StoreSubject, state: IntentState
    ) -> None:
        intent = await stores.brought(state, "one", key="k")
        assert await stores.store.begin(create("two", key="k"), "you", LEASE) == Conflict(intent, ConflictReason.KEY)

    @_STATES
    async def test_a_name_conflicts_while_its_runtime_may_be_created(
        self, stores: StoreSubject, state: IntentState
    ) -> None:
        """Within its namespace and kind, for every principal."""
        intent = await stores.brought(state)
        answer = await stores.store.begin(create(principal="bob", key="k"), "you", LEASE)
        if state in HOLDS_NAME:
            assert answer == Conflict(intent, ConflictReason.NAME)
            assert await stores.store.by_key("bob", "k") is None
        else:
            assert begun(answer).id != intent.id
        await stores.begun(namespace=THERE, holder="you")
        await stores.begun(kind="browser", holder="you")

    async def test_a_key_conflict_takes_precedence_over_a_name_conflict(self, stores: StoreSubject) -> None:
        named = await stores.begun("one")
        keyed = await stores.begun("two", key="k")
        assert await stores.store.begin(create("one", key="k"), "you", LEASE) == Conflict(keyed, ConflictReason.KEY)
        assert await stores.store.begin(create("one", key="other"), "you", LEASE) == Conflict(
            named, ConflictReason.NAME
        )

    async def test_a_repeated_begin_returns_the_same_intent(self, stores: StoreSubject) -> None:
        """A holder may repeat a begin whose result was lost, until the intent has changed."""
        for key in ("k", None):
            new = create(f"name-{key}", key=key)
            intent = begun(await stores.store.begin(new, "me", LEASE))
            assert await stores.store.begin(new, "me", LEASE) == Inserted(intent)
            assert isinstance(await stores.store.begin(new, "you", LEASE), Conflict)
            unknown = await bring(stores.store, intent, IntentState.UNKNOWN)
            assert await stores.store.begin(new, "me", LEASE) == Conflict(unknown, ConflictReason.KEY)

    @_STATES
    async def test_a_pinned_create_conflicts_in_another_namespace_unless_the_first_was_refused(
        self, stores: StoreSubject, state: IntentState
    ) -> None:
        """A create that names its provider is not pinned."""
        first = await stores.brought(state, pinned=True)
        elsewhere = await stores.store.begin(create(pinned=True, namespace=THERE), "you", LEASE)
        if state is IntentState.REFUSED:
            assert begun(elsewhere).namespace == THERE
        else:
            assert elsewhere == Conflict(first, ConflictReason.PIN)
            await stores.begun(namespace=THERE, holder="you")
        await stores.begun(pinned=True, namespace=THERE, principal="bob", name="bob", holder="y")

    async def test_a_refused_create_keeps_a_pin_that_another_intent_needs(self, stores: StoreSubject) -> None:
        done = await stores.brought(IntentState.DONE, pinned=True)
        await stores.brought(IntentState.REFUSED, pinned=True)
        answer = await stores.store.begin(create(pinned=True, namespace=THERE), "you", LEASE)
        assert answer == Conflict(done, ConflictReason.PIN)
        await stores.advance(90_000)
        assert await stores.store.purge(settled=86_400, kept=86_400, limit=10) == 2
        await stores.begun(pinned=True, namespace=THERE, holder="you")

    async def test_an_absent_intent_is_superseded_on_request(self, stores: StoreSubject) -> None:
        """Its key still finds it, and late proof still makes it done."""
        old = await stores.brought(IntentState.ABSENT, key="old")
        new = create(key="new")
        intent = begun(await stores.store.begin(new, "you", LEASE, instead_of=Version.of(old)))
        assert begun(await stores.store.begin(new, "you", LEASE, instead_of=Version.of(old))) == intent
        assert await stores.store.by_name(HERE, "durable", "one") == intent
        known = await stores.store.by_key("alice", "old")
        assert known is not None
        assert (known.state, known.superseded_by) == (IntentState.ABSENT, new.id)
        late = await stores.proven(old, "late")
        assert (late.state, late.runtime_id) == (IntentState.DONE, "late")

    async def test_only_an_absent_intent_is_superseded(self, stores: StoreSubject) -> None:
        old = await stores.begun()
        claimed = Version(old.id, IntentState.ABSENT, old.epoch)
        assert await stores.store.begin(create(), "you", LEASE, instead_of=claimed) == Conflict(
            old, ConflictReason.NAME
        )
        assert await stores.store.get(old.id) == old

    async def test_of_concurrent_begins_one_inserts(self, stores: StoreSubject) -> None:
        """On two replicas, with the same key, the same name, or the same pin."""
        both = (stores.store, await stores.another())
        for options in ({"key": "k"}, {}, {"pinned": True}):
            racers = [
                both[number % 2].begin(
                    create(
                        f"race-{len(options)}-{options}",
                        **options,
                        namespace=(HERE, THERE)[number // 2 % 2] if "pinned" in options else HERE,
                    ),
                    f"racer-{number}",
                    LEASE,
                )
                for number in range(16)
            ]
            answers = await asyncio.gather(*racers)
            (first,) = [answer.intent for answer in answers if isinstance(answer, Inserted)]
            assert {answer.intent.id for answer in answers} == {first.id}

    async def test_by_name_returns_the_holder_or_the_newest_former_holder(self, stores: StoreSubject) -> None:
        assert await stores.store.by_name(HERE, "durable", "one") is None
        first = await stores.brought(IntentState.ABSENT)
        refused = await stores.brought(IntentState.REFUSED, instead_of=Version.of(first))
        assert await stores.store.by_name(HERE, "durable", "one") == refused
        third = await stores.begun()
        assert await stores.store.by_name(HERE, "durable", "one") == third
        assert await stores.store.by_name(HERE, "durable", "one", other_than=third.id) == refused
        assert await stores.store.by_name(HERE, "durable", "one", other_than=refused.id) == third
        only = await stores.begun("two")
        assert await stores.store.by_name(HERE, "durable", "two", other_than=only.id) is None

    async def test_pages_of_intents_are_newest_first_and_complete(self, stores: StoreSubject) -> None:
        """Also for intents of the same moment, and while intents are inserted."""
        made = [await stores.begun(f"n-{number}") for number in range(7)]
        seen: list[str] = []
        before = None
        while page := await stores.store.list(IntentQuery(limit=2, before=before)):
            seen += [intent.id for intent in page]
            before = (page[-1].created_at, page[-1].id)
            await stores.begun(f"later-{len(seen)}")
        expected = sorted(made, key=lambda intent: (intent.created_at, intent.id), reverse=True)
        assert seen == [intent.id for intent in expected]

    async def test_intents_are_listed_by_state_and_surplus(self, stores: StoreSubject) -> None:
        made = {state: await stores.brought(state, state) for state in IntentState}
        for state in IntentState:
            assert await stores.store.list(IntentQuery(states=frozenset({state}))) == [made[state]]
        assert await stores.store.list(IntentQuery(surplus_only=True)) == []
        surplus = await stores.store.record_created(made[IntentState.DONE].id, "second")
        assert await stores.store.list(IntentQuery(surplus_only=True)) == [surplus]

    async def test_unsettled_intents_are_counted(self, stores: StoreSubject) -> None:
        empty = await stores.store.counts()
        assert (dict(empty.unsettled), empty.surplus, empty.oldest_age) == ({}, 0, 0.0)
        for state in IntentState:
            await stores.brought(state, state)
        await stores.advance(500)
        await stores.brought(IntentState.UNKNOWN)
        counts = await stores.store.counts()
        assert dict(counts.unsettled) == {state: 1 + (state is IntentState.UNKNOWN) for state in UNSETTLED}
        assert 500 <= counts.oldest_age < 600

    async def test_decisions_are_listed_newest_first(self, stores: StoreSubject) -> None:
        """They outlive their intents."""
        for name, decision in (("one", Decision.MADE), ("two", Decision.ABSENT)):
            await settle(stores.store, await stores.brought(IntentState.PARKED, name), decision)
            await stores.advance(1)
        await stores.advance(200_000)
        assert await stores.store.purge(settled=86_400, kept=86_400, limit=10) == 2
        audit = await stores.store.decisions(10)
        assert [(line.operator, line.decision) for line in audit] == [
            ("olga", Decision.ABSENT),
            ("olga", Decision.MADE),
        ]
        assert await stores.store.decisions(1) == audit[:1]

    async def test_specs_are_stored_replaced_and_deleted(self, stores: StoreSubject) -> None:
        store = stores.store
        await store.keep_spec(StoredSpec(HERE, "a", b"\x00one"))
        await store.keep_spec(StoredSpec(HERE, "a", b"two\xff"))
        await store.keep_spec(StoredSpec(HERE, "b", b"three"))
        await store.keep_spec(StoredSpec(THERE, "a", b"other"))
        assert await store.specs(HERE, ["a", "b", "c"]) == {"a": b"two\xff", "b": b"three"}
        assert await store.specs(HERE, []) == {}
        await store.drop_spec(HERE, "a")
        await store.drop_spec(HERE, "a")
        assert await store.specs(HERE, ["a"]) == {}
        assert await store.specs(THERE, ["a"]) == {"a": b"other"}

    async def test_old_specs_are_purged(self, stores: StoreSubject) -> None:
        await stores.store.keep_spec(StoredSpec(HERE, "old", b"1"))
        await stores.advance(100)
        await stores.store.keep_spec(StoredSpec(HERE, "new", b"2"))
        assert await stores.store.purge(settled=1000, kept=50, limit=10) == 1
        assert await stores.store.specs(HERE, ["old", "new"]) == {"new": b"2"}

    async def test_a_role_has_one_leader_until_its_lease_ends(self, stores: StoreSubject) -> None:
        """The leader may renew or release it. Other roles are independent."""
        both = (stores.store, await stores.another())
        racers = [both[number % 2].acquire_leadership("probes", f"racer-{number}", LEASE) for number in range(8)]
        first = [number for number, leads in enumerate(await asyncio.gather(*racers)) if leads]
        assert len(first) == 1
        leader, store = f"racer-{first[0]}", both[1 - first[0] % 2]
        await stores.advance(LEASE - 10)
        assert await store.acquire_leadership("probes", leader, LEASE)
        await stores.advance(LEASE - 10)
        assert not await store.acquire_leadership("probes", "other", LEASE)
        assert await store.acquire_leadership("purge", "other", LEASE)
        await stores.advance(20)
        assert await store.acquire_leadership("probes", "other", LEASE)
        assert not await store.acquire_leadership("probes", leader, LEASE)
        assert await store.acquire_leadership("probes", "other", 0.0)
        assert await store.acquire_leadership("probes", leader, LEASE)

    async def test_a_purge_deletes_intents_that_settled_long_ago(self, stores: StoreSubject) -> None:
        """Not unsettled ones and not leased ones; those with surplus only after their longer retention."""
        made = {}
        for state in IntentState:
            intent = begun(await stores.store.begin(create(state, key=state), "me", 1_000_000))
            made[state] = await bring(stores.store, intent, state)
        surplus = await stores.begun("surplus")
        for runtime in ("first", "second"):
            await stores.store.record_created(surplus.id, runtime)
        held = await stores.begun("looked-at")
        absent = moved(await stores.store.move(Version.of(held), IntentState.ABSENT, Actor.HOLDER, "me", lease=5000))
        await stores.advance(1000)
        assert await stores.store.purge(settled=1001, kept=1001, limit=10) == 0
        assert await stores.store.purge(settled=900, kept=5000, limit=2) == 2
        assert await stores.store.purge(settled=900, kept=5000, limit=2) == 1
        left = {intent.id for intent in await stores.store.list(IntentQuery())}
        assert left == {made[state].id for state in UNSETTLED} | {surplus.id, absent.id}
        assert await stores.store.purge(settled=900, kept=900, limit=9) == 1
        await stores.begun(key=IntentState.DONE)

    async def test_an_open_store_answers_ping_and_may_be_opened_again(self, stores: StoreSubject) -> None:
        await stores.store.ping()
        assert await stores.store.now() > 1_700_000_000
        await stores.store.open()

    async def test_a_closed_store_is_unavailable(self, stores: StoreSubject) -> None:
        """It may be closed twice and opened again."""
        other = await stores.another()
        await other.close()
        await other.close()
        for call in (other.ping(), other.now(), other.get("in_x"), other.begin(create(), "me", LEASE)):
            with pytest.raises(StoreUnavailable) as caught:
                await call
            assert caught.value.retry_after
        await other.open()
        begun(await other.begin(create(), "me", LEASE))
