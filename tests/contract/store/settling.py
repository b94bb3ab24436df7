"""The part of the store contract about transitions: who may make them, and what prevents them."""

import asyncio
from itertools import product
from typing import Any, Final

import pytest

from gateway.domain.access import Restrictions
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
from gateway.ports.intent_query import IntentQuery
from gateway.ports.store import Changes, Decision, NameTaken, Stale, Updated, Version
from tests.contract.store.subject import HERE, LEASE, THERE, StoreSubject, begun, bring, create, current, moved

_TRANSITIONS: Final = [
    step for step in TRANSITIONS if step.target is not IntentState.DONE and step.who is not Actor.OPERATOR
]
_EACH = pytest.mark.parametrize("step", _TRANSITIONS, ids=lambda step: f"{step.source}-{step.target}-{step.who}")
_ATTEMPTS: Final = (IntentAttempt(1, "t", 1.5, 2.5, "sent", None, None), IntentAttempt(2, "t", status=201, made=True))


class SettlingContract:
    """How an intent changes its state."""

    @_EACH
    async def test_a_permitted_transition_is_made(self, stores: StoreSubject, step: Transition) -> None:
        """It raises the epoch if it permits a new send, and writes all changes."""
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
        after = moved(await stores.move(intent, step.target, step.who, holder, look_in=7.0, changes=changes))
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
        """An intent in a state; ``me`` has its lease, if it has one."""
        intent = await stores.begun()
        if state is IntentState.OPEN:
            return intent
        if state is IntentState.UNKNOWN:
            return moved(await stores.move(intent, state))
        return await bring(stores.store, intent, state)

    @_EACH
    async def test_the_lease_of_another_holder_prevents_a_transition(
        self, stores: StoreSubject, step: Transition
    ) -> None:
        """A transition that needs a free lease is possible once the lease has expired."""
        intent = await self._leased(stores, step.source)
        if intent.holder is None:
            intent = moved(await stores.move(intent, IntentState.OPEN, Actor.WAITING_CALLER))
            intent = moved(await stores.move(intent, step.source))
        assert await stores.move(intent, step.target, step.who, "you") == Stale(intent)
        await stores.advance(LEASE + 1)
        answer = await stores.move(intent, step.target, step.who, "you")
        if step.lease is LeaseRule.FREE:
            assert moved(answer).holder == "you"
        else:
            assert answer == Stale(intent)
            assert moved(await stores.move(intent, step.target, step.who)).holder == "me"

    async def test_every_other_transition_is_forbidden(self, stores: StoreSubject) -> None:
        allowed = {(step.source, step.target, step.who) for step in TRANSITIONS}
        for source, target, who in product(IntentState, IntentState, Actor):
            if (source, target, who) not in allowed:
                with pytest.raises(ForbiddenTransition):
                    await stores.store.move(Version("in_x", source, 1), target, who, "me", lease=LEASE)

    async def test_invalid_arguments_raise_value_error_and_change_nothing(self, stores: StoreSubject) -> None:
        """Proof or a decision as a transition, a send without a lease, a target without a send, a wrong runtime id."""
        intent = await stores.begun()
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
            with pytest.raises(
                ValueError, match=r"needs record_created|needs a lease|may change namespace|needs a runtime id"
            ):
                await call
        assert await stores.store.get(intent.id) == intent

    async def test_a_transition_from_an_older_epoch_or_another_state_is_stale(self, stores: StoreSubject) -> None:
        first = await stores.begun()
        second = moved(await stores.move(first, IntentState.OPEN))
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

    async def test_a_repeated_transition_is_made_once(self, stores: StoreSubject) -> None:
        """The same holder gets the same result; another holder gets ``Stale``."""
        first = await stores.begun()
        for to in (IntentState.OPEN, IntentState.UNKNOWN):
            after = await stores.move(first, to)
            assert isinstance(after, Updated)
            assert await stores.move(first, to) == after
            assert await stores.move(first, to, holder="you") == Stale(after.intent)
            first = after.intent

    async def test_of_concurrent_transitions_one_is_made(self, stores: StoreSubject) -> None:
        intent = await stores.brought(IntentState.ABSENT)
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

    async def test_a_failover_takes_the_name_in_the_other_namespace(self, stores: StoreSubject) -> None:
        """It releases the name in the old one, and takes its pin along."""
        first = await stores.begun(pinned=True)
        target = Changes(namespace=THERE, provider="durable-other", scope="x/y", target="target-2")
        after = moved(await stores.move(first, IntentState.OPEN, changes=target))
        assert (after.namespace, after.provider, after.scope, after.target) == (
            THERE,
            "durable-other",
            "x/y",
            "target-2",
        )
        assert await stores.store.by_name(HERE, "durable", "one") is None
        await stores.begun(principal="bob", holder="you")
        for namespace in (HERE, THERE):
            answer = await stores.store.begin(create(pinned=True, namespace=namespace), "you", LEASE)
            assert answer.intent == after

    async def test_a_failover_to_a_taken_name_changes_nothing(self, stores: StoreSubject) -> None:
        """Taken by the name in the other namespace, or by a pin of another intent."""
        other = await stores.begun(namespace=THERE, principal="bob", holder="you")
        mine = await stores.begun()
        target = Changes(namespace=THERE)
        assert await stores.move(mine, IntentState.OPEN, changes=target) == NameTaken(other)
        assert await stores.store.get(mine.id) == mine
        done = await stores.brought(IntentState.DONE, "two", pinned=True)
        again = await stores.begun("two", pinned=True)
        assert await stores.move(again, IntentState.OPEN, changes=target) == NameTaken(done)

    async def test_a_refused_create_is_reopened_only_if_its_name_is_free(self, stores: StoreSubject) -> None:
        refused = await stores.brought(IntentState.REFUSED, key="k")
        other = await stores.begun(holder="you")
        again = Changes(generation=1)
        answer = await stores.move(refused, IntentState.OPEN, Actor.WAITING_CALLER, changes=again)
        assert answer == NameTaken(other)
        await stores.store.record_created(other.id, "r")
        opened = moved(await stores.move(refused, IntentState.OPEN, Actor.WAITING_CALLER, changes=again))
        assert (opened.epoch, opened.generation, opened.settled_at) == (2, 1, None)

    async def test_only_the_holder_of_the_lease_updates_an_intent(self, stores: StoreSubject) -> None:
        """An update renews or ends the lease. It does not change the state."""
        intent = await stores.begun()
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

    async def test_an_update_keeps_the_time_of_settling(self, stores: StoreSubject) -> None:
        """Look-ups for late proof do not extend the retention."""
        intent = await stores.begun()
        absent = moved(await stores.move(intent, IntentState.ABSENT))
        await stores.advance(60)
        kept = moved(await stores.store.update(Version.of(absent), "me", look_in=600))
        assert kept.settled_at == absent.settled_at
        assert kept.due_at == pytest.approx(await stores.store.now() + 600, abs=5)

    async def test_intents_are_listed_by_principal_and_restrictions(self, stores: StoreSubject) -> None:
        kept: list[str] = []
        for number, (principal, provider, scope, kind) in enumerate(product("ab", "pq", "st", ("durable", "browser"))):
            new = create(f"n-{number}", principal=principal, provider=provider, scope=scope, kind=kind)
            kept.append(begun(await stores.store.begin(new, "me", LEASE)).id)

        async def found(**wanted: Any) -> list[str]:
            return [intent.id for intent in reversed(await stores.store.list(IntentQuery(**wanted)))]

        def only(**wanted: str) -> Restrictions:
            return Restrictions(**{name: frozenset(values.split()) for name, values in wanted.items()})

        assert set(await found(principal="a")) == set(kept[:8])
        assert set(await found(only=only(providers="q"))) == set(kept[4:8] + kept[12:])
        assert set(await found(only=only(providers="p q none"))) == set(kept)
        assert set(await found(only=only(scopes="t", kinds="browser"))) == set(kept[3::4])
        assert await found(only=only(providers="")) == []
        page = await stores.store.list(IntentQuery(principal="b", only=only(providers="p"), limit=3))
        before = (page[-1].created_at, page[-1].id)
        rest = await found(principal="b", only=only(providers="p"), before=before)
        assert {*rest, *(intent.id for intent in page)} == set(kept[8:12])
