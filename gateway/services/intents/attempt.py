"""One turn with an intent: look where that comes first, send, and conclude from what came of it."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.domain.errors import (
    AlreadyExists,
    CapacityExceeded,
    FieldError,
    GatewayError,
    Overloaded,
    ProviderBadResponse,
    ProviderFailure,
    QuotaExceeded,
    StateConflict,
)
from gateway.domain.intents import IntentState
from gateway.domain.lifecycle import is_live
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import CreateAttempt, Runtime
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created, Deduplication, Seen
from gateway.ports.sealing import Unreadable
from gateway.ports.store import Changes
from gateway.ports.transport import Call, TransportFailure
from gateway.services.intents.context import Parts, Wanted, outcome_unknown
from gateway.services.intents.evidence import Evidence, NotMade, Origin, Proof, evidence_of
from gateway.services.intents.lease import Holding, TooSlow
from gateway.services.intents.lookup import Looked, look, moment_of_header, needs_a_look_before, ours
from gateway.services.intents.name_conflicts import compared, hidden_predecessor, made_by_others
from gateway.services.intents.payloads import SentCreate
from gateway.services.intents.targets import Place

_CONFLICTS: Final = (AlreadyExists, StateConflict, QuotaExceeded, CapacityExceeded)
"""What a 409 may say against a create for good. Anything else is about the key, or the provider's own doubts."""


class Turn:
    """A holder's turn.

    ``sent`` is what goes out, ``request`` what is compared with what is found, ``wanted`` the caller's own, if this is
    its create; ``tried`` are the providers that made nothing before. It ends in one of: the runtime, told as made or as
    there before; an error, with the state that it stands for written down; :class:`NotMade`.
    """

    def __init__(
        self,
        parts: Parts,
        holding: Holding,
        sent: SentCreate,
        ctx: RequestContext,
        *,
        origin: Origin = Origin.FIRST,
        wanted: Wanted | None = None,
        tried: Sequence[CreateAttempt] = (),
    ) -> None:
        self.holding = holding
        self._parts = parts
        self._sent = sent
        self._ctx = ctx
        self._origin = origin
        self._wanted = wanted
        self._tried = tried
        self._others: frozenset[str] = frozenset()
        self._request: CreateRequest | None = wanted.request if wanted is not None else sent.request()
        ctx.intent_id = holding.intent.id

    @property
    def _place(self) -> Place:
        return self.holding.place

    async def run(self, call: Call) -> Created:
        """Take the turn. ``call`` is the create's own, with its time limit."""
        try:
            if self._origin is not Origin.FIRST:
                self._others = await made_by_others(self._parts, self.holding.intent)
            found = await self._look_before()
            return found if found is not None else await self._send(call)
        except asyncio.CancelledError:
            await asyncio.shield(self._leave())
            raise

    async def elsewhere(self, place: Place, sent: SentCreate, key: str | None) -> bool:
        """Go on at another place after :class:`NotMade`; whether the name is free there."""
        self._sent = sent
        return await self.holding.go_elsewhere(place, sent, key)

    async def refuse(self, error: GatewayError, cause: GatewayError | None = None) -> Created:
        """Nothing of ours was made: write that down, and raise ``error``. After an unknown send only the provider's own
        refusal because of the name tells; that there is a namesake proves nothing."""
        proven = (cause or error).failure is not None or self._origin is not Origin.AFTER_UNKNOWN
        await self.holding.end(IntentState.REFUSED if proven else IntentState.UNKNOWN)
        raise error from cause

    async def _look_before(self) -> Created | None:
        new_name = self._wanted is not None and self._wanted.name_is_new
        first_and_natively = self._origin is Origin.FIRST and not self._sent.judged
        if first_and_natively or not needs_a_look_before(self._place, name_is_new=new_name):
            return None  # (natively, the provider itself says what it makes of the name)
        try:
            looked = await self._look()
        except GatewayError as error:
            return await self._after_nothing(Evidence(Proof.NOTHING_MADE, error, "queued", None))
        if self._origin is not Origin.FIRST and (mine := self._ours(looked)):
            return await self._proven(mine)
        if live := looked.live:
            return await self._existing(live[0].runtime)
        try:
            hidden = await hidden_predecessor(self._parts, self.holding, looked, self._ctx)
        except GatewayError as error:
            return await self._after_nothing(Evidence(Proof.NOTHING_MADE, error, "queued", None))
        if hidden is not None:
            return await self._existing(hidden)
        if not self._place.adapter.marks_creates and self.holding.intent.before is None:
            await self.holding.renew(Changes(before=looked.as_look(self.holding.now())))
        return None

    async def _send(self, call: Call) -> Created:
        try:
            await self.holding.stay_fresh()
        except TooSlow:
            busy = Overloaded("The gateway is too busy to send this create in time; nothing was sent.", retry_after=1.0)
            return await self._after_nothing(Evidence(Proof.NOTHING_MADE, busy, "queued", None))
        adapter = self._place.adapter
        self.holding.begin_send()
        key = self.holding.intent.provider_key
        try:
            created = await adapter.send_create(self._sent.wire, self._place.scope, call, idempotency_key=key)
        except (TransportFailure, GatewayError) as failure:
            evidence = evidence_of(adapter, failure)
            self.holding.end_send(evidence.phase, evidence.status, made=evidence.made)
            return await self._conclude(evidence)
        if not adapter.answers_create(created.runtime, self.holding.intent.name, self._place.name_scope):
            self.holding.end_send("answered", None, made=None)
            return await self._after_another_answer(created.runtime)
        self.holding.end_send("answered", None, made=True if created.created else None)
        if created.created:
            return await self._done(created)
        if self._origin is not Origin.FIRST:
            looked = Looked([Seen(created.runtime)], moment_of_header(call.provider_date))
            if self._ours(looked):
                return await self._done(Created(created.runtime, created=True, native=created.native))
        if not self._sent.judged:
            return await self._done(created)
        return await self._existing(created.runtime)

    async def _conclude(self, evidence: Evidence) -> Created:
        if evidence.proof is Proof.NOTHING_MADE:
            return await self._after_nothing(evidence)
        if evidence.proof is Proof.CONFLICT:
            return await self._after_conflict(evidence)
        if evidence.proof is Proof.REFUSED_FOR_NOW and self._origin is not Origin.AFTER_UNKNOWN:
            return await self._after_refusal_for_now(evidence)
        raise await self._unknown(evidence)

    async def _after_nothing(self, evidence: Evidence) -> Created:
        if self._origin is Origin.FIRST:
            raise NotMade(evidence)
        if self._origin is Origin.AFTER_ABSENT:
            await self.holding.end(IntentState.ABSENT)
            raise evidence.error
        raise await self._unknown(evidence)

    async def _after_refusal_for_now(self, evidence: Evidence) -> Created:
        if self._place.adapter.deduplication is not Deduplication.BY_NAME:
            try:
                looked = await self._look()
            except GatewayError:
                raise await self._unknown(evidence) from evidence.error
            if mine := self._ours(looked):
                return await self._proven(mine)
        await self.holding.end(IntentState.ABSENT)
        raise evidence.error

    async def _after_conflict(self, evidence: Evidence) -> Created:
        """A 409 in the provider's own envelope: one uncached look by name decides."""
        try:
            looked = await self._look()
        except GatewayError:
            raise await self._unknown(evidence) from evidence.error
        if mine := self._ours(looked, refused=True):
            return await self._proven(mine)
        live = [seen.runtime for seen in looked.seen if is_live(seen.runtime.state)]
        by_name = isinstance(evidence.error, AlreadyExists)
        unclear = not isinstance(evidence.error, _CONFLICTS) or (by_name and not looked.seen)
        if unclear or (not live and self._origin is Origin.AFTER_UNKNOWN):
            raise await self._unknown(evidence) from evidence.error
        if not live and not by_name:
            # A conflict with something else than the name or the key: likely nothing, as after a 402 or 429.
            await self.holding.end(IntentState.ABSENT)
            raise evidence.error
        if not live or not self._sent.judged:
            return await self.refuse(evidence.error)
        own = [seen.runtime for seen in looked.live]
        return await self._existing((own or live)[0], evidence.error)

    async def _after_another_answer(self, answered: Runtime) -> Created:
        """A success with a runtime of another name or scope answers another request: one uncached look by the name
        that was sent decides."""
        place, holding = self._place, self.holding
        self._parts.observer.misanswered(holding.intent, answered.provider_id)
        error = ProviderBadResponse(
            f"The provider {place.provider.name} answered this create with a runtime of another name or scope.",
            failure=ProviderFailure(place.provider.name),
        )
        evidence = Evidence(Proof.NONE, error, "answered", None)
        try:
            looked = await self._look()
        except GatewayError:
            raise await self._unknown(evidence) from error
        if mine := self._ours(looked, misanswered=True):
            return await self._proven(mine)
        if place.adapter.deduplication is Deduplication.BY_NAME and (live := looked.live):
            return await self._existing(live[0].runtime)  # it was there before, so this create made none
        raise await self._unknown(evidence) from error

    async def _existing(self, runtime: Runtime, conflict: GatewayError | None = None) -> Created:
        """The name was taken before. ``conflict`` is the provider's own refusal, which stands even where nothing that
        the caller sent can be seen to differ."""
        request, adapter = self._request, self._place.adapter
        if request is not None and request.if_exists == "fail":
            taken = AlreadyExists("A runtime of this name exists already.", provider=adapter.name)
            return await self.refuse(taken, conflict)
        differing: Sequence[FieldError] = ()
        if request is not None:
            whole = conflict is not None
            runtime, differing = await compared(self._parts, self._place, request, runtime, self._ctx, whole=whole)
        if differing or (conflict is not None and adapter.deduplication is Deduplication.BY_NAME):
            taken = AlreadyExists(
                "A runtime of this name exists already and differs from this request.",
                errors=differing,
                provider=adapter.name,
                failure=conflict.failure if conflict else None,
            )
            return await self.refuse(taken, conflict)
        return await self._done(Created(runtime, created=False))

    async def _proven(self, mine: Sequence[Seen]) -> Created:
        """The runtime that an attempt has made was found. Where creates carry no mark, it is adopted."""
        adapter = self._place.adapter
        first, *rest = mine
        adopted = not adapter.marks_creates and adapter.deduplication is Deduplication.NONE
        if adopted and rest:
            raise await self._unknown(None, reason="several")
        runtime = msgspec.structs.replace(first.runtime, adopted=True) if adopted else first.runtime
        created = await self._done(Created(runtime, created=True), reason="adopted" if adopted else None)
        for seen in rest:
            await self.holding.surplus(seen.runtime.provider_id)
        return created

    async def _done(self, created: Created, *, reason: str | None = None) -> Created:
        """The runtime's id is proven. The answer is given whatever becomes of writing that down."""
        wanted, target = self._wanted, self._place.target
        self._ctx.runtime_id = created.runtime.id
        request = self._request if created.created else None
        doubtful = self.holding.may_turn_up_twice()
        if wanted is None:
            await self.holding.found(created, request=request, doubtful=doubtful, reason=reason)
            return created
        if wanted.starts:  # that it exists is written before anything else is asked for
            await self.holding.found(created, request=request, doubtful=doubtful, reason=reason)
            request = None
        answer = await wanted.finish(target, created)
        if self._tried:
            runtime = msgspec.structs.replace(answer.runtime, attempts=list(self._tried))
            answer = Created(runtime, answer.created, answer.native)
        kept = self._parts.contents.seal_outcome(self.holding.intent.id, answer) if wanted.key is not None else None
        if kept is None and wanted.starts:
            return answer
        settled = await self.holding.found(created, outcome=kept, request=request, doubtful=doubtful, reason=reason)
        if settled is None or kept is None or settled.outcome == kept:
            return answer
        try:
            return self._parts.contents.outcome(settled) or answer
        except Unreadable:
            return answer

    async def _unknown(self, evidence: Evidence | None, reason: str | None = None) -> GatewayError:
        """Write down that nothing is proven; the error to raise."""
        await self.holding.end(IntentState.UNKNOWN, reason=reason)
        error = evidence.error if evidence is not None else None
        return outcome_unknown(
            self.holding.intent,
            key=self._wanted.key if self._wanted is not None else None,
            detail=(
                f"The provider {self._place.provider.name} may or may not have made the runtime; it is being found "
                "out. Send the same request again, with the same key and name, to hear what came of it."
            ),
            failure=error.failure if error is not None else None,
            retry_after=error.retry_after if error is not None else None,
        )

    async def _leave(self) -> None:
        """The turn is cut off: somebody else finds out what came of it, and need not wait for the lease to end."""
        holding = self.holding
        nothing = self._origin is Origin.FIRST and all(attempt.made is False for attempt in holding.intent.attempts)
        if holding.is_sending:
            holding.end_send("sent", None, made=None)
        elif nothing:
            await holding.end(IntentState.REFUSED, reason="cancelled")
            return
        await holding.end(IntentState.UNKNOWN, reason="cancelled")

    async def _look(self) -> Looked:
        return await look(self._parts.fleet, self._place, self.holding.intent.name, self._ctx)

    def _ours(self, looked: Looked, *, refused: bool = False, misanswered: bool = False) -> list[Seen]:
        holding = self.holding
        return ours(
            self._place, holding.intent, looked, now=holding.now(), slack=holding.slack, request=self._request,
            others=self._others, refused=refused, misanswered=misanswered,
        )  # fmt: skip
