"""The create promise as data: what is remembered of one create, its states, and who may move it from where to where.

An intent is written before a provider is called, so that whatever fails afterwards, one row says what may have been
sent, under which name and key, and what has been found out since. :data:`TRANSITIONS` is the whole rule; a store
refuses every other step.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec


class IntentState(StrEnum):
    """What is known of a create."""

    OPEN = "open"  # one holder may be sending
    UNKNOWN = "unknown"  # its attempts are over and nothing is proven
    DONE = "done"  # the runtime's id is proven
    REFUSED = "refused"  # every attempt is proven to have made nothing
    ABSENT = "absent"  # waited out and not found: a presumption
    PARKED = "parked"  # a person decides


UNSETTLED: Final = frozenset({IntentState.OPEN, IntentState.UNKNOWN, IntentState.PARKED})
"""The states of an intent that is never dropped, however old it is."""

HOLDS_NAME: Final = UNSETTLED | {IntentState.ABSENT}
"""The states in which an intent has its name for itself within the namespace. An absent one may exist after all."""


class Actor(StrEnum):
    """On whose behalf an intent is moved."""

    REQUEST = "request"  # a create that finds no intent of its key or name
    HOLDER = "holder"  # who wrote this epoch down and may be sending
    WAITING_CALLER = "waiting_caller"  # a create that found the intent and goes on with it
    RECONCILER = "reconciler"
    ANYONE = "anyone"
    OPERATOR = "operator"


class LeaseRule(StrEnum):
    """What the lease has to say to a transition. A lease that has ended is free, also to who had it."""

    OWN = "own"  # the intent's lease is the mover's, or was until nobody else took it
    FREE = "free"  # that, or nobody's
    ANY = "any"  # proof and people need none


class Condition(StrEnum):
    """What has to hold, besides the lease; whoever asks for the transition has made sure of it."""

    PERMITS_HELD = "permits_held"  # local permits: limits, bulkhead, breaker
    PROVEN_MADE = "proven_made"  # a complete 2xx, a replayed key, our marker, or adoption by look-up
    NOTHING_MADE = "nothing_made"  # never connected, a local refusal, or in the adapter's table: in every attempt
    NOT_AFTER_DOUBT = "not_after_doubt"  # no crash, take-over, 402, 429, 5xx or absent before it
    EXISTED_BEFORE = "existed_before"  # a 409 in the provider's own envelope, and a look finds an older one
    REFUSED_FOR_NOW = "refused_for_now"  # a 402 or 429 in its own envelope and, where it can be looked for, not found
    NOT_PROVEN = "not_proven"  # anything else
    DEDUPLICATED = "deduplicated"  # the provider dedupes; at most 1 h old, and within its key's life
    FREE_OF_CHARGE = "free_of_charge"  # a create that costs nothing: durable, idle, no compute
    SAME_TARGET = "same_target"
    SAME_BYTES = "same_bytes"
    SAME_NAME_AND_KEY = "same_name_and_key"
    NEXT_GENERATION = "next_generation"  # of the key that is sent to the provider
    WAITED_OUT = "waited_out"  # two uncached looks without it, the last later than W after the last possible send
    NEEDS_A_PERSON = "needs_a_person"  # several matches, made but not found, another target, unreadable, or 24 h
    RECORDED = "recorded"  # in the audit trail


@dataclass(frozen=True, slots=True)
class Transition:
    """One step that an intent may take. ``conditions`` holds sets of which one has to hold entirely.

    ``next_epoch`` says that it allows a new send: it raises the epoch, which fences everybody of the one before.
    """

    source: IntentState
    target: IntentState
    who: Actor
    lease: LeaseRule
    conditions: tuple[frozenset[Condition], ...]
    next_epoch: bool = False


def _step(
    source: IntentState, target: IntentState, who: Actor, lease: LeaseRule, *conditions: Iterable[Condition]
) -> Transition:
    either = tuple(frozenset(of) for of in conditions)
    return Transition(source, target, who, lease, either, next_epoch=target is IntentState.OPEN)


_S, _L, _C = IntentState, LeaseRule, Condition

TRANSITIONS: Final = (
    # proof of existence is accepted from anyone, in any epoch
    _step(_S.OPEN, _S.DONE, Actor.ANYONE, _L.ANY, {_C.PROVEN_MADE}),
    _step(_S.UNKNOWN, _S.DONE, Actor.ANYONE, _L.ANY, {_C.PROVEN_MADE}),
    _step(_S.ABSENT, _S.DONE, Actor.ANYONE, _L.ANY, {_C.PROVEN_MADE}),
    _step(_S.REFUSED, _S.DONE, Actor.ANYONE, _L.ANY, {_C.PROVEN_MADE}),
    _step(_S.PARKED, _S.DONE, Actor.ANYONE, _L.ANY, {_C.PROVEN_MADE}),
    # what the holder learns of its own attempts
    _step(_S.OPEN, _S.REFUSED, Actor.HOLDER, _L.OWN, {_C.NOTHING_MADE}, {_C.EXISTED_BEFORE}),
    _step(_S.OPEN, _S.OPEN, Actor.HOLDER, _L.OWN, {_C.NOTHING_MADE, _C.NOT_AFTER_DOUBT}),
    _step(_S.OPEN, _S.ABSENT, Actor.HOLDER, _L.OWN, {_C.REFUSED_FOR_NOW}),
    _step(_S.OPEN, _S.UNKNOWN, Actor.HOLDER, _L.OWN, {_C.NOT_PROVEN}),
    _step(_S.OPEN, _S.UNKNOWN, Actor.ANYONE, _L.FREE, {_C.NOT_PROVEN}),
    # another send
    _step(_S.UNKNOWN, _S.OPEN, Actor.WAITING_CALLER, _L.FREE, {_C.DEDUPLICATED, _C.SAME_TARGET, _C.SAME_BYTES}),
    _step(
        _S.UNKNOWN,
        _S.OPEN,
        Actor.RECONCILER,
        _L.OWN,
        {_C.DEDUPLICATED, _C.SAME_TARGET, _C.SAME_BYTES, _C.FREE_OF_CHARGE},
    ),
    _step(_S.ABSENT, _S.OPEN, Actor.WAITING_CALLER, _L.FREE, {_C.SAME_TARGET, _C.SAME_NAME_AND_KEY}),
    _step(_S.REFUSED, _S.OPEN, Actor.WAITING_CALLER, _L.FREE, {_C.PERMITS_HELD, _C.NEXT_GENERATION}),
    # what settling concludes
    _step(_S.UNKNOWN, _S.ABSENT, Actor.RECONCILER, _L.OWN, {_C.WAITED_OUT}),
    _step(_S.UNKNOWN, _S.PARKED, Actor.RECONCILER, _L.OWN, {_C.NEEDS_A_PERSON}),
    # what a person decides
    _step(_S.PARKED, _S.DONE, Actor.OPERATOR, _L.ANY, {_C.RECORDED}),
    _step(_S.PARKED, _S.ABSENT, Actor.OPERATOR, _L.ANY, {_C.RECORDED}),
)
"""Every step between states. The first one, to ``open`` in epoch 1, is a request's: local permits held, and the row
written and flushed."""

_BY_STEP: Final = {(step.source, step.target, step.who): step for step in TRANSITIONS}


class ForbiddenTransition(ValueError):
    """A step that :data:`TRANSITIONS` does not have: a mistake of the caller, never of the data."""


def transition(source: IntentState, target: IntentState, who: Actor) -> Transition:
    """The step, if it is allowed. Raises :class:`ForbiddenTransition`."""
    try:
        return _BY_STEP[source, target, who]
    except KeyError:
        raise ForbiddenTransition(f"{who} may not move an intent from {source} to {target}") from None


class IntentAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request that was, or may have been, sent to make the runtime.

    ``target`` is the fingerprint of where. Times are seconds since the epoch on the database's clock; ``last_send`` is
    the last moment at which a byte can have left. ``phase`` and ``status`` are what is known of the answer. ``made``:
    True when something was made, False when nothing can have been, None when nobody knows.
    """

    epoch: int
    target: str
    first_send: float | None = None
    last_send: float | None = None
    phase: str | None = None
    status: int | None = None
    made: bool | None = None


class Look(msgspec.Struct, frozen=True):
    """What an uncached look by name saw at a moment of the database's clock: the runtimes, by the provider's ids."""

    at: float
    found: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIntent:
    """A create that is about to be sent.

    ``id`` comes from :func:`new_intent_id`. ``principal`` and ``key`` are the caller and its ``Idempotency-Key``.
    ``namespace`` says where names are unique (:func:`namespace_of`), ``provider`` is the configured name. ``pinned``
    is set for a create that named no provider. ``operation`` is that of the request (a dialect's differ from the
    unified API's), ``digest`` and ``digest_version`` tell bodies apart, ``target`` is the fingerprint of where it is
    sent. ``request`` is the wire request, sealed; ``provider_key`` the key sent along, in its ``generation``.
    ``before`` is what a look before the send saw.
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
    digest: bytes = field(repr=False)
    digest_version: str
    target: str
    request: bytes | None = field(default=None, repr=False)
    provider_key: str | None = None
    generation: int = 0
    before: Look | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent(NewIntent):
    """A create as the store remembers it.

    All times are seconds since the epoch on the database's clock. The lease is ``holder``'s until ``lease_until``.
    ``due_at`` is when the reconciler should look at it, if ever. ``looks`` are those after the send. ``outcome`` is
    what is answered again to the same key, sealed; ``runtime_id`` the provider's id of what was made, and ``surplus``
    further ids that turned up. ``reason`` is a bounded word for why it is where it is. ``superseded_by`` is the intent
    that took its name over once it was absent. ``settled_at`` is when it left the unsettled states.
    """

    state: IntentState
    epoch: int
    holder: str | None
    lease_until: float | None
    due_at: float | None
    attempts: tuple[IntentAttempt, ...]
    looks: tuple[Look, ...]
    outcome: bytes | None = field(default=None, repr=False)
    runtime_id: str | None = None
    surplus: tuple[str, ...] = ()
    reason: str | None = None
    superseded_by: str | None = None
    created_at: float
    updated_at: float
    settled_at: float | None = None


def new_intent_id() -> str:
    """An id for an intent: unguessable, and safe in paths, headers and labels of providers."""
    return f"in_{secrets.token_hex(16)}"


def namespace_of(api: str, base_url: str, account: str, scope: str) -> str:
    """Where names are unique: the provider's API, base URL and account, and the resolved scope. Never the configured
    name, which may change or stand twice for one account."""
    return msgspec.json.encode([api, base_url.rstrip("/"), account, scope]).decode()


def canonical_scope_of(namespace: str) -> str:
    """The resolved scope of a namespace that :func:`namespace_of` returned."""
    return msgspec.json.decode(namespace, type=tuple[str, str, str, str])[3]
