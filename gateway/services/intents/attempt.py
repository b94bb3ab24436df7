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
from gateway.services.intents.context import CreateCommand, CreateContext, outcome_unknown
from gateway.services.intents.evidence import Evidence, NothingCreated, PriorKnowledge, Proof, evidence_of
from gateway.services.intents.lease import LeasedIntent, LeaseStale
from gateway.services.intents.lookup import LookupResult, find_by_name, match_own, moment_of_header, needs_precheck
from gateway.services.intents.name_conflicts import compare_with, made_by_others, unlisted_predecessor
from gateway.services.intents.payloads import SentCreate
from gateway.services.intents.targets import ResolvedTarget

_CONFLICTS: Final = (AlreadyExists, StateConflict, QuotaExceeded, CapacityExceeded)
"""What a 409 may say against a create for good. Anything else is about the key, or the provider's own doubts."""


class SendAttempt:
    """A holder's turn.

    ``sent`` is what goes out, ``request`` what is compared with what is found, ``command`` the caller's own, if this is
    its create; ``tried`` are the providers that made nothing before. It ends in one of: the runtime, told as made or as
    there before; an error, with the state that it stands for written down; :class:`NothingCreated`.
    """

    def __init__(
        self,
        context: CreateContext,
        leased: LeasedIntent,
        sent: SentCreate,
        ctx: RequestContext,
        *,
        prior: PriorKnowledge = PriorKnowledge.FIRST,
        command: CreateCommand | None = None,
        tried: Sequence[CreateAttempt] = (),
    ) -> None:
        self.leased = leased
        self._context = context
        self._sent = sent
        self._ctx = ctx
        self._prior = prior
        self._command = command
        self._tried = tried
        self._others: frozenset[str] = frozenset()
        self._request: CreateRequest | None = command.request if command is not None else sent.request()
        ctx.intent_id = leased.intent.id

    @property
    def _resolved(self) -> ResolvedTarget:
        return self.leased.resolved

    async def run(self, call: Call) -> Created:
        """Take the turn. ``call`` is the create's own, with its time limit."""
        try:
            if self._prior is not PriorKnowledge.FIRST:
                self._others = await made_by_others(self._context, self.leased.intent)
            found = await self._look_before()
            return found if found is not None else await self._send(call)
        except asyncio.CancelledError:
            await asyncio.shield(self._leave())
            raise

    async def elsewhere(self, resolved: ResolvedTarget, sent: SentCreate, key: str | None) -> bool:
        """Go on at another place after :class:`NothingCreated`; whether the name is free there."""
        self._sent = sent
        return await self.leased.go_elsewhere(resolved, sent, key)

    async def refuse(self, error: GatewayError, cause: GatewayError | None = None) -> Created:
        """Nothing of ours was made: write that down, and raise ``error``. After an unknown send only the provider's own
        refusal because of the name tells; that there is a namesake proves nothing."""
        proven = (cause or error).failure is not None or self._prior is not PriorKnowledge.AFTER_UNKNOWN
        await self.leased.end(IntentState.REFUSED if proven else IntentState.UNKNOWN)
        raise error from cause

    async def _look_before(self) -> Created | None:
        new_name = self._command is not None and self._command.name_is_new
        first_and_natively = self._prior is PriorKnowledge.FIRST and not self._sent.judged
        if first_and_natively or not needs_precheck(self._resolved, name_is_new=new_name):
            return None  # (natively, the provider itself says what it makes of the name)
        try:
            looked = await self._look()
        except GatewayError as error:
            return await self._after_nothing(Evidence(Proof.NOTHING_MADE, error, "queued", None))
        if self._prior is not PriorKnowledge.FIRST and (mine := self._ours(looked)):
            return await self._proven(mine)
        if live := looked.live:
            return await self._existing(live[0].runtime)
        try:
            hidden = await unlisted_predecessor(self._context, self.leased, looked, self._ctx)
        except GatewayError as error:
            return await self._after_nothing(Evidence(Proof.NOTHING_MADE, error, "queued", None))
        if hidden is not None:
            return await self._existing(hidden)
        if not self._resolved.adapter.marks_creates and self.leased.intent.before is None:
            await self.leased.renew(Changes(before=looked.as_look(self.leased.now())))
        return None

    async def _send(self, call: Call) -> Created:
        try:
            await self.leased.stay_fresh()
        except LeaseStale:
            busy = Overloaded("The gateway is too busy to send this create in time; nothing was sent.", retry_after=1.0)
            return await self._after_nothing(Evidence(Proof.NOTHING_MADE, busy, "queued", None))
        adapter = self._resolved.adapter
        self.leased.begin_send()
        key = self.leased.intent.provider_key
        try:
            created = await adapter.send_create(self._sent.wire, self._resolved.scope, call, idempotency_key=key)
        except (TransportFailure, GatewayError) as failure:
            evidence = evidence_of(adapter, failure)
            self.leased.end_send(evidence.phase, evidence.status, made=evidence.made)
            return await self._conclude(evidence)
        if not adapter.answers_create(created.runtime, self.leased.intent.name, self._resolved.canonical_scope):
            self.leased.end_send("answered", None, made=None)
            return await self._after_another_answer(created.runtime)
        self.leased.end_send("answered", None, made=True if created.created else None)
        if created.created:
            return await self._done(created)
        if self._prior is not PriorKnowledge.FIRST:
            looked = LookupResult([Seen(created.runtime)], moment_of_header(call.provider_date))
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
        if evidence.proof is Proof.REFUSED_FOR_NOW and self._prior is not PriorKnowledge.AFTER_UNKNOWN:
            return await self._after_refusal_for_now(evidence)
        raise await self._unknown(evidence)

    async def _after_nothing(self, evidence: Evidence) -> Created:
        if self._prior is PriorKnowledge.FIRST:
            raise NothingCreated(evidence)
        if self._prior is PriorKnowledge.AFTER_ABSENT:
            await self.leased.end(IntentState.ABSENT)
            raise evidence.error
        raise await self._unknown(evidence)

    async def _after_refusal_for_now(self, evidence: Evidence) -> Created:
        if self._resolved.adapter.deduplication is not Deduplication.BY_NAME:
            try:
                looked = await self._look()
            except GatewayError:
                raise await self._unknown(evidence) from evidence.error
            if mine := self._ours(looked):
                return await self._proven(mine)
        await self.leased.end(IntentState.ABSENT)
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
        if unclear or (not live and self._prior is PriorKnowledge.AFTER_UNKNOWN):
            raise await self._unknown(evidence) from evidence.error
        if not live and not by_name:
            # A conflict with something else than the name or the key: likely nothing, as after a 402 or 429.
            await self.leased.end(IntentState.ABSENT)
            raise evidence.error
        if not live or not self._sent.judged:
            return await self.refuse(evidence.error)
        own = [seen.runtime for seen in looked.live]
        return await self._existing((own or live)[0], evidence.error)

    async def _after_another_answer(self, answered: Runtime) -> Created:
        """A success with a runtime of another name or scope answers another request: one uncached look by the name
        that was sent decides."""
        resolved, leased = self._resolved, self.leased
        self._context.observer.misanswered(leased.intent, answered.provider_id)
        error = ProviderBadResponse(
            f"The provider {resolved.provider.name} answered this create with a runtime of another name or scope.",
            failure=ProviderFailure(resolved.provider.name),
        )
        evidence = Evidence(Proof.NONE, error, "answered", None)
        try:
            looked = await self._look()
        except GatewayError:
            raise await self._unknown(evidence) from error
        if mine := self._ours(looked, misanswered=True):
            return await self._proven(mine)
        if resolved.adapter.deduplication is Deduplication.BY_NAME and (live := looked.live):
            return await self._existing(live[0].runtime)  # it was there before, so this create made none
        raise await self._unknown(evidence) from error

    async def _existing(self, runtime: Runtime, conflict: GatewayError | None = None) -> Created:
        """The name was taken before. ``conflict`` is the provider's own refusal, which stands even where nothing that
        the caller sent can be seen to differ."""
        request, adapter = self._request, self._resolved.adapter
        if request is not None and request.if_exists == "fail":
            taken = AlreadyExists("A runtime of this name exists already.", provider=adapter.name)
            return await self.refuse(taken, conflict)
        differing: Sequence[FieldError] = ()
        if request is not None:
            whole = conflict is not None
            runtime, differing = await compare_with(
                self._context, self._resolved, request, runtime, self._ctx, whole=whole
            )
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
        adapter = self._resolved.adapter
        first, *rest = mine
        adopted = not adapter.marks_creates and adapter.deduplication is Deduplication.NONE
        if adopted and rest:
            raise await self._unknown(None, reason="several")
        runtime = msgspec.structs.replace(first.runtime, adopted=True) if adopted else first.runtime
        created = await self._done(Created(runtime, created=True), reason="adopted" if adopted else None)
        for seen in rest:
            await self.leased.surplus(seen.runtime.provider_id)
        return created

    async def _done(self, created: Created, *, reason: str | None = None) -> Created:
        """The runtime's id is proven. The answer is given whatever becomes of writing that down."""
        command, target = self._command, self._resolved.target
        self._ctx.runtime_id = created.runtime.id
        request = self._request if created.created else None
        doubtful = self.leased.may_turn_up_twice()
        if command is None:
            await self.leased.found(created, request=request, doubtful=doubtful, reason=reason)
            return created
        if command.starts:  # that it exists is written before anything else is asked for
            await self.leased.found(created, request=request, doubtful=doubtful, reason=reason)
            request = None
        answer = await command.finish(target, created)
        if self._tried:
            runtime = msgspec.structs.replace(answer.runtime, attempts=list(self._tried))
            answer = Created(runtime, answer.created, answer.native)
        kept = self._context.payloads.seal_outcome(self.leased.intent.id, answer) if command.key is not None else None
        if kept is None and command.starts:
            return answer
        settled = await self.leased.found(created, outcome=kept, request=request, doubtful=doubtful, reason=reason)
        if settled is None or kept is None or settled.outcome == kept:
            return answer
        try:
            return self._context.payloads.outcome(settled) or answer
        except Unreadable:
            return answer

    async def _unknown(self, evidence: Evidence | None, reason: str | None = None) -> GatewayError:
        """Write down that nothing is proven; the error to raise."""
        await self.leased.end(IntentState.UNKNOWN, reason=reason)
        error = evidence.error if evidence is not None else None
        return outcome_unknown(
            self.leased.intent,
            key=self._command.key if self._command is not None else None,
            detail=(
                f"The provider {self._resolved.provider.name} may or may not have made the runtime; it is being found "
                "out. Send the same request again, with the same key and name, to hear what came of it."
            ),
            failure=error.failure if error is not None else None,
            retry_after=error.retry_after if error is not None else None,
        )

    async def _leave(self) -> None:
        """The turn is cut off: somebody else finds out what came of it, and need not wait for the lease to end."""
        leased = self.leased
        nothing = self._prior is PriorKnowledge.FIRST and all(
            attempt.made is False for attempt in leased.intent.attempts
        )
        if leased.is_sending:
            leased.end_send("sent", None, made=None)
        elif nothing:
            await leased.end(IntentState.REFUSED, reason="cancelled")
            return
        await leased.end(IntentState.UNKNOWN, reason="cancelled")

    async def _look(self) -> LookupResult:
        return await find_by_name(self._context.fleet, self._resolved, self.leased.intent.name, self._ctx)

    def _ours(self, looked: LookupResult, *, refused: bool = False, misanswered: bool = False) -> list[Seen]:
        leased = self.leased
        return match_own(
            self._resolved, leased.intent, looked, now=leased.now(), slack=leased.slack, request=self._request,
            others=self._others, refused=refused, misanswered=misanswered,
        )  # fmt: skip
