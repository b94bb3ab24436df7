"""The part of the contract of stores that is about steps: who may take them, and what is in the way."""

import asyncio
from itertools import product
from typing import Final

import pytest

from gateway.domain.intents import (
    TRANSITIONS,
    Actor,
    ForbiddenTransition,
    Intent,
    IntentAttempt,
    IntentState,
    LeaseRule,
    Look,
    Transition,
)
from gateway.ports.store import Changes, Decision, NameTaken, Stale, Updated, Version
from gateway.testing.store_subject import HERE, LEASE, THERE, StoreSubject, begun, bring, create, current, moved

_MOVES: Final = [step for step in TRANSITIONS if step.target is not IntentState.DONE and step.who is not Actor.OPERATOR]
_MOVE = pytest.mark.parametrize("step", _MOVES, ids=lambda step: f"{step.source}-{step.target}-{step.who}")
_ATTEMPTS: Final = (IntentAttempt(1, "t", 1.5, 2.5, "sent", None, None), IntentAttempt(2, "t", status=201, made=True))


class SettlingContract:
    """How an intent is moved."""

    @_MOVE
    async def test_a_step_is_taken_by_who_may(self, stores: StoreSubject, step: Transition) -> None:
        """It raises the epoch where a new send is allowed, and writes everything that changes."""
        intent = await self._leased(stores, step.source)
        holder = "me" if step.lease is LeaseRule.OWN else intent.holder or "you"
        changes = Changes(
            attempts=_ATTEMPTS,
            looks=(Look(5.0, ()), Look(6.0, ("x",))),
            before=Look(1.0, ("y",)),
            outcome=b"\x00sealed",
            request=None,
            reason="timeout",
            provider_key="rtgw-2",
            generation=7,
            digest=b"d",
            digest_version="1.def",
        )
        after = moved(
            await stores.store.move(
                Version.of(intent), step.target, step.who, holder, lease=LEASE, look_in=7.0, changes=changes
            )
        )
        assert (after.state, after.epoch) == (step.target, intent.epoch + step.next_epoch)
        assert changes.set() == {name: getattr(after, name) for name in changes.set()}
        assert after.holder == holder
        now = await stores.store.now()
        assert after.lease_until == pytest.approx(now + LEASE, abs=5)
        assert after.due_at == pytest.approx(now + 7, abs=5)
        settled = step.target in {IntentState.REFUSED, IntentState.ABSENT}
        assert (after.settled_at is not None) == settled
        assert await (await stores.another()).get(intent.id) == after

    async def _leased(self, stores: StoreSubject, state: IntentState) -> Intent:
        """An intent in a state with its lease held by ``me``."""
        intent = begun(await stores.store.begin(create(), "me", LEASE))
        if state is IntentState.OPEN:
            return intent
        if state is IntentState.UNKNOWN:
            return moved(await stores.store.move(Version.of(intent), state, Actor.HOLDER, "me", lease=LEASE))
        return await bring(stores.store, intent, state)

    @_MOVE
    async def test_a_lease_of_somebody_else_is_in_the_way(self, stores: StoreSubject, step: Transition) -> None:
        """Until it has ended, where the step needs only that it is free."""
        intent = await self._leased(stores, step.source)
        if intent.holder is None:
            intent = moved(
                await stores.store.move(Version.of(intent), IntentState.OPEN, Actor.WAITING_CALLER, "me", lease=LEASE)
            )
            intent = moved(await stores.store.move(Version.of(intent), step.source, Actor.HOLDER, "me", lease=LEASE))
        version = Version.of(intent)
        assert await stores.store.move(version, step.target, step.who, "you", lease=LEASE) == Stale(intent)
        await stores.advance(LEASE + 1)
        answer = await stores.store.move(version, step.target, step.who, "you", lease=LEASE)
        if step.lease is LeaseRule.FREE:
            assert moved(answer).holder == "you"
        else:
            assert answer == Stale(intent)
            assert moved(await stores.store.move(version, step.target, step.who, "me", lease=LEASE)).holder == "me"

    async def test_every_other_step_is_forbidden(self, stores: StoreSubject) -> None:
        allowed = {(step.source, step.target, step.who) for step in TRANSITIONS}
        for source, target, who in product(IntentState, IntentState, Actor):
            if (source, target, who) not in allowed:
                with pytest.raises(ForbiddenTransition):
                    await stores.store.move(Version("in_x", source, 1), target, who, "me", lease=LEASE)

    async def test_proof_and_decisions_are_no_mere_steps(self, stores: StoreSubject) -> None:
        """Nor does a step that sends go without a lease, or one that does not change where an intent goes."""
        intent = begun(await stores.store.begin(create(), "me", LEASE))
        parked = Version(intent.id, IntentState.PARKED, 1)
        calls = (
            stores.store.move(Version.of(intent), IntentState.DONE, Actor.ANYONE, "me"),
            stores.store.move(parked, IntentState.ABSENT, Actor.OPERATOR, "me"),
            stores.store.move(Version.of(intent), IntentState.OPEN, Actor.HOLDER, "me"),
            stores.store.move(
                Version.of(intent), IntentState.UNKNOWN, Actor.HOLDER, "me", changes=Changes(namespace=THERE)
            ),
            stores.store.update(Version.of(intent), "me", changes=Changes(scope="other")),
            stores.store.decide(parked, Decision.MADE, "olga"),
            stores.store.decide(parked, Decision.ABSENT, "olga", runtime_id="r"),
        )
        for call in calls:
            with pytest.raises(ValueError, match=r"proof goes through|needs a lease|where an intent goes|has an id"):
                await call
        assert await stores.store.get(intent.id) == intent

    async def test_a_step_from_an_older_epoch_or_another_state_is_lost(self, stores: StoreSubject) -> None:
        first = begun(await stores.store.begin(create(), "me", LEASE))
        second = moved(await stores.store.move(Version.of(first), IntentState.OPEN, Actor.HOLDER, "me", lease=LEASE))
        assert second.epoch == 2
        for to in (IntentState.REFUSED, IntentState.ABSENT, IntentState.UNKNOWN):
            assert await stores.store.move(Version.of(first), to, Actor.HOLDER, "me") == Stale(second)
        version = Version(first.id, IntentState.UNKNOWN, 2)
        assert await stores.store.move(version, IntentState.PARKED, Actor.RECONCILER, "me") == Stale(second)
        assert await stores.store.update(Version.of(first), "me") == Stale(second)
        assert await stores.store.move(
            Version("in_none", IntentState.OPEN, 1), IntentState.UNKNOWN, Actor.HOLDER, "me"
        ) == Stale(None)
        assert await stores.store.update(Version("in_none", IntentState.OPEN, 1), "me") == Stale(None)

    async def test_a_step_that_is_asked_for_again_is_taken_once(self, stores: StoreSubject) -> None:
        """By the same holder; by anybody else it is lost."""
        first = begun(await stores.store.begin(create(), "me", LEASE))
        for to in (IntentState.OPEN, IntentState.UNKNOWN):
            version = Version.of(first)
            after = await stores.store.move(version, to, Actor.HOLDER, "me", lease=LEASE)
            assert isinstance(after, Updated)
            assert await stores.store.move(version, to, Actor.HOLDER, "me", lease=LEASE) == after
            assert await stores.store.move(version, to, Actor.HOLDER, "you", lease=LEASE) == Stale(after.intent)
            first = after.intent

    async def test_of_many_that_step_at_once_one_does(self, stores: StoreSubject) -> None:
        intent = await bring(stores.store, begun(await stores.store.begin(create(), "me", LEASE)), IntentState.ABSENT)
        both = (stores.store, await stores.another())
        answers = await asyncio.gather(
            *(
                both[number % 2].move(
                    Version.of(intent), IntentState.OPEN, Actor.WAITING_CALLER, f"racer-{number}", lease=LEASE
                )
                for number in range(12)
            )
        )
        (first,) = [answer for answer in answers if isinstance(answer, Updated)]
        assert [answer for answer in answers if answer != first] == [Stale(first.intent)] * 11

    async def test_a_failover_takes_the_name_at_the_other_place(self, stores: StoreSubject) -> None:
        """And gives it back where it was; a create without a provider goes along."""
        first = begun(await stores.store.begin(create(pinned=True), "me", LEASE))
        goes = Changes(namespace=THERE, provider="durable-other", scope="x/y", target="target-2")
        after = moved(
            await stores.store.move(Version.of(first), IntentState.OPEN, Actor.HOLDER, "me", lease=LEASE, changes=goes)
        )
        assert (after.namespace, after.provider, after.scope, after.target) == (
            THERE,
            "durable-other",
            "x/y",
            "target-2",
        )
        assert await stores.store.by_name(HERE, "durable", "one") is None
        begun(await stores.store.begin(create(principal="bob"), "you", LEASE))
        for namespace in (HERE, THERE):
            answer = await stores.store.begin(create(pinned=True, namespace=namespace), "you", LEASE)
            assert answer.intent == after

    async def test_a_failover_does_not_take_what_is_taken(self, stores: StoreSubject) -> None:
        """Neither a name at the other place, nor one that a create without a provider already has elsewhere."""
        other = begun(await stores.store.begin(create(namespace=THERE, principal="bob"), "you", LEASE))
        mine = begun(await stores.store.begin(create(), "me", LEASE))
        goes = Changes(namespace=THERE)
        answer = await stores.store.move(
            Version.of(mine), IntentState.OPEN, Actor.HOLDER, "me", lease=LEASE, changes=goes
        )
        assert answer == NameTaken(other)
        assert await stores.store.get(mine.id) == mine
        done = await bring(
            stores.store,
            begun(await stores.store.begin(create("two", pinned=True), "me", LEASE)),
            IntentState.DONE,
        )
        again = begun(await stores.store.begin(create("two", pinned=True), "me", LEASE))
        answer = await stores.store.move(
            Version.of(again), IntentState.OPEN, Actor.HOLDER, "me", lease=LEASE, changes=goes
        )
        assert answer == NameTaken(done)

    async def test_a_refused_create_is_tried_again_only_while_its_name_is_free(self, stores: StoreSubject) -> None:
        refused = await bring(
            stores.store, begun(await stores.store.begin(create(key="k"), "me", LEASE)), IntentState.REFUSED
        )
        other = begun(await stores.store.begin(create(), "you", LEASE))
        version = Version.of(refused)
        again = Changes(generation=1)
        answer = await stores.store.move(
            version, IntentState.OPEN, Actor.WAITING_CALLER, "me", lease=LEASE, changes=again
        )
        assert answer == NameTaken(other)
        await stores.store.record_created(other.id, "r")
        opened = moved(
            await stores.store.move(version, IntentState.OPEN, Actor.WAITING_CALLER, "me", lease=LEASE, changes=again)
        )
        assert (opened.epoch, opened.generation, opened.settled_at) == (2, 1, None)

    async def test_what_is_learned_is_kept_by_who_has_the_lease(self, stores: StoreSubject) -> None:
        """Keeping renews the lease, or ends it; it is no step."""
        intent = begun(await stores.store.begin(create(), "me", LEASE))
        changes = Changes(attempts=_ATTEMPTS)
        assert await stores.store.update(Version.of(intent), "you", lease=LEASE, changes=changes) == Stale(intent)
        await stores.advance(50)
        kept = moved(await stores.store.update(Version.of(intent), "me", lease=LEASE, changes=changes))
        assert (kept.state, kept.epoch, kept.attempts) == (intent.state, intent.epoch, _ATTEMPTS)
        assert kept.lease_until == pytest.approx(await stores.store.now() + LEASE, abs=5)
        ended = moved(await stores.store.update(Version.of(intent), "me"))
        assert (ended.holder, ended.lease_until) == (None, None)
        assert (await stores.store.update(Version.of(intent), "me")) == Updated(await current(stores.store, intent))
        (due,) = await stores.store.claim_due("you", LEASE, 5)
        assert due.id == intent.id
        assert await stores.store.update(Version.of(intent), "me", changes=changes) == Stale(due)

    async def test_what_has_settled_keeps_the_time_when_it_did(self, stores: StoreSubject) -> None:
        """Looking for late proof makes it no younger."""
        intent = begun(await stores.store.begin(create(), "me", LEASE))
        absent = moved(await stores.store.move(Version.of(intent), IntentState.ABSENT, Actor.HOLDER, "me", lease=LEASE))
        await stores.advance(60)
        kept = moved(await stores.store.update(Version.of(absent), "me", look_in=600))
        assert kept.settled_at == absent.settled_at
        assert kept.due_at == pytest.approx(await stores.store.now() + 600, abs=5)
