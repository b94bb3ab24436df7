"""A create whose key or name already has an intent: wait, return the kept response, send again, or find out more."""

from dataclasses import dataclass, replace
from typing import Final

from gateway.domain.access import Principal
from gateway.domain.conclusions import Findings, PriorKnowledge, Verdict, conclude
from gateway.domain.errors import AlreadyExists, NotFound, OutcomeUnknown, Overloaded, RuntimeReplaced
from gateway.domain.intents import Actor, Intent, IntentAttempt, IntentState
from gateway.domain.lifecycle import is_live
from gateway.domain.ownership import suffix_in, suffix_of
from gateway.ports.context import RequestContext
from gateway.ports.places import PlaceClaim
from gateway.ports.provider import Created
from gateway.ports.sealing import Unreadable
from gateway.ports.store import Changes, NameTaken, Stale, Updated, Version
from gateway.services.intents.answers import kept_answer, key_reused, read_runtime, rebuilt_answer
from gateway.services.intents.attempt import SendAttempt
from gateway.services.intents.context import (
    CreateCommand,
    CreateContext,
    name_in_use,
    needs_operator,
    new_holder,
    outcome_unknown,
    still_running,
)
from gateway.services.intents.lease import ClockReading, LeasedIntent
from gateway.services.intents.name_conflicts import compare_with, look_up_own
from gateway.services.intents.targets import ResolvedTarget

_FIRST_POLL: Final = 0.02
_LONGEST_POLL: Final = 0.25


@dataclass(frozen=True, slots=True)
class CreateResult:
    """The outcome of a create. ``replayed``: the same key received this response before."""

    created: Created
    replayed: bool = False


class Resumer:
    """Continues intents of other callers, or of an earlier try of the same caller."""

    def __init__(self, context: CreateContext) -> None:
        self._context = context

    async def resume_by_key(
        self, intent: Intent, command: CreateCommand, ctx: RequestContext, until: float
    ) -> CreateResult | Intent | None:
        """Continue the intent of the caller's key, until the monotonic moment ``until``. An intent: all its attempts
        provably made nothing, and it has to be reopened. None: it was deleted, and the create may start again.

        Raises :class:`IdempotencyKeyReused`, :class:`IdempotencyInProgress` and :class:`OutcomeUnknown`.
        """
        is_same = self._joined(intent, command, ctx)
        pause = _FIRST_POLL
        while True:
            match intent.state:
                case IntentState.DONE:
                    answered = kept_answer(self._context, intent) if is_same else None
                    if answered is not None:
                        ctx.idempotency, ctx.runtime_id = "replayed", answered.runtime.id
                        return CreateResult(answered, replayed=True)
                    if self._context.clock.monotonic() >= until or not command.starts or intent.outcome is not None:
                        rebuilt = await rebuilt_answer(self._context, intent, command, ctx, is_same=is_same)
                        return CreateResult(rebuilt, replayed=True)
                case IntentState.REFUSED:
                    return intent
                case IntentState.ABSENT:
                    tried = await self._resend(intent, command, ctx, PriorKnowledge.AFTER_ABSENT)
                    if tried is not None:
                        return CreateResult(tried)
                case IntentState.UNKNOWN if not await self._is_held(intent):
                    tried = await self._settle(intent, command, ctx)
                    if tried is not None:
                        return CreateResult(tried)
                case IntentState.PARKED:
                    raise needs_operator(intent, command.key)
                case IntentState.OPEN if not await self._is_held(intent):
                    await end_of_lease(self._context, intent, new_holder())
            now = await self._waited(intent, ctx, until, pause)
            if now is None:
                return None
            intent, pause = now, min(pause * 2, _LONGEST_POLL)

    async def resume_by_name(
        self, intent: Intent, command: CreateCommand, ctx: RequestContext, until: float
    ) -> CreateResult | None:
        """Wait for the outcome of another create of the same name. None: the name is free.

        Raises :class:`AlreadyExists`, :class:`IdempotencyInProgress` and :class:`OutcomeUnknown`."""
        ctx.idempotency = "joined"
        pause = _FIRST_POLL
        while True:
            match intent.state:
                case IntentState.DONE:
                    own_row = command.key is not None or not command.judged
                    return None if own_row else await self._made_by_another(intent, command, ctx)
                case IntentState.REFUSED | IntentState.ABSENT:
                    return None
                case IntentState.PARKED:
                    raise needs_operator(intent, None)
                case IntentState.UNKNOWN if not await self._is_held(intent):
                    await self._settle(intent, None, ctx)
                case IntentState.OPEN if not await self._is_held(intent):
                    await end_of_lease(self._context, intent, new_holder())
            now = await self._waited(intent, ctx, until, pause)
            if now is None:
                return None
            intent, pause = now, min(pause * 2, _LONGEST_POLL)

    def _joined(self, intent: Intent, command: CreateCommand, ctx: RequestContext) -> bool:
        """The caller joins the intent of its key. Returns and raises as :meth:`_is_same_body`."""
        ctx.intent_id, ctx.provider, ctx.scope = intent.id, intent.provider, intent.scope
        ctx.idempotency = "joined"
        is_same = self._is_same_body(intent, command, ctx.principal)
        if intent.state is not IntentState.DONE:
            ctx.progressed()
        return is_same

    def _is_same_body(self, intent: Intent, command: CreateCommand, caller: Principal) -> bool:
        """Whether the caller's request is known to be that of its key; False if that cannot be read any more, which
        matters only until the create is done. Raises :class:`IdempotencyKeyReused` for another request, and for one of
        another owner: a principal of tokens may belong to several groups."""
        if caller.own_only and suffix_in(intent.name) != suffix_of(caller.owner):
            raise key_reused()
        try:
            same = self._context.payloads.is_same(intent, command.operation, command.document)
        except Unreadable as exc:
            if intent.state is not IntentState.DONE:
                raise needs_operator(intent, command.key) from exc
            return False
        if not same:
            raise key_reused()
        return True

    async def _made_by_another(
        self, intent: Intent, command: CreateCommand, ctx: RequestContext
    ) -> CreateResult | None:
        """The runtime that another create made under the name, if it still has the name."""
        resolved = await self._context.targets.of_intent(intent, ctx)
        if resolved is None:
            return None
        try:
            runtime = await read_runtime(self._context, resolved, intent, ctx)
        except (NotFound, RuntimeReplaced):
            return None
        if not is_live(runtime.state):
            return None
        if self._context.fleet.owners.is_foreign(ctx.principal, runtime):
            raise name_in_use(resolved.provider.name)
        runtime, differing, _ = await compare_with(self._context, resolved, command.request, runtime, ctx, whole=False)
        if command.request.if_exists == "fail" or differing:
            raise AlreadyExists(
                "A runtime of this name exists already" + (" and differs from this request." if differing else "."),
                errors=differing,
                provider=resolved.provider.name,
            )
        ctx.provider, ctx.scope, ctx.runtime_id = resolved.provider.name, resolved.scope, runtime.id
        return CreateResult(await command.finish(resolved.target, Created(runtime, created=False)))

    async def _settle(self, intent: Intent, command: CreateCommand | None, ctx: RequestContext) -> Created | None:
        """Find out what became of an unknown create, for a caller who waits: send it again where the provider
        recognizes the second one, else look the name up. None when another caller or process has taken it over."""
        context = self._context
        resolved = await context.targets.of_intent(intent, ctx, looking=True)
        sent = context.payloads.request(intent)
        if resolved is None:
            raise _not_known(intent, command)
        findings = Findings(
            traits=resolved.traits, target=context.targets.match(resolved, intent), is_readable=sent is not None
        )
        now = await context.store.now()
        conclusion = conclude(findings, actor=Actor.WAITING_CALLER, intent=intent, now=now)
        if conclusion.verdict is Verdict.RESEND:
            try:
                return await self._resend(intent, command, ctx, PriorKnowledge.AFTER_UNKNOWN)
            except (
                AlreadyExists
            ) as refused:  # this is about the intent's request, not about the request of the caller that waits
                if command is not None:
                    raise
                now_known = await context.store.get(intent.id)
                if now_known is None or now_known.state is not IntentState.UNKNOWN:
                    return None
                raise _not_known(intent, command) from refused
        looked, own, now = await look_up_own(context, resolved, intent, sent, ctx)
        findings = replace(findings, matches=looked.matches(own))
        conclusion = conclude(findings, actor=Actor.WAITING_CALLER, intent=intent, now=now)
        if conclusion.verdict is not Verdict.DONE:
            raise _not_known(intent, command)
        found = own[0].runtime.provider_id
        settled = await context.store.record_created(
            intent.id, found, changes=Changes(reason=conclusion.reason), look_in=context.rules.wait_out
        )
        if settled is not None and settled.runtime_id == found:
            context.observer.settled(settled, late=True)
        elif settled is not None:
            context.observer.surplus(settled, found)
        return None

    async def _resend(
        self, intent: Intent, command: CreateCommand | None, ctx: RequestContext, prior: PriorKnowledge
    ) -> Created | None:
        """Send an intent's request again, byte for byte, to the same target under the same name and key. None if
        another process has the lease."""
        context = self._context
        resolved = await context.targets.of_intent(intent, ctx)
        if resolved is None:
            raise needs_operator(intent, _key(command))
        sent = context.payloads.request(intent)
        if sent is None:
            if command is None or prior is PriorKnowledge.AFTER_UNKNOWN:
                raise needs_operator(intent, _key(command))
            sent = command.sent_to(resolved, intent.id)
        async with context.create_call(resolved, ctx, sent.secret_values(), kind=intent.kind, name=intent.name) as call:
            leased = await reopened(context, intent, resolved, Changes(), ctx, command)
            if not isinstance(leased, LeasedIntent):
                return None
            ctx.idempotency = "resent"
            return await SendAttempt(context, leased, sent, ctx, prior=prior, command=command).run(call)

    async def _is_held(self, intent: Intent) -> bool:
        """Whether a process has the lease."""
        if intent.holder is None or intent.lease_until is None:
            return False
        return intent.lease_until > await self._context.store.now()

    async def _waited(self, intent: Intent, ctx: RequestContext, until: float, pause: float) -> Intent | None:
        """The intent after a pause. Raises :class:`IdempotencyInProgress` when ``until`` is reached, or when too many
        requests wait for the same provider."""
        if self._context.clock.monotonic() >= until:
            raise still_running(intent)
        if ctx.admission is not None:
            try:
                ctx.admission.enter(intent.provider)
            except Overloaded as exc:
                raise still_running(intent) from exc
        await self._context.clock.sleep(pause)
        return await self._context.store.get(intent.id)


async def reopened(
    context: CreateContext,
    intent: Intent,
    resolved: ResolvedTarget,
    changes: Changes,
    ctx: RequestContext,
    command: CreateCommand | None,
) -> LeasedIntent | Stale | NameTaken:
    """Reopen an intent for a caller that waits for it. With its own ``command``, the place of its create is taken again
    if it was given back. Raises :class:`QuotaExceeded`."""
    holder, reading = new_holder(), ClockReading.now(context.clock)
    version, lease = Version.of(intent), context.lease_seconds(resolved)

    async def move(claim: PlaceClaim | None) -> Updated | Stale | NameTaken:
        who, to = Actor.WAITING_CALLER, IntentState.OPEN
        return await context.store.move(version, to, who, holder, lease=lease, changes=changes, claim=claim)

    starts = command is not None and command.starts_at(resolved)
    moved = await context.fleet.quotas.hold(None if command is None else ctx.principal, move, starts=starts)
    if isinstance(moved, Updated):
        return LeasedIntent(context, resolved, moved.intent, holder, reading)
    return moved


async def end_of_lease(
    context: CreateContext, intent: Intent, holder: str, *, lease: float | None = None
) -> Updated | Stale | None:
    """Change an open intent whose lease has ended to unknown: its request may have been sent at any time of the lease.

    ``lease``: the seconds for which the actor keeps it, after the store gave it out as due (so the earlier lease has
    ended). If that actor fails too, the intent is due again at the end of this lease."""
    before = [attempt.last_send for attempt in intent.attempts if attempt.last_send is not None]
    presumed = IntentAttempt(
        epoch=intent.epoch,
        target=intent.target,
        first_send=max(before, default=intent.created_at),
        last_send=intent.lease_until if lease is None else intent.updated_at,
    )
    moved = await context.store.move(
        Version.of(intent),
        IntentState.UNKNOWN,
        Actor.ANYONE,
        holder,
        lease=lease,
        look_in=lease or 0.0,
        changes=Changes(attempts=(*intent.attempts, presumed), reason="lease_ended"),
    )
    if isinstance(moved, Updated):
        context.observer.unknown(moved.intent)
    return moved if not isinstance(moved, NameTaken) else None


def _not_known(intent: Intent, command: CreateCommand | None) -> OutcomeUnknown:
    return outcome_unknown(
        intent,
        key=_key(command),
        detail=(
            f"The provider {intent.provider} was asked for this runtime, and it is not known yet whether it was "
            "made. Send the same request again later, with the same key and name."
        ),
    )


def _key(command: CreateCommand | None) -> str | None:
    return command.key if command is not None else None
