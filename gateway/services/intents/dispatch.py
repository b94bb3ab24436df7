"""A create whose key and name have no intent: write one, and attempt the create at one target after another."""

from dataclasses import dataclass, field, replace
from typing import Final, NoReturn

import msgspec

from gateway.domain.conclusions import PriorKnowledge
from gateway.domain.errors import (
    AlreadyExists,
    CapacityExceeded,
    GatewayError,
    Overloaded,
    PermissionDenied,
    ProviderCredentialsRejected,
    ProviderUnavailable,
    ProviderUpgradeRequired,
    RateLimited,
    Source,
)
from gateway.domain.intents import Intent, IntentState, Look, NewIntent, new_intent_id
from gateway.domain.runtime import CreateAttempt
from gateway.ports.context import RequestContext
from gateway.ports.places import PlaceClaim
from gateway.ports.store import Changes, Conflict, ConflictReason, Inserted, NameTaken, Version
from gateway.services.idempotency_keys import create_key
from gateway.services.intents.attempt import SendAttempt
from gateway.services.intents.context import CreateCommand, CreateContext, needs_operator, new_holder, still_running
from gateway.services.intents.evidence import NothingCreated
from gateway.services.intents.lease import ClockReading, LeasedIntent
from gateway.services.intents.resume import CreateResult, Resumer, reopened
from gateway.services.intents.targets import ResolvedTarget
from gateway.services.provider_choice import Target

_ROUNDS: Final = 50
_GOES_ELSEWHERE: Final = (
    ProviderUnavailable,
    ProviderCredentialsRejected,
    ProviderUpgradeRequired,
    PermissionDenied,
    CapacityExceeded,
    Overloaded,
)
"""The errors after which another provider is tried, if it is proven that this one made nothing."""


def _goes_elsewhere(error: GatewayError) -> bool:
    at_gateway = isinstance(error, RateLimited) and error.source is Source.GATEWAY  # the rate of the account
    return at_gateway or isinstance(error, _GOES_ELSEWHERE)


class _Refused(Exception):
    """Nothing was made at a target or at those before it."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class _Progress:
    """The progress of a create: the attempt that holds its intent, the absent intent whose name it takes over, the
    refused intent that it reopens, and the providers that were tried."""

    attempt: SendAttempt | None = None
    instead: Intent | None = None
    again: Intent | None = None
    tried: list[CreateAttempt] = field(default_factory=list)
    errors: list[GatewayError] = field(default_factory=list)

    def refused(self, target: Target, error: GatewayError) -> None:
        """Nothing was made at a target."""
        self.tried.append(CreateAttempt(provider=target.provider.name, code=error.code))
        self.errors.append(error)

    @property
    def last(self) -> GatewayError:
        return self.errors[-1]


class Dispatcher:
    """Opens intents and attempts their creates."""

    def __init__(self, context: CreateContext, resumer: Resumer) -> None:
        self._context = context
        self._resumer = resumer

    async def open(
        self,
        command: CreateCommand,
        targets: list[Target],
        ctx: RequestContext,
        until: float,
        again: Intent | None = None,
    ) -> CreateResult:
        """Open an intent and attempt the create, at the next target as long as nothing was made. ``again``: the
        caller's own intent, whose attempts all made nothing. Callers are waited for until the monotonic moment
        ``until``."""
        progress = _Progress(again=again)
        for _ in range(_ROUNDS):
            try:
                answered = await self._at(targets[0], command, progress, ctx)
            except _Refused as refused:
                progress.refused(targets[0], refused.error)
                targets = targets[1:] if _goes_elsewhere(refused.error) else []
                if not targets:
                    await self._give_up(progress, refused.error)
                continue
            if isinstance(answered, CreateResult):
                return answered
            known, existing = answered.intent, answered
            ctx.intent_id = known.id
            if existing.by is ConflictReason.PIN:
                if (moved := self._context.fleet.moves.of_source(known.provider, known.runtime_id or "")) is None:
                    targets = await self._held_to(known, targets, ctx)
                else:  # its place is no longer that of the first create
                    command = replace(command, pinned=False)
                    targets = [each for each in targets if each.provider.name == moved.target] or targets
                continue
            if existing.by is ConflictReason.KEY:
                joined = await self._resumer.resume_by_key(known, command, ctx, until)
            elif known.state is IntentState.ABSENT:
                progress.instead, joined = known, None
            else:
                joined = await self._resumer.resume_by_name(known, command, ctx, until)
            if isinstance(joined, CreateResult):
                return joined
            progress.again = joined
        raise still_running(None)

    async def _at(
        self, target: Target, command: CreateCommand, progress: "_Progress", ctx: RequestContext
    ) -> CreateResult | Conflict:
        """Attempt the create at a target. Raises :class:`_Refused` if nothing was made there or before."""
        ctx.provider, ctx.scope = target.provider.name, target.scope
        not_made: NothingCreated | None = None
        has_permits = False
        try:
            resolved = await self._context.targets.of(target, ctx)
            async with self._context.create_call(
                resolved, ctx, command.request.secret_values(), kind=command.request.kind, name=command.request.name
            ) as call:
                has_permits = True
                attempt = await self._attempt_at(resolved, command, progress, ctx)
                if isinstance(attempt, Conflict):
                    return attempt
                progress.attempt = attempt
                ctx.idempotency = "first"
                try:
                    return CreateResult(await attempt.run(call))
                except NothingCreated as exc:
                    not_made = exc
                    raise exc.evidence.error from exc
        except GatewayError as error:
            if not has_permits or not_made is not None:
                raise _Refused(error) from error
            raise

    async def _attempt_at(
        self, resolved: ResolvedTarget, command: CreateCommand, progress: "_Progress", ctx: RequestContext
    ) -> SendAttempt | Conflict:
        """The attempt at a target, with its intent written; or the intent that already has the key or name."""
        if progress.attempt is not None:
            attempt, intent = progress.attempt, progress.attempt.leased.intent
            key = create_key(resolved.keys_namespace, ctx.principal.name, command.key or intent.id, intent.generation)
            if not await attempt.elsewhere(resolved, command.sent_to(resolved, intent.id), key):
                await self._give_up(progress, progress.last)
            return attempt
        if progress.again is not None:
            return await self._reopen_refused(progress.again, resolved, command, progress.tried, ctx)
        return await self._begin(command, resolved, progress, ctx)

    async def _begin(
        self, command: CreateCommand, resolved: ResolvedTarget, progress: "_Progress", ctx: RequestContext
    ) -> SendAttempt | Conflict:
        context, instead = self._context, progress.instead
        intent_id = new_intent_id()
        digest, version = context.payloads.digest(command.operation, command.document)
        sent = command.sent_to(resolved, intent_id)
        generation = 0
        before = Look(context.clock.now(), ()) if command.name_is_new else None  # nothing can have the name
        key = create_key(resolved.keys_namespace, ctx.principal.name, command.key or intent_id, generation)
        if instead is not None:
            if not context.targets.is_target(resolved, instead.target):
                raise needs_operator(instead, None)
            generation, before, key = instead.generation, instead.before, instead.provider_key or key
        new = NewIntent(
            id=intent_id,
            principal=ctx.principal.name,
            key=command.key,
            namespace=resolved.namespace,
            pinned=command.pinned,
            provider=resolved.provider.name,
            scope=resolved.scope,
            kind=command.request.kind,
            name=command.request.name,
            operation=command.operation,
            digest=digest,
            digest_version=version,
            target=context.targets.fingerprint(resolved),
            request=context.payloads.seal_request(intent_id, sent),
            provider_key=key,
            generation=generation,
            before=before,
            lifetime=None if resolved.adapter.create_is_free else ctx.principal.max_lifetime,
        )
        holder, reading = new_holder(), ClockReading.now(context.clock)
        version_of = None if instead is None else Version.of(instead)
        lease = context.lease_seconds(resolved)

        async def begin(claim: PlaceClaim | None) -> Inserted | Conflict:
            return await context.store.begin(new, holder, lease, instead_of=version_of, claim=claim)

        begun = await context.fleet.quotas.hold(ctx.principal, begin, starts=command.starts_at(resolved))
        progress.instead = None
        if not isinstance(begun, Inserted):
            return begun
        prior = PriorKnowledge.FIRST if instead is None else PriorKnowledge.AFTER_ABSENT
        leased = LeasedIntent(context, resolved, begun.intent, holder, reading)
        return SendAttempt(context, leased, sent, ctx, prior=prior, command=command, tried=progress.tried)

    async def _reopen_refused(
        self,
        intent: Intent,
        resolved: ResolvedTarget,
        command: CreateCommand,
        tried: list[CreateAttempt],
        ctx: RequestContext,
    ) -> SendAttempt | Conflict:
        """A new attempt under a key whose attempts provably made nothing. The provider receives a new key."""
        context = self._context
        sent = command.sent_to(resolved, intent.id)
        generation = intent.generation + 1
        changes = Changes(
            namespace=resolved.namespace,
            provider=resolved.provider.name,
            scope=resolved.scope,
            target=context.targets.fingerprint(resolved),
            request=context.payloads.seal_request(intent.id, sent),
            provider_key=create_key(resolved.keys_namespace, ctx.principal.name, command.key or intent.id, generation),
            generation=generation,
            before=None,
            attempts=(),
            looks=(),
        )
        opened = await reopened(context, intent, resolved, changes, ctx, command)
        if isinstance(opened, LeasedIntent):
            return SendAttempt(context, opened, sent, ctx, prior=PriorKnowledge.FIRST, command=command, tried=tried)
        if isinstance(opened, NameTaken):
            return Conflict(opened.intent, ConflictReason.NAME)
        return Conflict(opened.intent or intent, ConflictReason.KEY)

    async def _give_up(self, progress: "_Progress", error: GatewayError) -> NoReturn:
        """Raise ``error``, with all attempts if there were several: nothing was made at any target."""
        if len(progress.tried) > 1:
            error.extra["attempts"] = msgspec.to_builtins(progress.tried)
        if progress.attempt is not None:
            await progress.attempt.refuse(error, error.__cause__ if isinstance(error.__cause__, GatewayError) else None)
        raise error

    async def _held_to(self, intent: Intent, targets: list[Target], ctx: RequestContext) -> list[Target]:
        """The target of an earlier create of this name that named no provider either."""
        for target in targets:
            if target.provider.name == intent.provider and target.scope == intent.scope:
                return [target]
        resolved = await self._context.targets.of_intent(intent, ctx)
        if resolved is not None and any(target.provider is resolved.provider for target in targets):
            return [resolved.target]
        raise AlreadyExists(
            f"A create of this name that named no provider went to {intent.provider}, to which this create cannot go; "
            "name a provider, or take another name.",
            provider=intent.provider,
        )
