"""One create as the store keeps it: its data, its states, and which actor may change one state to which other.

An intent is written before a provider is called, so that after any failure one row shows what may have been sent, under
which name and key, and what was found out since. A store refuses every change of state that is not in
:data:`TRANSITIONS` (docs/creates.md).
"""

import secrets
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec


class IntentState(StrEnum):
    """What is known about a create."""

    OPEN = "open"  # one holder may be sending
    UNKNOWN = "unknown"  # its attempts are over and nothing is proven
    DONE = "done"  # the runtime's id is proven
    REFUSED = "refused"  # every attempt is proven to have made nothing
    ABSENT = "absent"  # not found after the wait-out: presumed not made
    PARKED = "parked"  # an operator decides


UNSETTLED: Final = frozenset({IntentState.OPEN, IntentState.UNKNOWN, IntentState.PARKED})
"""The states in which an intent is never dropped, at any age."""

HOLDS_NAME: Final = UNSETTLED | {IntentState.ABSENT}
"""The states in which no other intent may have the name in the namespace. The runtime of an absent one may exist."""


class Actor(StrEnum):
    """Who changes the state of an intent."""

    REQUEST = "request"  # a create that finds no intent of its key or name
    HOLDER = "holder"  # the task that wrote this epoch and may be sending
    WAITING_CALLER = "waiting_caller"  # a create that found the intent and continues it
    RECONCILER = "reconciler"
    ANYONE = "anyone"
    OPERATOR = "operator"


class LeaseRule(StrEnum):
    """What a transition requires of the lease. A lease that has ended is free, also for its last holder."""

    OWN = "own"  # the actor has it, or had it and no other actor has taken it
    FREE = "free"  # that, or no actor has it
    ANY = "any"  # proof and operators need no lease


@dataclass(frozen=True, slots=True)
class Transition:
    """One allowed change of state. What has to be known for it, :mod:`gateway.domain.conclusions` decides."""

    source: IntentState
    target: IntentState
    who: Actor
    lease: LeaseRule

    @property
    def next_epoch(self) -> bool:
        """Whether it allows another send: then it raises the epoch, which fences every actor of the one before."""
        return self.target is IntentState.OPEN


_S, _L = IntentState, LeaseRule

TRANSITIONS: Final = (
    # proof of existence is accepted from any actor, in any epoch
    Transition(_S.OPEN, _S.DONE, Actor.ANYONE, _L.ANY),
    Transition(_S.UNKNOWN, _S.DONE, Actor.ANYONE, _L.ANY),
    Transition(_S.ABSENT, _S.DONE, Actor.ANYONE, _L.ANY),
    Transition(_S.REFUSED, _S.DONE, Actor.ANYONE, _L.ANY),
    Transition(_S.PARKED, _S.DONE, Actor.ANYONE, _L.ANY),
    # what the holder concludes from its own attempts
    Transition(_S.OPEN, _S.REFUSED, Actor.HOLDER, _L.OWN),
    Transition(_S.OPEN, _S.OPEN, Actor.HOLDER, _L.OWN),  # at another target; nothing was made so far
    Transition(_S.OPEN, _S.ABSENT, Actor.HOLDER, _L.OWN),
    Transition(_S.OPEN, _S.UNKNOWN, Actor.HOLDER, _L.OWN),
    Transition(_S.OPEN, _S.UNKNOWN, Actor.ANYONE, _L.FREE),  # the holder's lease has ended
    # another send
    Transition(_S.UNKNOWN, _S.OPEN, Actor.WAITING_CALLER, _L.FREE),
    Transition(_S.UNKNOWN, _S.OPEN, Actor.RECONCILER, _L.OWN),
    Transition(_S.ABSENT, _S.OPEN, Actor.WAITING_CALLER, _L.FREE),
    Transition(_S.REFUSED, _S.OPEN, Actor.WAITING_CALLER, _L.FREE),  # with the next generation of the provider's key
    # what settling concludes
    Transition(_S.UNKNOWN, _S.ABSENT, Actor.RECONCILER, _L.OWN),
    Transition(_S.UNKNOWN, _S.PARKED, Actor.RECONCILER, _L.OWN),
    # what an operator decides, which is recorded
    Transition(_S.PARKED, _S.DONE, Actor.OPERATOR, _L.ANY),
    Transition(_S.PARKED, _S.ABSENT, Actor.OPERATOR, _L.ANY),
)
"""Every change of state. The first state, ``open`` in epoch 1, is a request's: it holds the local permits, and the row
is written and flushed."""

_BY_STEP: Final = {(step.source, step.target, step.who): step for step in TRANSITIONS}


class ForbiddenTransition(ValueError):
    """A change of state that is not in :data:`TRANSITIONS`: an error of the calling code, never of the data."""


def transition(source: IntentState, target: IntentState, who: Actor) -> Transition:
    """The transition, if it is allowed. Raises :class:`ForbiddenTransition`."""
    try:
        return _BY_STEP[source, target, who]
    except KeyError:
        raise ForbiddenTransition(f"{who} may not change an intent from {source} to {target}") from None


class IntentAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request that was, or may have been, sent to make the runtime.

    ``target`` is the fingerprint of the target. Times are Unix times in seconds on the database's clock; ``last_send``
    is the last moment at which a byte can have been sent. ``phase`` and ``status`` describe the response, as far as it
    is known. ``made``: True if something was made, False if nothing can have been made, None if neither is known.
    """

    epoch: int
    target: str
    first_send: float | None = None
    last_send: float | None = None
    phase: str | None = None
    status: int | None = None
    made: bool | None = None


class Look(msgspec.Struct, frozen=True):
    """The provider's ids of the runtimes that an uncached look-up by name found. ``at``: Unix time on the database's
    clock."""

    at: float
    found: tuple[str, ...]


_NOT_SHOWN: Final = frozenset({"digest", "request", "outcome"})


class NewIntent(msgspec.Struct, frozen=True, kw_only=True):
    """A create that is about to be sent.

    ``id`` comes from :func:`new_intent_id`. ``principal`` and ``key`` are the caller and its ``Idempotency-Key``. Names
    are unique in the ``namespace`` (:func:`namespace_of`); ``provider`` is the configured name. ``pinned`` is set for a
    create that named no provider. ``operation`` is the request's (a dialect's differs from the unified API's),
    ``digest`` and ``digest_version`` distinguish bodies, ``target`` is the target's fingerprint. ``request`` is the
    sealed wire request; ``provider_key`` the key that is sent, in its ``generation``. ``before`` is what a look-up
    before the send found. ``lifetime`` is after how many seconds the gateway ends the instance that the create starts.
    """

    id: str
    principal: str
    key: str | None
    namespace: str
    pinned: bool
    provider: str
    scope: str
    kind: str
    name: str
    operation: str
    digest: bytes
    digest_version: str
    target: str
    request: bytes | None = None
    provider_key: str | None = None
    generation: int = 0
    before: Look | None = None
    lifetime: float | None = None

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in _NOT_SHOWN)
        return f"{type(self).__name__}({', '.join(shown)})"


class Intent(NewIntent, frozen=True, kw_only=True):
    """A create as the store keeps it.

    All times are Unix times in seconds on the database's clock. ``holder`` has the lease until ``lease_until``. The
    reconciler settles it at ``due_at``, if that is set. ``looks`` are the look-ups after the send. ``outcome`` is the
    sealed response that the same key receives again; ``runtime_id`` the provider's id of the runtime, ``surplus`` the
    ids of further ones that were found. ``reason`` is a bounded word for the state. ``superseded_by`` is the intent
    that took the name over when this one was absent. ``settled_at`` is when it left the unsettled states.
    """

    state: IntentState
    epoch: int
    holder: str | None
    lease_until: float | None
    due_at: float | None
    attempts: tuple[IntentAttempt, ...]
    looks: tuple[Look, ...]
    outcome: bytes | None = None
    runtime_id: str | None = None
    surplus: tuple[str, ...] = ()
    reason: str | None = None
    superseded_by: str | None = None
    created_at: float
    updated_at: float
    settled_at: float | None = None


def new_intent_id() -> str:
    """A new intent id: unguessable (80 random bits), and valid in paths, headers and labels of providers. It begins
    with the time in milliseconds, so that a store appends to its index of ids, and does not change another page of it
    for each create."""
    return f"in_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def namespace_of(api: str, base_url: str, account: str, scope: str) -> str:
    """Where names are unique: the provider's API, base URL and account, and the resolved scope. Not the configured
    name, which may change, and of which one account may have two."""
    return msgspec.json.encode([api, base_url.rstrip("/"), account, scope]).decode()


def parts_of(namespace: str) -> tuple[str, str, str, str]:
    """The API, base URL, account and scope of a namespace that :func:`namespace_of` returned."""
    return msgspec.json.decode(namespace, type=tuple[str, str, str, str])


def canonical_scope_of(namespace: str) -> str:
    """The resolved scope of a namespace that :func:`namespace_of` returned."""
    return parts_of(namespace)[3]
