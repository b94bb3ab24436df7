"""The verbs, the states in which each is possible, and the ``actions`` that a runtime shows (docs/model.md).

One table, :data:`TRANSITIONS`, defines the check before every verb, the ``actions`` map and the generated verb table of
the docs. In ``unknown`` all verbs but connect are possible, because only the provider knows what its state means.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import UNSET

from gateway.domain.runtime import ENCODER, Action, Runtime
from gateway.domain.values import Feature, State


class Verb(StrEnum):
    """The operations on an existing runtime, apart from reads."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    RESET = "reset"
    KEEPALIVE = "keepalive"
    CONNECT = "connect"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Transition:
    """The states in which a verb is possible, and those in which it has no effect (the response has
    ``changed: false``)."""

    feature: Feature
    works_from: frozenset[State]
    satisfied_by: frozenset[State] = frozenset()


_HAS_COMPUTE: Final = frozenset({State.STARTING, State.RUNNING, State.PAUSED, State.FAILED, State.UNKNOWN})

TRANSITIONS: Final[Mapping[Verb, Transition]] = {
    Verb.START: Transition(
        Feature.START,
        frozenset({State.IDLE, State.STOPPED, State.FAILED, State.UNKNOWN}),
        frozenset({State.STARTING, State.RUNNING}),
    ),
    Verb.PAUSE: Transition(Feature.PAUSE, frozenset({State.RUNNING, State.UNKNOWN}), frozenset({State.PAUSED})),
    Verb.RESUME: Transition(Feature.PAUSE, frozenset({State.PAUSED, State.UNKNOWN}), frozenset({State.RUNNING})),
    Verb.STOP: Transition(Feature.STOP, _HAS_COMPUTE, frozenset({State.IDLE, State.STOPPING, State.STOPPED})),
    Verb.RESET: Transition(Feature.RESET, _HAS_COMPUTE, frozenset({State.IDLE})),
    Verb.KEEPALIVE: Transition(Feature.KEEPALIVE, frozenset({State.RUNNING, State.UNKNOWN})),
    Verb.CONNECT: Transition(Feature.CONNECTIONS, frozenset({State.RUNNING})),
    Verb.DELETE: Transition(Feature.DELETE, frozenset(State)),
}

DISCARD_STATE: Final = "discard_state"
_DISCARDING: Final = frozenset({Verb.RESET, Verb.DELETE})
_ENDED: Final = frozenset({State.STOPPED, State.FAILED})


def is_live(state: State) -> bool:
    """Whether a runtime in this state occupies its name: all but ``stopped`` and ``failed`` (docs/creates.md)."""
    return state not in _ENDED


def works_from(verb: Verb) -> str:
    """The states in which a verb is possible, without ``unknown``, for a message: ``idle, stopped``."""
    return ", ".join(
        state.value for state in State if state in TRANSITIONS[verb].works_from and state is not State.UNKNOWN
    )


def actions(
    features: frozenset[str], state: State, *, instance_can_pause: bool | None = None, owned: bool | None = None
) -> dict[str, Action]:
    """The verbs of a provider with these ``features``, and whether each is possible in this state.

    ``instance_can_pause`` is what the provider reports about this instance, None where it reports nothing. ``owned`` is
    False for a runtime that only its owner may change, and the gateway's account is not the owner.
    """
    shown: dict[str, Action] = {}
    for verb, transition in TRANSITIONS.items():
        if transition.feature not in features:
            continue
        if owned is False:
            shown[verb] = Action(allowed=False, reason="only the runtime's owner may do this")
        elif verb is Verb.PAUSE and instance_can_pause is False:
            shown[verb] = Action(allowed=False, reason="this instance cannot pause")
        elif state not in transition.works_from:
            shown[verb] = Action(allowed=False, reason=f"works from: {works_from(verb)}")
        elif verb is Verb.STOP and Feature.STOP_DISCARDS_STATE in features:
            shown[verb] = Action(allowed=False, requires={DISCARD_STATE: True}, discards_state=True)
        else:
            shown[verb] = Action(allowed=True, discards_state=True if verb in _DISCARDING else UNSET)
    return shown


def encoded_actions(
    features: frozenset[str], state: State, *, instance_can_pause: bool | None = None, owned: bool | None = None
) -> msgspec.Raw:
    """As :func:`actions`, for :attr:`Runtime.actions`."""
    return msgspec.Raw(ENCODER.encode(actions(features, state, instance_can_pause=instance_can_pause, owned=owned)))


def actions_of(runtime: Runtime) -> dict[str, Action]:
    """The actions that a runtime shows, by verb."""
    return msgspec.json.decode(runtime.actions, type=dict[str, Action])
