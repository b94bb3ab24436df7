"""The table of verbs and states: it guards every verb, and clients see it as ``actions``."""

import msgspec
import pytest
from msgspec import UNSET

from gateway.domain.lifecycle import TRANSITIONS, Verb, actions, encoded_actions, is_live, works_from
from gateway.domain.runtime import ENCODER, Action
from gateway.domain.values import Feature, State

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


def test_an_impossible_verb_names_the_states_it_works_from() -> None:
    action = actions(ALL, State.IDLE)["pause"]
    assert (action.allowed, action.reason) == (False, "works from: running")
    assert works_from(Verb.STOP) == "starting, running, paused, failed"


def test_a_stop_that_discards_state_requires_confirmation() -> None:
    action = actions(ALL | {Feature.STOP_DISCARDS_STATE}, State.RUNNING)["stop"]
    assert (action.allowed, action.requires, action.discards_state) == (False, {"discard_state": True}, True)
    idle = actions(ALL | {Feature.STOP_DISCARDS_STATE}, State.IDLE)["stop"]
    assert idle.reason == "works from: starting, running, paused, failed"


DISCARDING = {
    State.IDLE: {"delete"},
    State.STOPPING: {"delete"},
    State.STOPPED: {"delete"},
    State.STARTING: {"stop", "reset", "delete"},
    State.RUNNING: {"stop", "reset", "delete"},
    State.PAUSED: {"stop", "reset", "delete"},
    State.FAILED: {"stop", "reset", "delete"},
    State.UNKNOWN: {"stop", "reset", "delete"},
}


@pytest.mark.parametrize("state", State)
def test_possible_verbs_that_discard_state_say_so(state: State) -> None:
    shown = actions(ALL | {Feature.STOP_DISCARDS_STATE}, state)
    assert {verb for verb, action in shown.items() if action.discards_state is True} == DISCARDING[state]


def test_a_stop_that_keeps_state_and_impossible_verbs_do_not_discard_it() -> None:
    assert actions(ALL, State.RUNNING)["stop"].discards_state is UNSET
    assert actions(ALL, State.IDLE)["reset"].discards_state is UNSET
    foreign = actions(ALL, State.RUNNING, owned=False)
    assert {action.discards_state for action in foreign.values()} == {UNSET}


def test_an_instance_that_cannot_pause_and_a_foreign_runtime_show_a_reason() -> None:
    assert actions(ALL, State.RUNNING, instance_can_pause=False)["pause"].reason == "this instance cannot pause"
    assert not any(action.allowed for action in actions(ALL, State.RUNNING, owned=False).values())


def test_only_ended_runtimes_release_their_name() -> None:
    assert {state for state in State if not is_live(state)} == {State.STOPPED, State.FAILED}


@pytest.mark.parametrize("state", State)
def test_encoded_actions_equal_the_single_actions(state):
    features = ALL | {Feature.STOP_DISCARDS_STATE}
    shown = encoded_actions(features, state)
    assert msgspec.json.decode(ENCODER.encode(shown), type=dict[str, Action]) == actions(features, state)
    assert len(actions(features, state)) == len(Verb)
