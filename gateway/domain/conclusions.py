"""What the findings about a create prove, and what happens next (docs/creates.md).

Three services execute the conclusions: the holder of an intent after its send, a caller who waits for an unknown
create, and the reconciler. All of them ask :func:`conclude`, which is pure: no I/O, and no clock but ``now``.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from gateway.domain.intents import Actor, Intent, IntentState

REPLAY_AGE: Final = 3600.0
"""Seconds after which a create is not sent again, however long the provider remembers its key."""

GIVE_UP: Final = 86_400.0
"""Seconds after which an unknown create is parked, and late evidence is no longer looked for."""

LONGEST_PAUSE: Final = 60.0
"""Most seconds between two look-ups for an unknown create."""


class Deduplication(StrEnum):
    """How a provider treats a create that is sent twice."""

    BY_NAME = "by_name"  # the second one returns the runtime of the first
    BY_KEY = "by_key"  # it recognizes an idempotency key
    NONE = "none"  # it may make a second runtime


@dataclass(frozen=True, slots=True)
class CreateTraits:
    """The properties of a provider that decide what findings prove (see ``ProviderAdapter``).

    ``key_ttl``: seconds for which it remembers an idempotency key. ``is_free``: a create starts no compute.
    ``marks``: a create carries the intent's id, and look-ups return it.
    """

    deduplication: Deduplication
    is_free: bool
    key_ttl: float
    marks: bool


NO_TRAITS: Final = CreateTraits(Deduplication.NONE, is_free=False, key_ttl=0.0, marks=False)
"""Of a target that no configured provider leads to."""


class Proof(Enum):
    """What the end of one send proves by itself."""

    NOTHING_MADE = auto()  # never connected, refused locally, or a definitive rejection of the provider
    CONFLICT = auto()  # a 409 in the provider's own envelope
    REFUSED_FOR_NOW = auto()  # a 402 or 429 in its own envelope: probably nothing was made
    ANOTHER_ANSWER = auto()  # a success with a runtime of another name or scope
    MADE = auto()  # a success status, then no readable body: something exists
    NONE = auto()


class PriorKnowledge(Enum):
    """What was known when the intent was opened for this send."""

    FIRST = auto()  # all earlier attempts, if any, provably made nothing
    AFTER_ABSENT = auto()
    AFTER_UNKNOWN = auto()


class ConflictAbout(Enum):
    """What a 409 is about."""

    NAME = auto()
    OTHER = auto()  # another lasting obstacle
    UNCLEAR = auto()  # the idempotency key, or the provider's own doubts


class TargetMatch(Enum):
    """Whether the place that an intent was sent to can be reached now."""

    SAME = auto()
    SAME_NAMES = auto()  # with other credentials, which may not see what the first ones did
    GONE = auto()  # no configured provider leads there


@dataclass(frozen=True, slots=True)
class Matches:
    """What a look-up by name found. ``own``: runtimes that the intent's attempts made; ``live``: one that has the name
    now; ``may_be_own``: one of these that may be the caller's; ``seen``: any at all."""

    own: int = 0
    live: bool = False
    may_be_own: bool = False
    seen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is known about a create.

    ``proof`` is that of the send that just ended; None before a send and without one. ``matches`` None: the name was
    not looked up, or could not be (``lookup_failed``). ``is_judged``: the gateway itself compares a runtime that has
    the name (a dialect leaves that to the provider). ``is_readable``: the request can be unsealed. ``is_contested``:
    another unsettled create has the name, so that a match may be its.
    """

    traits: CreateTraits
    prior: PriorKnowledge = PriorKnowledge.FIRST
    proof: Proof | None = None
    conflict: ConflictAbout = ConflictAbout.UNCLEAR
    matches: Matches | None = None
    lookup_failed: bool = False
    is_judged: bool = True
    target: TargetMatch = TargetMatch.SAME
    is_readable: bool = True
    is_contested: bool = False


class Verdict(Enum):
    """What follows from findings."""

    FIND_BY_NAME = auto()  # look the name up, then conclude again
    SEND = auto()
    RESEND = auto()  # the same bytes, to the same target, under the same key
    DONE = auto()  # the runtime is found
    EXISTED = auto()  # a runtime had the name before: compare it with the request
    NOTHING_MADE = auto()  # refuse the create, or try another provider
    REFUSED = auto()
    ABSENT = auto()
    UNKNOWN = auto()
    PARKED = auto()
    LOOK_AGAIN = auto()
    FORGET = auto()  # nothing is looked for any more


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A verdict. ``reason`` is stored with the intent; ``after`` is in how many seconds to look again."""

    verdict: Verdict
    reason: str | None = None
    after: float = 0.0


def conclude(
    findings: Findings, *, actor: Actor, intent: Intent, now: float = 0.0, wait_out: float = 0.0
) -> Conclusion:
    """What ``actor`` does next about ``intent``.

    The holder passes what its send proved (before the send: no proof); a waiting caller and the reconciler pass what
    they found out about an intent that nobody holds. ``now`` is the database's time; ``wait_out`` the seconds in which
    the provider may still carry a request out. Both are not used for the holder.
    """
    if actor is Actor.HOLDER:
        return _before_send(findings) if findings.proof is None else _after_send(findings)
    if intent.state is not IntentState.UNKNOWN:
        return _after_conclusion(findings, intent, now, wait_out)
    return _of_unknown(findings, intent, actor, now, wait_out)


def refusal_of(prior: PriorKnowledge, *, by_provider: bool) -> IntentState:
    """The state of an intent whose create is refused because of its name. After an ambiguous send, only the provider's
    own refusal is conclusive; finding another runtime of that name is not."""
    proven = by_provider or prior is not PriorKnowledge.AFTER_UNKNOWN
    return IntentState.REFUSED if proven else IntentState.UNKNOWN


def may_be_sent_again(findings: Findings, actor: Actor, age: float) -> bool:
    """Whether an unknown create may be sent again: the provider recognizes the second one, and without a caller who
    waits only where a create costs nothing."""
    traits = findings.traits
    return (
        traits.deduplication is not Deduplication.NONE
        and (actor is Actor.WAITING_CALLER or traits.is_free)
        and findings.target is TargetMatch.SAME
        and findings.is_readable
        and age <= min(REPLAY_AGE, traits.key_ttl)
    )


def last_send(intent: Intent) -> float:
    """The last moment at which a byte of a create can have been sent."""
    return max((a.last_send for a in intent.attempts if a.last_send is not None), default=intent.created_at)


def backoff(looks: int, wait_out: float) -> float:
    """Seconds before the next look-up after ``looks`` of them: 2 at first, doubled up to a minute, and never longer
    than ``wait_out``."""
    first = min(2.0, wait_out / 4)
    return float(min(first * 2**looks, LONGEST_PAUSE, max(wait_out, first)))


def _before_send(found: Findings) -> Conclusion:
    if found.matches is None:
        return Conclusion(Verdict.FIND_BY_NAME)
    if found.prior is not PriorKnowledge.FIRST and found.matches.own:
        return _found(found.traits, found.matches)
    return Conclusion(Verdict.EXISTED if found.matches.may_be_own else Verdict.SEND)


def _after_send(found: Findings) -> Conclusion:
    by_name = found.traits.deduplication is Deduplication.BY_NAME
    match found.proof:
        case Proof.NOTHING_MADE:
            return Conclusion(_AFTER_NOTHING[found.prior])
        case Proof.REFUSED_FOR_NOW if found.prior is PriorKnowledge.AFTER_UNKNOWN:
            return Conclusion(Verdict.UNKNOWN)  # it says nothing about the send before
        case Proof.REFUSED_FOR_NOW if by_name:
            return Conclusion(Verdict.ABSENT)
        case Proof.MADE | Proof.NONE:
            return Conclusion(Verdict.UNKNOWN)
    if found.matches is None:
        return Conclusion(Verdict.UNKNOWN if found.lookup_failed else Verdict.FIND_BY_NAME)
    if found.matches.own:
        return _found(found.traits, found.matches)
    if found.proof is Proof.REFUSED_FOR_NOW:
        return Conclusion(Verdict.ABSENT)
    if found.proof is Proof.ANOTHER_ANSWER:
        return Conclusion(Verdict.EXISTED if by_name and found.matches.may_be_own else Verdict.UNKNOWN)
    return Conclusion(_after_conflict(found, found.matches))


_AFTER_NOTHING: Final = {
    PriorKnowledge.FIRST: Verdict.NOTHING_MADE,
    PriorKnowledge.AFTER_ABSENT: Verdict.ABSENT,
    PriorKnowledge.AFTER_UNKNOWN: Verdict.UNKNOWN,
}


def _after_conflict(found: Findings, matches: Matches) -> Verdict:
    """A 409 with no runtime of our own."""
    unclear = found.conflict is ConflictAbout.UNCLEAR or (found.conflict is ConflictAbout.NAME and not matches.seen)
    if unclear or (not matches.live and found.prior is PriorKnowledge.AFTER_UNKNOWN):
        return Verdict.UNKNOWN
    if not matches.live and found.conflict is ConflictAbout.OTHER:
        return Verdict.ABSENT  # probably nothing, as after a 402 or 429
    return Verdict.EXISTED if matches.live and found.is_judged else Verdict.REFUSED


def _of_unknown(found: Findings, intent: Intent, actor: Actor, now: float, wait_out: float) -> Conclusion:
    waits = actor is Actor.WAITING_CALLER
    left = last_send(intent) + wait_out - now
    if found.target is TargetMatch.GONE:
        if waits:
            return Conclusion(Verdict.UNKNOWN)
        if left > 0:  # another replica may have loaded settings that this one is about to load
            return Conclusion(Verdict.LOOK_AGAIN, after=min(left + 0.1, LONGEST_PAUSE))
        return Conclusion(Verdict.PARKED, "target_changed")
    if found.matches is None:
        again = may_be_sent_again(found, actor, now - intent.created_at)
        return Conclusion(Verdict.RESEND if again else Verdict.FIND_BY_NAME)
    if found.matches.own == 1 or (found.matches.own and found.traits.marks):
        return Conclusion(Verdict.DONE, None if found.traits.marks else "adopted")
    if waits:
        return Conclusion(Verdict.UNKNOWN)
    if found.matches.own:
        return Conclusion(Verdict.PARKED, "several")
    if not found.is_readable:
        return Conclusion(Verdict.PARKED, "unreadable")
    return _not_found(found, intent, left, now - intent.created_at, wait_out)


def _not_found(found: Findings, intent: Intent, left: float, age: float, wait_out: float) -> Conclusion:
    looks = len(intent.looks) + 1  # with the one that just ended
    if age > GIVE_UP:
        return Conclusion(Verdict.PARKED, "too_old")
    if left >= 0 or looks < 2:
        pause = backoff(looks, wait_out)
        return Conclusion(Verdict.LOOK_AGAIN, after=min(pause, left + 0.1) if left >= 0 else 0.0)
    if any(attempt.made for attempt in intent.attempts):
        return Conclusion(Verdict.PARKED, "made_but_not_found")
    if found.target is not TargetMatch.SAME:
        return Conclusion(Verdict.PARKED, "target_changed")
    return Conclusion(Verdict.ABSENT, "waited_out")


def _after_conclusion(found: Findings, intent: Intent, now: float, wait_out: float) -> Conclusion:
    """Evidence that arrives after the conclusion, looked for during a day."""
    if found.matches is None and found.target is not TargetMatch.GONE:
        return Conclusion(Verdict.FIND_BY_NAME)
    own = found.matches.own if found.matches is not None else 0
    # Of several matches, only a mark identifies the intent's own; a done intent records the others as surplus.
    is_clear = found.traits.marks or intent.state is IntentState.DONE or own == 1
    if own and is_clear and not found.is_contested:
        return Conclusion(Verdict.DONE, None if found.traits.marks else "adopted")
    since = intent.settled_at  # None: a parked one
    if since is None:
        since = max([last_send(intent), *(look.at for look in intent.looks)])
    doubtful = found.is_contested or any(attempt.made is not True for attempt in intent.attempts)
    passed = now - since
    if passed > GIVE_UP or (intent.state is IntentState.DONE and not doubtful):
        return Conclusion(Verdict.FORGET)
    return Conclusion(Verdict.LOOK_AGAIN, after=max(passed, wait_out))


def _found(traits: CreateTraits, matches: Matches) -> Conclusion:
    """Own runtimes were found. Without a mark, one match is adopted, and several prove nothing."""
    if traits.marks:
        return Conclusion(Verdict.DONE)
    if matches.own > 1 and traits.deduplication is Deduplication.NONE:
        return Conclusion(Verdict.UNKNOWN, "several")
    return Conclusion(Verdict.DONE, "adopted" if traits.deduplication is Deduplication.NONE else None)
