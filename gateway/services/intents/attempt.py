"""One attempt to create: look the name up where that comes first, send, and act on what the end of the send proves."""

import asyncio
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import msgspec

from gateway.domain.conclusions import (
    Conclusion,
    Deduplication,
    Findings,
    PriorKnowledge,
    Proof,
    Verdict,
    conclude,
    refusal_of,
)
from gateway.domain.errors import AlreadyExists, FieldError, GatewayError, Overloaded
from gateway.domain.intents import Actor, IntentState
from gateway.domain.runtime import CreateAttempt, Runtime
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created, Seen
from gateway.ports.sealing import Unreadable
from gateway.ports.store import Changes
from gateway.ports.transport import Call, TransportFailure
from gateway.services.intents.context import CreateCommand, CreateContext, name_in_use, outcome_unknown
from gateway.services.intents.evidence import Evidence, NothingCreated, another_answer, conflict_about, evidence_of
from gateway.services.intents.lease import LeasedIntent, LeaseStale
from gateway.services.intents.lookup import (
    Age,
    LookupResult,
    age_of,
    find_by_name,
    match_own,
    moment_of_header,
    needs_precheck,
)
from gateway.services.intents.name_conflicts import compare_with, made_by_others, unlisted_predecessor
from gateway.services.intents.payloads import SentCreate
from gateway.services.intents.targets import ResolvedTarget


@dataclass(eq=False, repr=False)
class SendAttempt:
    """One attempt of an intent's holder: look the name up where that comes first, send, and act on what it proves.

    ``sent`` is the request that goes out, ``command`` the caller's create if the attempt is on its behalf, ``tried``
    the providers that made nothing before. It ends in one of: the runtime, as created or as existing; an error, with
    the intent's state written; :class:`NothingCreated`.
    """

    context: CreateContext
    leased: LeasedIntent
    sent: SentCreate
    ctx: RequestContext
    _: KW_ONLY
    prior: PriorKnowledge = PriorKnowledge.FIRST
    command: CreateCommand | None = None
    tried: Sequence[CreateAttempt] = ()

    def __post_init__(self) -> None:
        self._others: frozenset[str] = frozenset()
        self._request = self.command.request if self.command is not None else self.sent.request()
        self.ctx.intent_id = self.leased.intent.id
        if self.command is not None:
            self.ctx.progressed()

    @property
    def _resolved(self) -> ResolvedTarget:
        return self.leased.resolved

    async def run(self, call: Call) -> Created:
        """Make the attempt. ``call`` is the create's own, with its time limit."""
        try:
            if self.prior is not PriorKnowledge.FIRST:
                self._others = await made_by_others(self.context, self.leased.intent)
            found = await self._precheck()
            return found if found is not None else await self._send(call)
        except asyncio.CancelledError:
            await asyncio.shield(self._leave())
            raise

    async def elsewhere(self, resolved: ResolvedTarget, sent: SentCreate, key: str | None) -> bool:
        """Continue at another target after :class:`NothingCreated`; False if the name is taken there."""
        self.sent = sent
        keeps = self.command is not None and self.command.name_is_new
        return await self.leased.go_elsewhere(resolved, sent, key, before=self.leased.intent.before if keeps else None)

    async def refuse(self, error: GatewayError, cause: GatewayError | None = None) -> Created:
        """Write that the create is refused, and raise ``error``. ``cause`` is the provider's own refusal."""
        by_provider = (cause or error).failure is not None
        state = refusal_of(self.prior, by_provider=by_provider)
        await self.leased.end(state, reason=error.code if state is IntentState.REFUSED else None)
        raise error from cause

    async def _precheck(self) -> Created | None:
        """Look the name up before the send, where the provider does not ensure it. None: send."""
        is_new = self.command is not None and self.command.name_is_new
        # The provider itself judges the name of a dialect's first send.
        by_provider = self.prior is PriorKnowledge.FIRST and not self.sent.judged
        if by_provider or not needs_precheck(self._resolved, name_is_new=is_new):
            return None
        try:
            looked = await self._look_up()
            own = self._match_own(looked)
            conclusion = self._conclude(self._findings(matches=looked.matches(own)))
            sends = conclusion.verdict is Verdict.SEND
            hidden = await unlisted_predecessor(self.context, self.leased, looked, self.ctx) if sends else None
        except GatewayError as error:
            return await self._after_send(Evidence(Proof.NOTHING_MADE, error, "queued", None))
        if not sends:
            return await self._execute(conclusion, None, looked, own)
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
            return await self._after_send(Evidence(Proof.NOTHING_MADE, busy, "queued", None))
        adapter = self._resolved.adapter
        self.leased.begin_send()
        key = self.leased.intent.provider_key
        try:
            created = await adapter.send_create(self.sent.wire, self._resolved.scope, call, idempotency_key=key)
        except (TransportFailure, GatewayError) as failure:
            evidence = evidence_of(adapter, failure)
            self.leased.end_send(evidence.phase, evidence.status, made=evidence.made)
            return await self._after_send(evidence)
        if not adapter.answers_create(created.runtime, self.leased.intent.name, self._resolved.canonical_scope):
            self.leased.end_send("answered", None, made=None)
            self.context.observer.misanswered(self.leased.intent, created.runtime.provider_id)
            return await self._after_send(another_answer(adapter))
        self.leased.end_send("answered", None, made=True if created.created else None)
        if created.created:
            return await self._done(created)
        if self.prior is not PriorKnowledge.FIRST:
            looked = LookupResult([Seen(created.runtime)], moment_of_header(call.provider_date))
            if self._match_own(looked):
                return await self._done(Created(created.runtime, created=True, native=created.native))
        if not self.sent.judged and not self.context.fleet.owners.is_foreign(self.ctx.principal, created.runtime):
            return await self._done(created)
        return await self._existing(created.runtime)

    async def _after_send(self, evidence: Evidence) -> Created:
        """Conclude from the end of the send, after a look-up of the name where that decides."""
        findings = self._findings(proof=evidence.proof, conflict=conflict_about(evidence.error))
        conclusion = self._conclude(findings)
        looked: LookupResult | None = None
        own: Sequence[Seen] = ()
        if conclusion.verdict is Verdict.FIND_BY_NAME:
            try:
                looked = await self._look_up()
            except GatewayError:
                conclusion = self._conclude(replace(findings, lookup_failed=True))
            else:
                own = self._match_own(looked, evidence.proof)
                conclusion = self._conclude(replace(findings, matches=looked.matches(own)))
        return await self._execute(conclusion, evidence, looked, own)

    async def _execute(
        self, conclusion: Conclusion, evidence: Evidence | None, looked: LookupResult | None, own: Sequence[Seen]
    ) -> Created:
        verdict = conclusion.verdict
        if verdict is Verdict.DONE:
            return await self._found(own, conclusion.reason)
        conflict = evidence.error if evidence is not None and evidence.proof is Proof.CONFLICT else None
        if looked is not None and (verdict is Verdict.EXISTED or (conflict is not None and looked.has_live)):
            return await self._existing(looked.holder_of_name(), conflict, self._age(looked))
        if verdict is Verdict.NOTHING_MADE and evidence is not None:
            raise NothingCreated(evidence)
        if verdict is Verdict.REFUSED and evidence is not None:
            return await self.refuse(evidence.error)
        if verdict is Verdict.ABSENT and evidence is not None:
            await self.leased.end(IntentState.ABSENT, reason=evidence.error.code)
            raise evidence.error
        cause = evidence.error if evidence is not None else None
        raise await self._unknown(cause, conclusion.reason) from cause

    def _conclude(self, findings: Findings) -> Conclusion:
        return conclude(findings, actor=Actor.HOLDER, intent=self.leased.intent)

    def _findings(self, **known: Any) -> Findings:
        return Findings(traits=self._resolved.traits, prior=self.prior, is_judged=self.sent.judged, **known)

    async def _existing(self, runtime: Runtime, conflict: GatewayError | None = None, age: Age = Age.OLDER) -> Created:
        """The name is taken. ``conflict`` is the provider's own refusal. At a provider that deduplicates by name it is
        final even if no difference can be seen, unless it follows the send's own commit: then the runtime is not older
        than the send, by its ``age``; or unless the difference is in the marks of its owner: then the runtime was made
        before there were marks, or with another sealing key."""
        request, adapter = self._request, self._resolved.adapter
        if self.context.fleet.owners.is_foreign(self.ctx.principal, runtime):
            return await self.refuse(name_in_use(adapter.name), conflict)
        by_name = conflict is not None and adapter.deduplication is Deduplication.BY_NAME
        marked = self.context.fleet.owners.mark(self.ctx.principal, adapter.name, runtime.name) is not None
        fails = request is not None and request.if_exists == "fail"
        differing: Sequence[FieldError] = ()
        if request is not None and ((self.sent.judged and not fails) or (by_name and (marked or age is not Age.OLDER))):
            try:
                compared = await compare_with(
                    self.context, self._resolved, request, runtime, self.ctx, whole=conflict is not None
                )
            except GatewayError as error:
                raise await self._unknown(error) from error
            runtime, differing, _ = compared
            if by_name and compared.is_made_by_send(age):
                if fails:  # the provider decides, by its response to the same request, whether it existed before
                    raise await self._unknown(conflict) from conflict
                return await self._done(Created(runtime, created=False))
            if by_name and marked and compared.is_equal and not fails:  # only their marks differ
                return await self._done(Created(runtime, created=False))
        if conflict is not None and not self.sent.judged:
            return await self.refuse(conflict)
        if fails or differing or by_name:
            detail = "A runtime of this name exists already" + ("." if fails else " and differs from this request.")
            failure = conflict.failure if conflict is not None and not fails else None
            taken = AlreadyExists(detail, errors=() if fails else differing, provider=adapter.name, failure=failure)
            return await self.refuse(taken, conflict)
        return await self._done(Created(runtime, created=False))

    def _age(self, looked: LookupResult) -> Age:
        """The age of the runtime that has the name, if it may be the caller's own."""
        leased, runtime = self.leased, looked.holder_of_name()
        return age_of(runtime, leased.intent, looked, leased.now(), leased.slack) if runtime.may_be_own else Age.OLDER

    async def _found(self, own: Sequence[Seen], reason: str | None) -> Created:
        """The runtimes that the attempts made were found: the first is the answer, the others are surplus."""
        first, *rest = own
        adopted = reason == "adopted"
        runtime = msgspec.structs.replace(first.runtime, adopted=True) if adopted else first.runtime
        created = await self._done(Created(runtime, created=True), reason=reason)
        for seen in rest:
            await self.leased.surplus(seen.runtime.provider_id)
        return created

    async def _done(self, created: Created, *, reason: str | None = None) -> Created:
        """The runtime's id is proven. The answer is given whatever becomes of writing that down."""
        command, target = self.command, self._resolved.target
        self.ctx.runtime_id = created.runtime.id
        request = self._request if created.created else None
        doubtful = self.leased.may_turn_up_twice()
        if command is None:
            await self.leased.found(created, request=request, doubtful=doubtful, reason=reason)
            return created
        if command.starts:  # that it exists is written before anything else is asked for
            await self.leased.found(created, request=request, doubtful=doubtful, reason=reason)
            request = None
        answer = await command.finish(target, created)
        if self.tried:
            runtime = msgspec.structs.replace(answer.runtime, attempts=list(self.tried))
            answer = Created(runtime, answer.created, answer.native)
        kept = self.context.payloads.seal_outcome(self.leased.intent.id, answer) if command.key is not None else None
        if kept is None and command.starts:
            return answer
        settled = await self.leased.found(created, outcome=kept, request=request, doubtful=doubtful, reason=reason)
        if settled is None or kept is None or settled.outcome == kept:
            return answer
        try:
            return self.context.payloads.outcome(settled) or answer
        except Unreadable:
            return answer

    async def _unknown(self, error: GatewayError | None, reason: str | None = None) -> GatewayError:
        """Write that nothing is proven, and return the error to raise."""
        await self.leased.end(IntentState.UNKNOWN, reason=reason)
        return outcome_unknown(
            self.leased.intent,
            key=self.command.key if self.command is not None else None,
            detail=(
                f"The provider {self._resolved.provider.name} may or may not have made the runtime; the gateway is "
                "finding out. Send the same request again, with the same key and name, to learn the outcome."
            ),
            failure=error.failure if error is not None else None,
            retry_after=error.retry_after if error is not None else None,
        )

    async def _leave(self) -> None:
        """The attempt is cancelled: write what is known, so that nobody has to wait for the lease to end."""
        leased = self.leased
        if leased.is_sending:
            leased.end_send("sent", None, made=None)
        elif self.prior is PriorKnowledge.FIRST and all(sent.made is False for sent in leased.intent.attempts):
            await leased.end(IntentState.REFUSED, reason="cancelled")
            return
        await leased.end(IntentState.UNKNOWN, reason="cancelled")

    async def _look_up(self) -> LookupResult:
        return await find_by_name(self.context.fleet, self._resolved, self.leased.intent.name, self.ctx)

    def _match_own(self, looked: LookupResult, proof: Proof | None = None) -> list[Seen]:
        leased = self.leased
        return match_own(
            self._resolved,
            leased.intent,
            looked,
            now=leased.now(),
            slack=leased.slack,
            request=self._request,
            others=self._others,
            refused=proof is Proof.CONFLICT,
            misanswered=proof is Proof.ANOTHER_ANSWER,
        )
