"""A create that finds no intent of its key or name: one is written, and its turn taken, at one target after another."""

from dataclasses import dataclass, field
from typing import Final, NoReturn

import msgspec

from gateway.domain.errors import (
    AlreadyExists,
    CapacityExceeded,
    GatewayError,
    Overloaded,
    PermissionDenied,
    ProviderCredentialsRejected,
    ProviderUnavailable,
    ProviderUpgradeRequired,
)
from gateway.domain.intents import Intent, IntentState, NewIntent, new_intent_id
from gateway.domain.runtime import CreateAttempt
from gateway.ports.context import RequestContext
from gateway.ports.store import Begun, By, Changes, Existing, NameTaken, Version
from gateway.services.intents.attempt import Turn
from gateway.services.intents.context import Parts, Wanted, needs_a_person, new_holder, still_running
from gateway.services.intents.evidence import NotMade, Origin
from gateway.services.intents.lease import Asked, Holding
from gateway.services.intents.resume import Ensured, Joining, reopened
from gateway.services.intents.targets import Place
from gateway.services.provider_keys import create_key
from gateway.services.routing import Target

_ROUNDS: Final = 50
_GOES_ELSEWHERE: Final = (
    ProviderUnavailable,
    ProviderCredentialsRejected,
    ProviderUpgradeRequired,
    PermissionDenied,
    CapacityExceeded,
    Overloaded,
)
"""The errors after which another provider may do better, where it is proven that this one made nothing."""


class _Refused(Exception):
    """Nothing was made at a target, nor at those before it."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class _Progress:
    """How far a create has come: the turn that holds its intent, the absent intent whose name it takes over, the
    refused one that it opens again, and the providers that were tried."""

    turn: Turn | None = None
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
        """The last refusal."""
        return self.errors[-1]


class Opening:
    """Opens intents."""

    def __init__(self, parts: Parts, joining: Joining) -> None:
        self._parts = parts
        self._joining = joining

    async def open(
        self,
        wanted: Wanted,
        targets: list[Target],
        ctx: RequestContext,
        until: float,
        again: Intent | None = None,
    ) -> Ensured:
        """Open an intent (``again``: the caller's own, whose attempts all made nothing) and take the turn, at one
        target after the other as long as nothing was made."""
        progress = _Progress(again=again)
        for _ in range(_ROUNDS):
            try:
                answered = await self._at(targets[0], wanted, progress, ctx)
            except _Refused as refused:
                progress.refused(targets[0], refused.error)
                targets = targets[1:] if isinstance(refused.error, _GOES_ELSEWHERE) else []
                if not targets:
                    await self._give_up(progress, refused.error)
                continue
            if isinstance(answered, Ensured):
                return answered
            known, existing = answered.intent, answered
            ctx.intent_id = known.id
            if existing.by is By.PIN:
                targets = await self._held_to(known, targets, ctx)
                continue
            if existing.by is By.KEY:
                joined = await self._joining.of_key(known, wanted, ctx, until)
            elif known.state is IntentState.ABSENT:
                progress.instead, joined = known, None
            else:
                joined = await self._joining.of_name(known, wanted, ctx, until)
            if isinstance(joined, Ensured):
                return joined
            progress.again = joined
        raise still_running(None)

    async def _at(
        self, target: Target, wanted: Wanted, progress: "_Progress", ctx: RequestContext
    ) -> Ensured | Existing:
        """Take the turn at a target. Raises :class:`_Refused` when nothing was made, there or anywhere before."""
        ctx.provider, ctx.scope = target.provider.name, target.scope
        not_made: NotMade | None = None
        is_let_through = False
        try:
            place = await self._parts.places.of(target, ctx)
            async with self._parts.creating(place, ctx, wanted.request.secret_values()) as call:
                is_let_through = True
                turn = await self._turn_at(place, wanted, progress, ctx)
                if isinstance(turn, Existing):
                    return turn
                progress.turn = turn
                ctx.idempotency = "first"
                try:
                    return Ensured(await turn.run(call))
                except NotMade as exc:
                    not_made = exc
                    raise exc.evidence.error from exc
        except GatewayError as error:
            if not is_let_through or not_made is not None:
                raise _Refused(error) from error
            raise

    async def _turn_at(
        self, place: Place, wanted: Wanted, progress: "_Progress", ctx: RequestContext
    ) -> Turn | Existing:
        """The turn at a place, its intent written down; or the intent that is in the way."""
        if progress.turn is not None:
            turn, intent = progress.turn, progress.turn.holding.intent
            key = create_key(place.namespace, ctx.principal, wanted.key or intent.id, intent.generation)
            if not await turn.elsewhere(place, wanted.sent_to(place, intent.id), key):
                await self._give_up(progress, progress.last)
            return turn
        if progress.again is not None:
            return await self._reopen_refused(progress.again, place, wanted, progress.tried, ctx)
        return await self._begin(wanted, place, progress, ctx)

    async def _begin(self, wanted: Wanted, place: Place, progress: "_Progress", ctx: RequestContext) -> Turn | Existing:
        parts, instead = self._parts, progress.instead
        intent_id = new_intent_id()
        digest, version = parts.contents.digest(wanted.operation, wanted.document)
        sent = wanted.sent_to(place, intent_id)
        generation, before = 0, None
        key = create_key(place.namespace, ctx.principal, wanted.key or intent_id, generation)
        if instead is not None:
            if not parts.places.is_target(place, instead.target):
                raise needs_a_person(instead, None)
            generation, before, key = instead.generation, instead.before, instead.provider_key or key
        new = NewIntent(
            id=intent_id,
            principal=ctx.principal,
            key=wanted.key,
            namespace=place.namespace,
            pinned=wanted.pinned,
            provider=place.provider.name,
            scope=place.scope,
            kind=wanted.request.kind,
            name=wanted.request.name,
            operation=wanted.operation,
            digest=digest,
            digest_version=version,
            target=parts.places.fingerprint(place),
            request=parts.contents.seal_request(intent_id, sent),
            provider_key=key,
            generation=generation,
            before=before,
        )
        holder, asked = new_holder(), Asked.now(parts.clock)
        version_of = None if instead is None else Version.of(instead)
        begun = await parts.store.begin(new, holder, parts.lease(place), instead_of=version_of)
        progress.instead = None
        if not isinstance(begun, Begun):
            return begun
        origin = Origin.FIRST if instead is None else Origin.AFTER_ABSENT
        holding = Holding(parts, place, begun.intent, holder, asked)
        return Turn(parts, holding, sent, ctx, origin=origin, wanted=wanted, tried=progress.tried)

    async def _reopen_refused(
        self, intent: Intent, place: Place, wanted: Wanted, tried: list[CreateAttempt], ctx: RequestContext
    ) -> Turn | Existing:
        """A new attempt under a key whose attempts so far have provably made nothing: a new key for the provider."""
        parts = self._parts
        sent = wanted.sent_to(place, intent.id)
        generation = intent.generation + 1
        changes = Changes(
            namespace=place.namespace,
            provider=place.provider.name,
            scope=place.scope,
            target=parts.places.fingerprint(place),
            request=parts.contents.seal_request(intent.id, sent),
            provider_key=create_key(place.namespace, ctx.principal, wanted.key or intent.id, generation),
            generation=generation,
            before=None,
            attempts=(),
            looks=(),
        )
        opened = await reopened(parts, intent, place, changes)
        if isinstance(opened, Holding):
            return Turn(parts, opened, sent, ctx, origin=Origin.FIRST, wanted=wanted, tried=tried)
        if isinstance(opened, NameTaken):
            return Existing(opened.intent, By.NAME)
        return Existing(opened.intent or intent, By.KEY)

    async def _give_up(self, progress: "_Progress", error: GatewayError) -> NoReturn:
        """Nothing was made anywhere: tell why, and from how many."""
        if len(progress.tried) > 1:
            error.extra["attempts"] = msgspec.to_builtins(progress.tried)
        if progress.turn is not None:
            await progress.turn.refuse(error, error.__cause__ if isinstance(error.__cause__, GatewayError) else None)
        raise error

    async def _held_to(self, intent: Intent, targets: list[Target], ctx: RequestContext) -> list[Target]:
        """The target where an earlier create of this name went, for one that names no provider either."""
        for target in targets:
            if target.provider.name == intent.provider and target.scope == intent.scope:
                return [target]
        place = await self._parts.places.of_intent(intent, ctx)
        if place is not None and any(target.provider is place.provider for target in targets):
            return [place.target]
        raise AlreadyExists(
            f"A create of this name that named no provider went to {intent.provider}, which cannot make this runtime; "
            "name a provider, or take another name.",
            provider=intent.provider,
        )
