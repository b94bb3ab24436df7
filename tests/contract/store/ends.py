"""The part of the store contract about planned ends (:mod:`gateway.ports.places`)."""

import asyncio

import pytest

from gateway.domain.ids import RuntimeRef
from gateway.domain.intents import IntentAttempt, IntentState
from gateway.ports.store import Changes, Decision, Version
from tests.contract.store.subject import StoreSubject, bring

REF = RuntimeRef("acme/research", "r-1", "one")


class EndsContract:
    """A runtime has one planned end; see :class:`tests.contract.store.contract`."""

    async def test_a_planned_end_counts_from_now_and_replaces_the_earlier_one(self, stores: StoreSubject) -> None:
        before = await stores.store.now()
        end = await stores.store.plan_end("one", REF, "shop", 3600)
        assert (end.provider, end.runtime_id, end.scope, end.name) == ("one", "r-1", "acme/research", "one")
        assert (end.principal, end.instance) == ("shop", None)
        assert before + 3600 <= end.due_at <= await stores.store.now() + 3600
        assert end.due_in == pytest.approx(3600, abs=5)
        assert await stores.store.keep_end(end, instance="i-1", look_in=None)
        again = await stores.store.plan_end("one", RuntimeRef("s", "r-1"), "bank", 60)
        (shown,) = await (await stores.another()).planned_ends(10)
        assert (shown.scope, shown.name, shown.principal, shown.instance) == ("s", None, "bank", None)
        assert shown.due_at == again.due_at
        other = await stores.store.planned_end("two", "r-1")
        assert other is None

    async def test_ends_are_taken_when_they_are_to_be_looked_at(self, stores: StoreSubject) -> None:
        first = await stores.store.plan_end("one", REF, "shop", 1000)
        await stores.store.plan_end("one", RuntimeRef("s", "r-2"), "shop", 1000)
        assert await stores.store.take_ends(10, 20) == []
        assert await stores.store.keep_end(first, instance="i-1", look_in=None)
        await stores.advance(20)
        assert [end.runtime_id for end in await stores.store.take_ends(10, 20)] == ["r-2"]
        assert await stores.store.take_ends(10, 20) == []
        await stores.advance(1000)
        taken = await stores.store.take_ends(10, 20)
        assert sorted(end.runtime_id for end in taken) == ["r-1", "r-2"]
        assert all(end.due_in < 0 for end in taken)
        assert {end.instance for end in taken} == {"i-1", None}

    async def test_replicas_take_different_ends(self, stores: StoreSubject) -> None:
        for number in range(6):
            await stores.store.plan_end("one", RuntimeRef("s", f"r-{number}"), "shop", 1)
        await stores.advance(5)
        replicas = [stores.store, await stores.another()]
        taken = await asyncio.gather(*(store.take_ends(2, 100) for store in replicas for _ in range(2)))
        ids = [end.runtime_id for ends in taken for end in ends]
        assert len(ids) == len(set(ids))
        ids += [end.runtime_id for end in await stores.store.take_ends(6, 100)]
        assert sorted(ids) == [f"r-{number}" for number in range(6)]

    async def test_an_end_that_was_replaced_is_not_changed(self, stores: StoreSubject) -> None:
        old = await stores.store.plan_end("one", REF, "shop", 10)
        await stores.advance(1)
        new = await stores.store.plan_end("one", REF, "shop", 10)
        assert not await stores.store.keep_end(old, instance="i-1", look_in=5)
        assert not await stores.store.drop_end(old)
        found = await stores.store.planned_end("one", "r-1")
        assert found is not None
        assert (found.due_at, found.instance) == (new.due_at, None)
        assert await stores.store.drop_end(new)
        assert not await stores.store.drop_end(new)
        assert await stores.store.planned_ends(10) == []

    @pytest.mark.parametrize("state", IntentState)
    async def test_proof_of_a_create_with_a_lifetime_plans_its_end(
        self, stores: StoreSubject, state: IntentState
    ) -> None:
        """From its last send on, in every state, and once."""
        new = await stores.begun("one", lifetime=100.0)
        intent = new if state is IntentState.OPEN else await bring(stores.store, new, state)
        sent = await stores.store.now() - 30
        attempts = (IntentAttempt(epoch=1, target="t", first_send=sent - 50), IntentAttempt(1, "t", first_send=sent))
        await stores.proven(intent, "r-1", changes=Changes(attempts=attempts))
        (end, *surplus) = sorted(await stores.store.planned_ends(10), key=lambda end: end.runtime_id)
        assert (end.provider, end.principal, end.name) == (new.provider, new.principal, new.name)
        if state is IntentState.DONE:  # it had a runtime, so this one is surplus
            assert len(surplus) == 1
            return
        assert end.due_at == pytest.approx(sent + 100)
        await stores.store.keep_end(end, instance="i-1", look_in=None)
        await stores.proven(intent, "r-1", changes=Changes(outcome=b"x"))
        assert [each.instance for each in await stores.store.planned_ends(10)] == ["i-1"]

    async def test_an_operators_decision_plans_the_end_and_an_existing_runtime_has_none(
        self, stores: StoreSubject
    ) -> None:
        parked = await stores.brought(IntentState.PARKED, "one", lifetime=100.0)
        await stores.store.decide(Version.of(parked), Decision.MADE, "ops", runtime_id="r-1")
        assert [end.runtime_id for end in await stores.store.planned_ends(10)] == ["r-1"]
        existing = await stores.begun("two", lifetime=100.0)
        await stores.proven(existing, "r-2", changes=Changes(lifetime=None))
        await stores.proven(await stores.begun("three"), "r-3")
        assert [end.runtime_id for end in await stores.store.planned_ends(10)] == ["r-1"]
