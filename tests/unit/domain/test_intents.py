"""The transitions of intents, row by row (docs/creates.md)."""

import pytest

from gateway.domain.intents import (
    HOLDS_NAME,
    TRANSITIONS,
    UNSETTLED,
    Actor,
    ForbiddenTransition,
    IntentState,
    LeaseRule,
    namespace_of,
    new_intent_id,
    transition,
)

# From, to, actor, and the lease: the actor has it (own), no other actor has it (free), or it is not needed (any).
# A transition to open raises the epoch.
PROMISE = """
open     done     anyone          any
open     refused  holder          own
open     open     holder          own
open     absent   holder          own
open     unknown  holder          own
open     unknown  anyone          free
unknown  open     waiting_caller  free
unknown  open     reconciler      own
unknown  done     anyone          any
unknown  absent   reconciler      own
unknown  parked   reconciler      own
absent   open     waiting_caller  free
refused  open     waiting_caller  free
absent   done     anyone          any
refused  done     anyone          any
parked   done     anyone          any
parked   done     operator        any
parked   absent   operator        any
"""


def test_there_are_the_steps_of_the_promise_and_no_others():
    promised = {tuple(line.split()) for line in PROMISE.strip().splitlines()}
    assert {(step.source, step.target, step.who, step.lease) for step in TRANSITIONS} == promised
    assert len(TRANSITIONS) == len(promised)


def test_every_state_but_done_can_become_done_by_proof_from_anyone():
    for state in set(IntentState) - {IntentState.DONE}:
        assert transition(state, IntentState.DONE, Actor.ANYONE).lease is LeaseRule.ANY


def test_nothing_leaves_done():
    assert not [step for step in TRANSITIONS if step.source is IntentState.DONE]


def test_a_new_send_and_nothing_else_raises_the_epoch():
    assert all(step.next_epoch == (step.target is IntentState.OPEN) for step in TRANSITIONS)


def test_a_negative_conclusion_needs_the_lease_or_an_operator():
    for step in TRANSITIONS:
        if step.target in {IntentState.REFUSED, IntentState.ABSENT}:
            assert step.lease is LeaseRule.OWN or step.who is Actor.OPERATOR


@pytest.mark.parametrize("who", Actor)
def test_a_step_that_is_not_in_the_table_is_a_mistake(who: Actor):
    with pytest.raises(ForbiddenTransition, match="from done to open"):
        transition(IntentState.DONE, IntentState.OPEN, who)


def test_what_is_unsettled_has_its_name_for_itself_and_an_absent_one_too():
    assert set(HOLDS_NAME) - set(UNSETTLED) == {IntentState.ABSENT}
    assert set(IntentState) - set(HOLDS_NAME) == {IntentState.DONE, IntentState.REFUSED}


def test_a_namespace_is_the_account_and_its_scope_however_the_url_ends():
    assert namespace_of("durable", "https://a/", "acc", "o/w") == namespace_of("durable", "https://a", "acc", "o/w")
    parts = ("durable", "https://a", "acc", "o/w")
    others = {namespace_of(*parts[:i], "other", *parts[i + 1 :]) for i in range(4)}
    assert len(others | {namespace_of(*parts)}) == 5


def test_every_intent_has_an_id_of_its_own():
    assert len({new_intent_id() for _ in range(100)}) == 100


def test_ids_of_intents_are_in_the_order_of_their_times(monkeypatch: pytest.MonkeyPatch):
    milliseconds = [9, 10, 1 << 40, (1 << 40) + 1]
    now = iter(milliseconds)
    monkeypatch.setattr("gateway.domain.intents.time.time_ns", lambda: next(now) * 1_000_000)
    ids = [new_intent_id() for _ in milliseconds]
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {35}
