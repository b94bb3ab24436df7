"""The part of the store contract about resolving unknown outcomes: proof, operator decisions, due intents."""

import asyncio
from typing import Any

import pytest

from gateway.domain.intents import Actor, IntentState, Look
from gateway.ports.moves import StoredSpec
from gateway.ports.store import Changes, Decision, Stale, Version
from tests.contract.store.subject import HERE, LEASE, StoreSubject, begun, bring, create, current, moved


class ProofContract:
    """How an intent is settled."""

    @pytest.mark.parametrize("state", [state for state in IntentState if state is not IntentState.DONE])
    async def test_proof_from_anyone_settles_an_intent_in_every_state(
        self, stores: StoreSubject, state: IntentState
    ) -> None:
        """With any holder of the lease, and in any epoch."""
        intent = await stores.brought(state)
        done = await (await stores.another()).record_created(
            intent.id, "r-1", changes=Changes(outcome=b"answer", reason="adopted")
        )
        assert done is not None
        assert (done.state, done.epoch, done.runtime_id) == (IntentState.DONE, intent.epoch, "r-1")
        assert (done.outcome, done.reason) == (b"answer", "adopted")
        assert (done.holder, done.lease_until, done.due_at) == (None, None, None)
        assert done.settled_at is not None

    async def test_a_second_runtime_is_surplus_and_changes_nothing_else(self, stores: StoreSubject) -> None:
        """It is recorded once, even if it is found again."""
        intent = await stores.begun()
        done = await stores.proven(intent, "r-1", changes=Changes(outcome=b"first"))
        assert await stores.store.record_created(intent.id, "r-1", changes=Changes(outcome=b"again")) == done
        await asyncio.gather(
            *(
                stores.store.record_created(intent.id, runtime, changes=Changes(outcome=b"x"))
                for runtime in ("r-2", "r-3") * 4
            )
        )
        after = await current(stores.store, intent)
        assert (after.runtime_id, after.outcome, after.settled_at) == ("r-1", b"first", done.settled_at)
        assert sorted(after.surplus) == ["r-2", "r-3"]
        assert (await stores.store.counts()).surplus == 1

    async def test_the_first_outcome_for_the_same_runtime_is_added_to_a_done_intent(self, stores: StoreSubject) -> None:
        """Later outcomes, outcomes of other runtimes and other changes are ignored."""
        intent = await stores.begun()
        proven = await stores.proven(intent, "r-1", look_in=30.0, changes=Changes(reason="looked"))
        assert (proven.outcome, proven.reason) == (None, "looked")
        other = await stores.proven(intent, "r-2", changes=Changes(outcome=b"of another"))
        assert other.outcome is None
        again = await stores.store.record_created(intent.id, "r-1", changes=Changes(reason="late"))
        assert again == other
        both = (stores.store, await stores.another())
        answers = await asyncio.gather(
            *(
                both[number % 2].record_created(
                    intent.id, "r-1", look_in=9e9, changes=Changes(outcome=b"answer-%d" % number, reason="late")
                )
                for number in range(6)
            )
        )
        after = await current(stores.store, intent)
        assert {answer.outcome for answer in answers if answer is not None} == {after.outcome}
        assert after.outcome is not None
        assert after.outcome.startswith(b"answer-")
        assert (after.reason, after.due_at, after.settled_at) == ("looked", proven.due_at, proven.settled_at)
        assert (after.runtime_id, after.surplus) == ("r-1", ("r-2",))

    async def test_a_done_intent_with_look_in_becomes_due(self, stores: StoreSubject) -> None:
        """A second runtime may appear later. The claimer may postpone or end the look-ups, and delete the request."""
        intent = await stores.begun(request=b"sealed")
        done = await stores.proven(intent, "r-1", look_in=30.0)
        assert done.due_at == pytest.approx(await stores.store.now() + 30, abs=5)
        assert await stores.store.claim_due("you", LEASE, 5) == []
        await stores.advance(60)
        (due,) = await stores.store.claim_due("you", LEASE, 5)
        assert (due.id, due.state, due.runtime_id, due.holder) == (intent.id, IntentState.DONE, "r-1", "you")
        assert await stores.store.update(Version.of(due), "me") == Stale(due)
        kept = moved(
            await stores.store.update(
                Version.of(due), "you", look_in=600.0, changes=Changes(looks=(Look(9.0, ("r-1",)),))
            )
        )
        assert (kept.state, kept.holder, kept.looks) == (IntentState.DONE, None, (Look(9.0, ("r-1",)),))
        assert (kept.settled_at, kept.request) == (done.settled_at, b"sealed")
        assert kept.due_at == pytest.approx(await stores.store.now() + 600, abs=5)
        await stores.advance(700)
        (due,) = await stores.store.claim_due("you", LEASE, 5)
        last = moved(await stores.store.update(Version.of(due), "you", changes=Changes(request=None)))
        assert (last.holder, last.lease_until, last.due_at, last.request) == (None, None, None, None)
        assert (last.runtime_id, last.settled_at) == ("r-1", done.settled_at)
        await stores.advance(10_000)
        assert await stores.store.claim_due("you", LEASE, 5) == []

    async def test_proof_of_a_second_runtime_keeps_lease_and_due_time(self, stores: StoreSubject) -> None:
        intent = await stores.begun()
        await stores.store.record_created(intent.id, "r-1", look_in=-1.0)
        (due,) = await stores.store.claim_due("you", LEASE, 5)
        after = await stores.proven(intent, "r-2")
        assert (after.surplus, after.holder, after.lease_until) == (("r-2",), "you", due.lease_until)
        assert moved(await stores.store.update(Version.of(due), "you")).surplus == ("r-2",)

    async def test_proof_of_an_intent_that_its_holder_knows_settles_it_as_any_proof(self, stores: StoreSubject) -> None:
        intent = await stores.begun(pinned=True, key="k", before=Look(9.0, ()))
        renewed = moved(await stores.store.update(Version.of(intent), "me", lease=LEASE, changes=Changes(reason="x")))
        changes = Changes(outcome=b"answer", lifetime=None, request=None)
        done = await stores.proven(renewed, "r-1", look_in=30.0, changes=changes, known=renewed)
        assert done == await current(stores.store, intent)
        assert (done.state, done.runtime_id, done.outcome, done.reason) == (IntentState.DONE, "r-1", b"answer", "x")
        assert (done.holder, done.lease_until, done.settled_at) == (None, None, done.updated_at)
        assert done.due_at == done.updated_at + 30.0

    @pytest.mark.parametrize("state", [state for state in IntentState if state is not IntentState.OPEN])
    async def test_proof_reads_an_intent_that_another_holder_has_changed(
        self, stores: StoreSubject, state: IntentState
    ) -> None:
        known = await stores.begun()
        before = await bring(stores.store, known, state)
        done = await stores.proven(known, "r-1", changes=Changes(reason="looked"), known=known)
        assert done == await current(stores.store, known)
        if state is IntentState.DONE:
            assert (done.runtime_id, done.surplus, done.reason) == (before.runtime_id, ("r-1",), None)
        else:
            assert (done.state, done.runtime_id, done.reason) == (IntentState.DONE, "r-1", "looked")

    async def test_proof_reads_an_intent_whose_lease_another_holder_has_taken(self, stores: StoreSubject) -> None:
        """It is open, and in the same epoch."""
        known = await stores.begun()
        await stores.advance(2 * LEASE)
        (due,) = await stores.store.claim_due("you", LEASE, 5)
        looks = (Look(9.0, ()),)
        moved(await stores.store.update(Version.of(due), "you", lease=LEASE, changes=Changes(looks=looks)))
        done = await stores.proven(known, "r-1", known=known)
        assert done == await current(stores.store, known)
        assert (done.state, done.looks) == (IntentState.DONE, looks)

    async def test_every_write_returns_the_intent_as_it_is_stored(self, stores: StoreSubject) -> None:
        store, steps = stores.store, (IntentState.UNKNOWN, IntentState.OPEN, IntentState.ABSENT, IntentState.OPEN)
        intent = await stores.begun(pinned=True, key="k", before=Look(9.0, ("a",)), request=b"sealed", lifetime=60.0)
        assert intent == await current(store, intent)
        for to in steps:
            who = Actor.WAITING_CALLER if to is IntentState.OPEN else Actor.HOLDER
            intent = moved(await stores.move(intent, to, who, changes=Changes(reason=f"to {to}")))
            assert intent == await current(store, intent)
        intent = moved(await store.update(Version.of(intent), "me", look_in=5.0))
        assert intent == await current(store, intent)
        for runtime_id in ("r-1", "r-2"):
            intent = await stores.proven(intent, runtime_id)
            assert intent == await current(store, intent)

    async def test_a_spec_is_stored_with_every_proof(self, stores: StoreSubject) -> None:
        intent = await stores.begun()
        for runtime_id in ("r-1", "r-1", "r-2"):  # the proof, the same again, and a second runtime
            spec = StoredSpec(HERE, runtime_id, b"sealed")
            await stores.proven(intent, runtime_id, spec=spec)
        assert await stores.store.record_created("in_none", "r-3", spec=StoredSpec(HERE, "r-3", b"sealed")) is None
        found = await stores.store.specs(HERE, ["r-1", "r-2", "r-3"])
        assert found == dict.fromkeys(("r-1", "r-2", "r-3"), b"sealed")

    async def test_proof_for_a_missing_intent_returns_none(self, stores: StoreSubject) -> None:
        assert await stores.store.record_created("in_none", "r") is None

    async def test_an_operator_settles_a_parked_intent_once(self, stores: StoreSubject) -> None:
        """Each decision has one entry in the audit trail."""
        for decision, state, runtime in (
            (Decision.MADE, IntentState.DONE, "r-1"),
            (Decision.ABSENT, IntentState.ABSENT, None),
        ):
            parked = await stores.brought(IntentState.PARKED, decision)
            before = len(await stores.store.decisions(10))
            for _ in range(2):
                decided = moved(
                    await stores.store.decide(
                        Version.of(parked), decision, "olga", runtime_id=runtime, note="seen by hand"
                    )
                )
                assert (decided.state, decided.runtime_id, decided.epoch) == (state, runtime, parked.epoch)
            audit = await stores.store.decisions(10)
            assert len(audit) == before + 1
            assert (audit[0].operator, audit[0].intent_id, audit[0].decision) == ("olga", parked.id, decision)
            assert (audit[0].runtime_id, audit[0].note) == (runtime, "seen by hand")
            other = Decision.ABSENT if decision is Decision.MADE else Decision.MADE
            late = await stores.store.decide(Version.of(parked), other, "otto", runtime_id=None if runtime else "r-9")
            assert late == Stale(decided)
            assert await stores.store.decisions(10) == audit
        gone = Version("in_none", IntentState.PARKED, 1)
        assert await stores.store.decide(gone, Decision.ABSENT, "olga") == Stale(None)

    async def test_an_intent_with_an_expired_lease_is_due(self, stores: StoreSubject) -> None:
        """Only one replica claims it, until that lease expires too."""
        intent = await stores.begun()
        assert await stores.store.claim_due("you", LEASE, 5) == []
        await stores.advance(LEASE + 1)
        (due,) = await stores.store.claim_due("you", LEASE, 5)
        assert (due.id, due.state, due.epoch, due.holder) == (intent.id, intent.state, intent.epoch, "you")
        assert await (await stores.another()).claim_due("them", LEASE, 5) == []
        assert isinstance(await stores.store.move(Version.of(due), IntentState.REFUSED, Actor.HOLDER, "me"), Stale)
        await stores.advance(LEASE + 1)
        assert [found.id for found in await stores.store.claim_due("them", LEASE, 5)] == [intent.id]

    async def test_due_intents_are_claimed_longest_due_first(self, stores: StoreSubject) -> None:
        """At most ``limit`` of them; intents without a due time and done intents are not claimed."""
        ids = []
        for number, look_in in enumerate((30.0, 10.0, 20.0, None)):
            intent = await stores.begun(f"n-{number}")
            after = await stores.store.move(
                Version.of(intent), IntentState.UNKNOWN, Actor.HOLDER, "me", look_in=look_in
            )
            ids.append(moved(after).id)
        await stores.advance(15)
        assert [intent.id for intent in await stores.store.claim_due("you", 1.0, 5)] == [ids[1]]
        await stores.store.record_created(ids[1], "r")
        await stores.advance(100)
        assert [intent.id for intent in await stores.store.claim_due("you", 1.0, 1)] == [ids[2]]
        assert [intent.id for intent in await stores.store.claim_due("you", 1.0, 5)] == [ids[0]]

    async def test_a_due_intent_is_claimed_by_one_of_many_replicas(self, stores: StoreSubject) -> None:
        for number in range(12):
            begun(await stores.store.begin(create(f"n-{number}"), "me", 0))
        both = (stores.store, await stores.another())
        shares = await asyncio.gather(*(both[number % 2].claim_due(f"r-{number}", LEASE, 5) for number in range(4)))
        ids = [intent.id for share in shares for intent in share]
        assert len(ids) == len(set(ids))
        rest = await stores.store.claim_due("last", LEASE, 12)
        assert len(ids) + len(rest) == 12
        assert not {intent.id for intent in rest} & set(ids)

    async def test_an_intent_decided_absent_is_due_at_once(self, stores: StoreSubject) -> None:
        """The operator may be wrong, so the reconciler looks for the runtime."""
        parked = await stores.brought(IntentState.PARKED)
        await stores.store.decide(Version.of(parked), Decision.ABSENT, "olga")
        assert [intent.id for intent in await stores.store.claim_due("you", LEASE, 5)] == [parked.id]

    async def test_made_under_returns_the_runtimes_of_all_done_intents_of_a_name(self, stores: StoreSubject) -> None:
        """With surplus, and without runtimes of other names."""
        done: list[Any] = []
        for number in range(3):
            new = await stores.begun()
            done.append(await stores.store.record_created(new.id, f"rt-{number}"))
            await stores.advance(1)
        await stores.store.record_created(done[0].id, "rt-more")
        await stores.brought(IntentState.REFUSED)
        last = await stores.begun()
        other = await stores.begun("two")
        await stores.store.record_created(other.id, "rt-two")
        name = (HERE, "durable", "one")
        assert await stores.store.made_under(*name, other_than=last.id) == {"rt-0", "rt-1", "rt-2", "rt-more"}
        assert await stores.store.made_under(*name, other_than=done[0].id) == {"rt-1", "rt-2"}
        assert await stores.store.by_name(*name, done=True) == done[2]
        assert await stores.store.by_name(*name, done=True, other_than=done[2].id) == done[1]
        assert await stores.store.by_name(HERE, "durable", "two", other_than=other.id, done=True) is None
