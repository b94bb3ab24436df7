"""Which verbs are possible when: the table that guards every verb and tells frontends what to offer."""

import msgspec
import pytest

from gateway.domain.features import Feature
from gateway.domain.lifecycle import TRANSITIONS, Verb, actions, is_live, works_from
from gateway.domain.runtime import ENCODER, Action
from gateway.domain.values import State

ALL = frozenset(Feature) - {Feature.STOP_DISCARDS_STATE}

ALLOWED = {
    State.IDLE: {"start", "delete"},
    State.STARTING: {"stop", "reset", "delete"},
    State.RUNNING: {"pause", "stop", "reset", "keepalive", "connect", "delete"},
    State.PAUSED: {"resume", "stop", "reset", "delete"},
    State.STOPPING: {"delete"},
    State.STOPPED: {"start", "delete"},
    State.FAILED: {"start", "stop", "reset", "delete"},
    State.UNKNOWN: {"start", "pause", "resume", "stop", "reset", "keepalive", "delete"},
}


@pytest.mark.parametrize("state", State)
def test_exactly_these_verbs_are_allowed(state: State) -> None:
    assert {verb for verb, action in actions(ALL, state).items() if action.allowed} == ALLOWED[state]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("verb", Verb)
def test_a_verb_never_both_works_and_is_satisfied(verb: Verb, state: State) -> None:
    transition = TRANSITIONS[verb]
    assert not (state in transition.works_from and state in transition.satisfied_by)


@pytest.mark.parametrize("feature", [transition.feature for transition in TRANSITIONS.values()])
def test_a_verb_without_its_feature_is_not_shown(feature: Feature) -> None:
    shown = actions(ALL - {feature}, State.RUNNING)
    assert set(shown) == {verb for verb in Verb if TRANSITIONS[verb].feature is not feature}


def test_what_is_not_possible_says_from_where_it_is() -> None:
    action = actions(ALL, State.IDLE)["pause"]
    assert (action.allowed, action.reason) == (False, "works from: running")
    assert works_from(Verb.STOP) == "starting, running, paused, failed"


def test_a_stop_that_loses_state_asks_for_that_to_be_said() -> None:
    action = actions(ALL | {Feature.STOP_DISCARDS_STATE}, State.RUNNING)["stop"]
    assert (action.allowed, action.requires) == (False, {"discard_state": True})
    idle = actions(ALL | {Feature.STOP_DISCARDS_STATE}, State.IDLE)["stop"]
    assert idle.reason == "works from: starting, running, paused, failed"


def test_an_instance_that_cannot_pause_and_a_runtime_of_somebody_else_say_so() -> None:
    assert actions(ALL, State.RUNNING, instance_can_pause=False)["pause"].reason == "this instance cannot pause"
    assert not any(action.allowed for action in actions(ALL, State.RUNNING, owned=False).values())


def test_all_but_ended_runtimes_hold_their_name() -> None:
    assert {state for state in State if not is_live(state)} == {State.STOPPED, State.FAILED}


@pytest.mark.parametrize("state", State)
def test_the_encoded_form_of_the_actions_is_that_of_each(state):
    shown = actions(ALL | {Feature.STOP_DISCARDS_STATE}, state)
    assert msgspec.json.decode(ENCODER.encode(shown), type=dict[str, Action]) == dict(shown)
    assert shown == dict(shown)
    assert len(shown) == len(list(shown)) == len(Verb)


def test_actions_show_themselves_in_a_failed_comparison():
    assert "Action(allowed=True" in repr(actions(ALL, State.RUNNING))
