"""A create whose key or name has an intent already: wait, answer again, send again, or find out what became of it."""

from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.domain.errors import (
    AlreadyExists,
    IdempotencyKeyReused,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    RuntimeReplaced,
)
from gateway.domain.ids import RuntimeRef
from gateway.domain.intents import Intent, IntentAttempt, IntentState, Who
from gateway.domain.lifecycle import is_live
from gateway.domain.operations import Operation
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created, Deduplication
from gateway.ports.sealing import Unreadable
from gateway.ports.store import Changes, Lost, Moved, NameTaken, Version
from gateway.services.intents.attempt import Turn
from gateway.services.intents.context import Parts, Wanted, needs_a_person, new_holder, outcome_unknown, still_running
from gateway.services.intents.evidence import Origin
from gateway.services.intents.lease import Asked, Holding
from gateway.services.intents.lookup import look, ours
from gateway.services.intents.name_conflicts import compared, made_by_others
from gateway.services.intents.targets import Place
from gateway.services.intents.timing import REPLAY_AGE

_FIRST_POLL: Final = 0.02
_LONGEST_POLL: Final = 0.25


@dataclass(frozen=True, slots=True)
class Ensured:
    """The outcome of a create. ``replayed``: it is the answer that was given to the same key before."""

    created: Created
    replayed: bool = False


class Joining:
    """Goes on with intents that others began, or an earlier try of the same caller."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def of_key(
        self, intent: Intent, wanted: Wanted, ctx: RequestContext, until: float
    ) -> Ensured | Intent | None:
        """Go on with the intent of the caller's key, until the monotonic moment ``until``. An intent: all its attempts
        provably made nothing, and it is to be opened again. None: it is gone, and the create may begin anew.

        Raises :class:`IdempotencyKeyReused`, :class:`IdempotencyInProgress` and :class:`OutcomeUnknown`.
        """
        ctx.intent_id, ctx.provider, ctx.scope = intent.id, intent.provider, intent.scope
        ctx.idempotency = "joined"
        self._refuse_another_body(intent, wanted)
        pause = _FIRST_POLL
        while True:
            match intent.state:
                case IntentState.DONE:
                    answered = self._kept_answer(intent, wanted)
                    if answered is not None:
                        ctx.idempotency, ctx.runtime_id = "replayed", answered.runtime.id
                        return Ensured(answered, replayed=True)
                    if self._parts.clock.monotonic() >= until or not wanted.starts:
                        return Ensured(await self._rebuilt(intent, wanted, ctx), replayed=True)
                case IntentState.REFUSED:
                    return intent
                case IntentState.ABSENT:
                    tried = await self._resend(intent, wanted, ctx, Origin.AFTER_ABSENT)
                    if tried is not None:
                        return Ensured(tried)
                case IntentState.UNKNOWN if not await self._is_held(intent):
                    tried = await self._settle(intent, wanted, ctx)
                    if tried is not None:
                        return Ensured(tried)
                case IntentState.PARKED:
                    raise needs_a_person(intent, wanted.key)
                case IntentState.OPEN if not await self._is_held(intent):
                    await end_of_lease(self._parts, intent, new_holder())
            now = await self._waited(intent, ctx, until, pause)
            if now is None:
                return None
            intent, pause = now, min(pause * 2, _LONGEST_POLL)

    async def of_name(self, intent: Intent, wanted: Wanted, ctx: RequestContext, until: float) -> Ensured | None:
        """Wait for what becomes of another create of the same name. None: the name is free for one's own.

        Raises :class:`AlreadyExists`, :class:`IdempotencyInProgress` and :class:`OutcomeUnknown`."""
        ctx.idempotency = "joined"
        pause = _FIRST_POLL
        while True:
            match intent.state:
                case IntentState.DONE:
                    own_row = wanted.key is not None or not wanted.judged
                    return None if own_row else await self._made_by_another(intent, wanted, ctx)
                case IntentState.REFUSED | IntentState.ABSENT:
                    return None
                case IntentState.PARKED:
                    raise needs_a_person(intent, None)
                case IntentState.UNKNOWN if not await self._is_held(intent):
                    await self._settle(intent, None, ctx)
                case IntentState.OPEN if not await self._is_held(intent):
                    await end_of_lease(self._parts, intent, new_holder())
            now = await self._waited(intent, ctx, until, pause)
            if now is None:
                return None
            intent, pause = now, min(pause * 2, _LONGEST_POLL)

    def _refuse_another_body(self, intent: Intent, wanted: Wanted) -> None:
        try:
            same = self._parts.contents.is_same(intent, wanted.operation, wanted.document)
        except Unreadable as exc:
            raise needs_a_person(intent, wanted.key) from exc
        if not same:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another request; take a new key for a new request."
            )

    def _kept_answer(self, intent: Intent, wanted: Wanted) -> Created | None:
        try:
            return self._parts.contents.outcome(intent)
        except Unreadable as exc:
            raise needs_a_person(intent, wanted.key) from exc

    async def _rebuilt(self, intent: Intent, wanted: Wanted, ctx: RequestContext) -> Created:
        """The answer of a create that is done and was never answered: from the runtime as it is now."""
        place = await self._parts.places.of_intent(intent, ctx, looking=True)
        if place is None or intent.runtime_id is None:
            raise needs_a_person(intent, wanted.key)
        runtime = await self._read(place, intent, ctx)
        if intent.reason == "adopted":
            runtime = msgspec.structs.replace(runtime, adopted=True)
        answer = await wanted.finish(place.target, Created(runtime, created=True))
        changes = Changes(outcome=self._parts.contents.seal_outcome(intent.id, answer))
        settled = await self._parts.store.found(intent.id, intent.runtime_id, changes=changes)
        return (self._kept_answer(settled, wanted) if settled is not None else None) or answer

    async def _made_by_another(self, intent: Intent, wanted: Wanted, ctx: RequestContext) -> Ensured | None:
        """The runtime that another create has made under the name, if it still has it."""
        place = await self._parts.places.of_intent(intent, ctx)
        if place is None:
            return None
        try:
            runtime = await self._read(place, intent, ctx)
        except (NotFound, RuntimeReplaced):
            return None
        if not is_live(runtime.state):
            return None
        runtime, differing = await compared(self._parts, place, wanted.request, runtime, ctx, whole=False)
        if wanted.request.if_exists == "fail" or differing:
            raise AlreadyExists(
                "A runtime of this name exists already" + (" and differs from this request." if differing else "."),
                errors=differing,
                provider=place.provider.name,
            )
        ctx.provider, ctx.scope, ctx.runtime_id = place.provider.name, place.scope, runtime.id
        return Ensured(await wanted.finish(place.target, Created(runtime, created=False)))

    async def _read(self, place: Place, intent: Intent, ctx: RequestContext) -> Runtime:
        ref = RuntimeRef(intent.scope, intent.runtime_id or "", intent.name)
        async with self._parts.fleet.calling(place.provider, Operation.GET, ctx) as call:
            call.settling = True
            return await place.adapter.get(ref, call)

    async def _settle(self, intent: Intent, wanted: Wanted | None, ctx: RequestContext) -> Created | None:
        """Find out what became of an unknown create on behalf of a caller who waits: by sending it again where the
        provider tells the second one from the first, else by a look. None when somebody else is at it."""
        parts = self._parts
        place = await parts.places.of_intent(intent, ctx, looking=True)
        sent = parts.contents.request(intent)
        if place is None:
            raise _not_known(intent, wanted)
        now = await parts.store.now()
        deduplicates = place.adapter.deduplication is not Deduplication.NONE
        may_be_sent = deduplicates and parts.places.is_target(place, intent.target)
        if may_be_sent and sent is not None and now - intent.created_at <= min(REPLAY_AGE, place.adapter.key_life):
            try:
                return await self._resend(intent, wanted, ctx, Origin.AFTER_UNKNOWN)
            except AlreadyExists as refused:  # that is about the request of the intent, whoever waits for it
                if wanted is not None:
                    raise
                now_known = await parts.store.get(intent.id)
                if now_known is None or now_known.state is not IntentState.UNKNOWN:
                    return None
                raise _not_known(intent, wanted) from refused
        request = sent.request() if sent is not None else None
        looked = await look(parts.fleet, place, intent.name, ctx)
        now = await parts.store.now()
        others = await made_by_others(parts, intent)
        mine = ours(place, intent, looked, now=now, request=request, others=others)
        if len(mine) == 1 or (mine and place.adapter.marks_creates):
            reason = None if place.adapter.marks_creates else "adopted"
            found = mine[0].runtime.provider_id
            settled = await parts.store.found(
                intent.id, found, changes=Changes(reason=reason), look_in=parts.rules.wait_out
            )
            if settled is not None and settled.runtime_id == found:
                parts.observer.settled(settled, late=True)
            elif settled is not None:
                parts.observer.surplus(settled, found)
            return None
        raise _not_known(intent, wanted)

    async def _resend(
        self, intent: Intent, wanted: Wanted | None, ctx: RequestContext, origin: Origin
    ) -> Created | None:
        """Send an intent's request again, byte for byte, to the same target under the same name and key. None when
        somebody else is at it."""
        parts = self._parts
        place = await parts.places.of_intent(intent, ctx)
        if place is None:
            raise needs_a_person(intent, _key(wanted))
        sent = parts.contents.request(intent)
        if sent is None:
            if wanted is None or origin is Origin.AFTER_UNKNOWN:
                raise needs_a_person(intent, _key(wanted))
            sent = wanted.sent_to(place, intent.id)
        async with parts.creating(place, ctx, sent.secret_values()) as call:
            holding = await reopened(parts, intent, place, Changes())
            if not isinstance(holding, Holding):
                return None
            ctx.idempotency = "resent"
            return await Turn(parts, holding, sent, ctx, origin=origin, wanted=wanted).run(call)

    async def _is_held(self, intent: Intent) -> bool:
        """Whether somebody has the lease."""
        if intent.holder is None or intent.lease_until is None:
            return False
        return intent.lease_until > await self._parts.store.now()

    async def _waited(self, intent: Intent, ctx: RequestContext, until: float, pause: float) -> Intent | None:
        """The intent a moment later. Raises :class:`IdempotencyInProgress` when the caller has waited long enough, or
        when too many wait for the same provider."""
        if self._parts.clock.monotonic() >= until:
            raise still_running(intent)
        if ctx.admission is not None:
            try:
                ctx.admission.enter(intent.provider)
            except Overloaded as exc:
                raise still_running(intent) from exc
        await self._parts.clock.sleep(pause)
        return await self._parts.store.get(intent.id)


async def reopened(parts: Parts, intent: Intent, place: Place, changes: Changes) -> Holding | Lost | NameTaken:
    """Open an intent again, for a caller who waits for it."""
    holder, asked = new_holder(), Asked.now(parts.clock)
    lease = parts.lease(place)
    moved = await parts.store.move(
        Version.of(intent), IntentState.OPEN, Who.WAITING_CALLER, holder, lease=lease, changes=changes
    )
    if isinstance(moved, Moved):
        return Holding(parts, place, moved.intent, holder, asked)
    return moved


async def end_of_lease(parts: Parts, intent: Intent, holder: str, *, lease: float | None = None) -> Moved | Lost | None:
    """Take an open intent whose holder is gone for unknown: its send may have gone out at any time of its lease.

    ``lease``: who takes it goes on with it for so many seconds, and was handed it as due, which told when that lease
    had ended; if that one dies too, the intent is due again at the end of this lease."""
    before = [attempt.last_send for attempt in intent.attempts if attempt.last_send is not None]
    presumed = IntentAttempt(
        epoch=intent.epoch,
        target=intent.target,
        first_send=max(before, default=intent.created_at),
        last_send=intent.lease_until if lease is None else intent.updated_at,
    )
    moved = await parts.store.move(
        Version.of(intent),
        IntentState.UNKNOWN,
        Who.ANYONE,
        holder,
        lease=lease,
        look_in=lease or 0.0,
        changes=Changes(attempts=(*intent.attempts, presumed), reason="lease_ended"),
    )
    if isinstance(moved, Moved):
        parts.observer.unknown(moved.intent)
    return moved if not isinstance(moved, NameTaken) else None


def _not_known(intent: Intent, wanted: Wanted | None) -> OutcomeUnknown:
    return outcome_unknown(
        intent,
        key=_key(wanted),
        detail=(
            f"The provider {intent.provider} was asked for this runtime, and it is not known yet whether it was "
            "made. Send the same request again later, with the same key and name."
        ),
    )


def _key(wanted: Wanted | None) -> str | None:
    return wanted.key if wanted is not None else None
