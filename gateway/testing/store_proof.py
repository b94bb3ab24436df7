"""The part of the contract of stores that is about what ends a doubt: proof, a person, and the reconciler's turn."""

import asyncio

import pytest

from gateway.domain.intents import IntentState, Who
from gateway.ports.store import Changes, Decision, Lost, Version
from gateway.testing.store_subject import LEASE, StoreSubject, begun, bring, create, current, moved


class ProofContract:
    """How an intent is settled."""

    @pytest.mark.parametrize("state", [state for state in IntentState if state is not IntentState.DONE])
    async def test_proof_is_taken_from_anyone_in_every_state(self, stores: StoreSubject, state: IntentState) -> None:
        """Whoever has the lease, and in whichever epoch; it settles the intent."""
        intent = await bring(stores.store, begun(await stores.store.begin(create(), "me", LEASE)), state)
        done = await (await stores.another()).found(
            intent.id, "r-1", changes=Changes(outcome=b"answer", reason="adopted")
        )
        assert done is not None
        assert (done.state, done.epoch, done.runtime_id) == (IntentState.DONE, intent.epoch, "r-1")
        assert (done.outcome, done.reason) == (b"answer", "adopted")
        assert (done.holder, done.lease_until, done.due_at) == (None, None, None)
        assert done.settled_at is not None

    async def test_a_second_runtime_is_surplus_and_changes_nothing_else(self, stores: StoreSubject) -> None:
        """It is told once, however often it is found."""
        intent = begun(await stores.store.begin(create(), "me", LEASE))
        done = await stores.store.found(intent.id, "r-1", changes=Changes(outcome=b"first"))
        assert done is not None
        assert await stores.store.found(intent.id, "r-1", changes=Changes(outcome=b"again")) == done
        await asyncio.gather(
            *(stores.store.found(intent.id, runtime, changes=Changes(outcome=b"x")) for runtime in ("r-2", "r-3") * 4)
        )
        after = await current(stores.store, intent)
        assert (after.runtime_id, after.outcome, after.settled_at) == ("r-1", b"first", done.settled_at)
        assert sorted(after.surplus) == ["r-2", "r-3"]
        assert (await stores.store.counts()).surplus == 1

    async def test_proof_of_an_intent_that_is_gone_is_told_so(self, stores: StoreSubject) -> None:
        assert await stores.store.found("in_none", "r") is None

    async def test_a_person_decides_what_is_parked(self, stores: StoreSubject) -> None:
        """Once, with a line in the audit trail."""
        for decision, state, runtime in (
            (Decision.MADE, IntentState.DONE, "r-1"),
            (Decision.ABSENT, IntentState.ABSENT, None),
        ):
            new = begun(await stores.store.begin(create(decision), "me", LEASE))
            parked = await bring(stores.store, new, IntentState.PARKED)
            before = len(await stores.store.decisions(10))
            for _ in range(2):
                decided = moved(
                    await stores.store.decide(
                        Version.of(parked), decision, "olga", runtime_id=runtime, note="seen by hand"
                    )
                )
                assert (decided.state, decided.runtime_id, decided.epoch) == (state, runtime, parked.epoch)
            told = await stores.store.decisions(10)
            assert len(told) == before + 1
            assert (told[0].operator, told[0].intent_id, told[0].decision) == ("olga", new.id, decision)
            assert (told[0].runtime_id, told[0].note) == (runtime, "seen by hand")
            other = Decision.ABSENT if decision is Decision.MADE else Decision.MADE
            late = await stores.store.decide(Version.of(parked), other, "otto", runtime_id=None if runtime else "r-9")
            assert late == Lost(decided)
            assert await stores.store.decisions(10) == told
        gone = Version("in_none", IntentState.PARKED, 1)
        assert await stores.store.decide(gone, Decision.ABSENT, "olga") == Lost(None)

    async def test_an_intent_whose_lease_ended_is_due(self, stores: StoreSubject) -> None:
        """Once for all replicas: who asks first has it, until that lease ends too."""
        intent = begun(await stores.store.begin(create(), "me", LEASE))
        assert await stores.store.due("you", LEASE, 5) == []
        await stores.advance(LEASE + 1)
        (due,) = await stores.store.due("you", LEASE, 5)
        assert (due.id, due.state, due.epoch, due.holder) == (intent.id, intent.state, intent.epoch, "you")
        assert await (await stores.another()).due("them", LEASE, 5) == []
        assert isinstance(await stores.store.move(Version.of(due), IntentState.REFUSED, Who.HOLDER, "me"), Lost)
        await stores.advance(LEASE + 1)
        assert [found.id for found in await stores.store.due("them", LEASE, 5)] == [intent.id]

    async def test_what_is_due_comes_longest_due_first(self, stores: StoreSubject) -> None:
        """At most as many as asked for; what is due never, or is done, does not come."""
        ids = []
        for number, look_in in enumerate((30.0, 10.0, 20.0, None)):
            intent = begun(await stores.store.begin(create(f"n-{number}"), "me", LEASE))
            after = await stores.store.move(Version.of(intent), IntentState.UNKNOWN, Who.HOLDER, "me", look_in=look_in)
            ids.append(moved(after).id)
        await stores.advance(15)
        assert [intent.id for intent in await stores.store.due("you", 1.0, 5)] == [ids[1]]
        await stores.store.found(ids[1], "r")
        await stores.advance(100)
        assert [intent.id for intent in await stores.store.due("you", 1.0, 1)] == [ids[2]]
        assert [intent.id for intent in await stores.store.due("you", 1.0, 5)] == [ids[0]]

    async def test_what_is_due_goes_to_one_of_many_that_ask(self, stores: StoreSubject) -> None:
        for number in range(12):
            begun(await stores.store.begin(create(f"n-{number}"), "me", 0))
        both = (stores.store, await stores.another())
        shares = await asyncio.gather(*(both[number % 2].due(f"r-{number}", LEASE, 5) for number in range(4)))
        ids = [intent.id for share in shares for intent in share]
        assert len(ids) == len(set(ids))
        rest = await stores.store.due("last", LEASE, 12)
        assert len(ids) + len(rest) == 12
        assert not {intent.id for intent in rest} & set(ids)

    async def test_what_an_absent_one_was_decided_to_be_is_looked_for(self, stores: StoreSubject) -> None:
        """A person may be wrong; the reconciler is due at once."""
        new = begun(await stores.store.begin(create(), "me", LEASE))
        parked = await bring(stores.store, new, IntentState.PARKED)
        await stores.store.decide(Version.of(parked), Decision.ABSENT, "olga")
        assert [intent.id for intent in await stores.store.due("you", LEASE, 5)] == [new.id]
