"""Uncached look-ups by name, and which of the runtimes found a create has made (docs/creates.md)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final

from gateway.domain.conclusions import Matches
from gateway.domain.differences import differing_fields
from gateway.domain.intents import Intent, IntentAttempt, Look
from gateway.domain.lifecycle import is_live
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.error_mapping import http_date
from gateway.ports.provider import Deduplication, Seen
from gateway.services.fleet import Fleet
from gateway.services.intents.context import LOOK_SECONDS
from gateway.services.intents.targets import ResolvedTarget

_CLOCKS_AGREE: Final = 2.0  # seconds; a runtime created later than now carries the time of another clock


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The result of a look-up. ``provider_now`` is the provider's own time (Unix time, to the second); None if its
    response has no ``Date``."""

    seen: Sequence[Seen]
    provider_now: float | None

    @property
    def live(self) -> list[Seen]:
        """The live runtimes that may be the caller's own."""
        return [seen for seen in self.seen if is_live(seen.runtime.state) and seen.runtime.may_be_own]

    @property
    def has_live(self) -> bool:
        """Whether a live runtime of any owner has the name."""
        return any(is_live(seen.runtime.state) for seen in self.seen)

    def matches(self, own: Sequence[Seen]) -> Matches:
        """What the look-up found, where ``own`` are the runtimes that the intent's attempts made."""
        return Matches(len(own), live=self.has_live, may_be_own=bool(self.live), seen=bool(self.seen))

    def holder_of_name(self) -> Runtime:
        """The live runtime that has the name: the caller's own, if there is one. There has to be one."""
        live = self.live or [seen for seen in self.seen if is_live(seen.runtime.state)]
        return live[0].runtime

    def as_look(self, at: float) -> Look:
        """The form that is stored with the intent. ``at``: Unix time on the database's clock."""
        return Look(at, tuple(seen.runtime.provider_id for seen in self.seen))


async def find_by_name(fleet: Fleet, resolved: ResolvedTarget, name: str, ctx: RequestContext) -> LookupResult:
    """Look up the runtimes of a name, bypassing all caches. Raises as any read at the provider does."""
    async with fleet.call_scope(resolved.provider, Operation.LIST, ctx, at_most=LOOK_SECONDS) as call:
        call.settling = True
        seen = await resolved.adapter.find_with_markers(resolved.scope, name, call)
        return LookupResult(seen, moment_of_header(call.provider_date))


def match_own(
    resolved: ResolvedTarget,
    intent: Intent,
    looked: LookupResult,
    *,
    now: float,
    slack: float = 0.0,
    request: CreateRequest | None,
    others: Collection[str] = (),
    refused: bool = False,
    misanswered: bool = False,
    unclear: bool = False,
) -> list[Seen]:
    """The runtimes that an intent's attempts made, as far as that can be determined.

    The marker decides where creates are marked. Elsewhere, it is a runtime that may be the caller's own, did not exist
    before, was created after the first send, matches the request in what can be compared, and was not made by another
    create (``others``, ids). ``now`` is the database's time of the look-up, at most ``slack`` seconds too late.
    ``refused``: the last send was refused, so only an earlier one, or a duplicate of it, can have made the runtime.
    ``misanswered``: the last send received another create's response, so a runtime created at about that time is its
    own. ``unclear``: a runtime created in the second of the send counts, too; the caller compares its content.
    """
    if resolved.adapter.marks_creates:
        return [seen for seen in looked.seen if seen.marker == intent.id]
    again = is_sent_again(intent)
    if refused and not again and resolved.adapter.deduplication is Deduplication.BY_NAME:
        return []  # the provider would have answered its duplicate with the runtime of the first
    known = {*others, *(intent.before.found if intent.before else ())}
    first_send = _first_send(intent)
    trusting = again or misanswered or (intent.before is not None and not refused)
    found = []
    for seen in looked.seen:
        runtime = seen.runtime
        if runtime.provider_id in known or not runtime.may_be_own:
            continue
        lenient = trusting or unclear
        age_of_send = now - first_send if lenient else now - slack - first_send
        if not _made_since(runtime, age_of_send, looked.provider_now, trusting=lenient, otherwise=trusting):
            continue
        if request is not None and differing_fields(request, runtime):
            continue
        found.append(seen)
    return found


def is_sent_again(intent: Intent) -> bool:
    """Whether more than one send may have made a runtime."""
    sends = _sends(intent)
    return len(sends) > 1 or any(attempt.epoch < intent.epoch for attempt in sends)


class Age(Enum):
    """The age of a runtime, compared with that of a send."""

    OLDER = auto()  # or unknown
    UNCLEAR = auto()  # in the second of the send
    YOUNGER = auto()


def age_of(runtime: Runtime, intent: Intent, looked: LookupResult, now: float, slack: float = 0.0) -> Age:
    """The age of a runtime, compared with that of the intent's first send. ``now`` is the database's time of the
    look-up, at most ``slack`` seconds too late."""
    age = now - _first_send(intent)
    if not _made_since(runtime, age, looked.provider_now, trusting=True, otherwise=False):
        return Age.OLDER
    certain = _made_since(runtime, age - slack, looked.provider_now, trusting=False, otherwise=False)
    return Age.YOUNGER if certain else Age.UNCLEAR


def needs_precheck(resolved: ResolvedTarget, *, name_is_new: bool) -> bool:
    """Whether the name is looked up before a create is sent: if the provider does not ensure unique names, unless the
    gateway just generated the name."""
    return resolved.adapter.deduplication is not Deduplication.BY_NAME and not name_is_new


def _sends(intent: Intent) -> list[IntentAttempt]:
    return [attempt for attempt in intent.attempts if attempt.made is not False]


def _first_send(intent: Intent) -> float:
    moments = (attempt.first_send for attempt in _sends(intent) if attempt.first_send is not None)
    return min(moments, default=intent.created_at)


def _made_since(
    runtime: Runtime, age_of_send: float, provider_now: float | None, *, trusting: bool, otherwise: bool
) -> bool:
    """Whether a runtime is younger than the first send. Two ages are compared, each measured by one clock (the
    provider's for the runtime, the database's for the send), so the clocks need not agree.

    The provider's time has a resolution of one second. ``trusting``: a runtime that may be younger counts; otherwise it
    has to be younger for certain. If times are missing or inconsistent, ``otherwise`` is the result.
    """
    made = _moment(runtime.created_at)
    if made is None or provider_now is None:
        return otherwise
    age = provider_now - made
    if age < -_CLOCKS_AGREE or age_of_send < 0:  # the database's clock was set back
        return otherwise
    return age <= age_of_send + 1.0 if trusting else age + 1.0 <= age_of_send


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def moment_of_header(text: str | None) -> float | None:
    """The provider's time of a response, from its ``Date`` header: Unix time, to the second; None if unreadable."""
    moment = http_date(text or "")
    return None if moment is None else moment.timestamp()
