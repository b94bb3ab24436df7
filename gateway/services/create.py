"""Create a runtime: choose its name and provider, create it once, and start it if requested."""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from gateway.domain.config import unknown_keys
from gateway.domain.constraint_rules import require_allowed, start_with_bounds, with_bounds
from gateway.domain.constraints import Allowance
from gateway.domain.errors import FieldError, GatewayError
from gateway.domain.lifecycle import TRANSITIONS, Verb
from gateway.domain.ownership import suffix_in
from gateway.domain.requests import CreateDurable, CreateRequest, StartRequest
from gateway.domain.runtime import FieldWarning, Runtime
from gateway.domain.values import CreateFeature, Operation
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created, Deduplication, SupportsStart
from gateway.services.access.visibility import refuse_outside_body
from gateway.services.fleet import Fleet
from gateway.services.intents import CreateCommand, CreateResult, IntentService, document_of
from gateway.services.lost_verb_responses import is_ambiguous
from gateway.services.provider_choice import Router, Target
from gateway.services.sent_spec import filled, spec_of

_OF_DIALECTS: Final = "{api}.create"


@dataclass(slots=True, eq=False, repr=False)
class CreateService:
    """Creates runtimes of all kinds. ``shows_what_was_sent``: what is sent is stored, and the response shows it, like
    later reads, where the provider does not report it."""

    _fleet: Fleet
    _router: Router
    _intents: IntentService
    shows_what_was_sent: bool = field(default=False, kw_only=True)

    async def create(self, request: CreateRequest, ctx: RequestContext, key: str | None = None) -> CreateResult:
        """Create a runtime, or return the existing one of the name (``created: false``) or of the ``Idempotency-Key``.

        Raises :class:`AlreadyExists`, with the pointers of the differing fields, if the runtime of the name differs, or
        in any case if ``if_exists`` is ``fail``. Also raises what :meth:`IntentService.ensure`, :meth:`Router.choose`
        and the adapter raise.
        """
        document = document_of(request)
        named = request.sent("name")
        asked, request = request, with_bounds(ctx.principal, request, limits=self._has_limits(request))
        request = self._owned(request, request.name if named else _generated_name(request, ctx, key), ctx)

        async def choose() -> list[Target]:
            require_allowed(ctx.principal, asked, lambda allowance: self._refused_options(asked, allowance, ctx))
            return await self._router.choose(request, ctx, name_may_exist=named)

        async def finish(target: Target, made: Created) -> Created:
            return await self._finished(target, request, made, ctx)

        result = await self._intents.ensure(
            CreateCommand(
                request=request,
                document=document,
                key=key,
                operation=Operation.CREATE,
                judged=True,
                pinned=not request.sent("provider"),
                name_is_new=not named and key is None,
                choose=choose,
                finish=finish,
                owner_mark=lambda provider: self._fleet.owners.mark(ctx.principal, provider, request.name),
                starts=self._starts(request),
            ),
            ctx,
        )
        made = result.created.runtime
        await self._fleet.lifetimes.learn(made, ctx.principal)
        provider = self._fleet.get(made.provider)
        runtime = self._fleet.named(made) if provider is None else self._fleet.shown(provider.adapter, made)
        return replace(result, created=replace(result.created, runtime=runtime))

    async def create_at(self, target: Target, request: CreateRequest, ctx: RequestContext, key: str | None) -> Created:
        """Create a runtime at a given target, for a dialect. ``key`` is the caller's own idempotency key, if any.

        Where the provider deduplicates creates itself, its response decides whether the runtime existed before. Raises
        as :meth:`create`.
        """
        document = {**document_of(request), "scope": target.scope, "provider": target.provider.name}
        request = self._owned(request, request.name, ctx)
        target = self._router.present(target, request, ctx)
        adapter = target.provider.adapter
        refuse_outside_body(request, ctx.principal)
        adapter.check_create(request)
        asked = request
        require_allowed(ctx.principal, asked, lambda allowance: adapter.refused_options(asked, allowance))
        request = with_bounds(ctx.principal, request, limits=CreateFeature.RUNTIME_LIMIT in adapter.features)

        async def choose() -> list[Target]:
            return [target]

        async def finish(_target: Target, made: Created) -> Created:
            return made

        result = await self._intents.ensure(
            CreateCommand(
                request=request,
                document=document,
                key=key,
                operation=_OF_DIALECTS.format(api=adapter.api),
                judged=adapter.deduplication is Deduplication.NONE,
                pinned=False,
                name_is_new=False,
                choose=choose,
                finish=finish,
                owner_mark=lambda provider: self._fleet.owners.mark(ctx.principal, provider, request.name),
            ),
            ctx,
        )
        await self._fleet.lifetimes.learn(result.created.runtime, ctx.principal)
        return result.created

    async def drain(self) -> None:
        """Cancel the creates that are in progress. They are settled later."""
        await self._intents.drain()

    def _owned(self, request: CreateRequest, name: str, ctx: RequestContext) -> CreateRequest:
        """The request with the name that the runtime gets at the provider."""
        named: CreateRequest = request.model_copy(
            update={"name": self._fleet.owners.name_at_provider(name, ctx.principal)}
        )
        return named

    def _starts(self, request: CreateRequest) -> bool:
        """Whether a separate start may follow the create: some provider of the kind does not launch on create."""
        if not request.sent("start") or not request.start:
            return False
        return any(
            request.kind in provider.adapter.creates and CreateFeature.LAUNCH_ON_CREATE not in provider.adapter.features
            for provider in self._fleet
        )

    def _has_limits(self, request: CreateRequest) -> bool:
        """Whether a provider of the kind has a time limit of its own."""
        return any(
            request.kind in provider.adapter.creates and CreateFeature.RUNTIME_LIMIT in provider.adapter.features
            for provider in self._fleet
        )

    def _refused_options(
        self, request: CreateRequest, allowance: Allowance, ctx: RequestContext
    ) -> Iterator[FieldError]:
        """What the adapters that may make the runtime know to be against the caller's constraints."""
        for provider in self._fleet.visible(ctx):
            asked = not request.sent("provider") or request.provider == provider.name
            if asked and request.kind in provider.adapter.creates:
                yield from provider.adapter.refused_options(request, allowance)

    async def _finished(self, target: Target, request: CreateRequest, made: Created, ctx: RequestContext) -> Created:
        runtime, warnings = made.runtime, []
        if isinstance(request, CreateDurable) and request.config is not None:
            warnings += unknown_keys(request.config)
        if (
            request.sent("start")
            and request.start
            and CreateFeature.LAUNCH_ON_CREATE not in target.provider.adapter.features
        ):
            if made.created and runtime.state not in TRANSITIONS[Verb.START].satisfied_by:
                idle = msgspec.structs.replace(runtime, created=True)
                ctx.progressed(lambda: self._fleet.named(idle))
                runtime, start_warnings = await self._start(target, runtime, ctx)
                warnings += start_warnings
            elif runtime.state not in TRANSITIONS[Verb.START].satisfied_by:
                warnings.append(
                    FieldWarning(pointer="#/start", detail="The runtime existed already and was not started.")
                )
        owner = ctx.principal.name if suffix_in(runtime.name) is None else None
        spec = spec_of(request, runtime, owner) if made.created and self.shows_what_was_sent else None
        if spec is not None:
            runtime = filled(runtime, spec)
        runtime = msgspec.structs.replace(
            runtime, created=made.created, adopted=made.runtime.adopted, warnings=warnings or msgspec.UNSET
        )
        return Created(runtime, made.created, made.native)

    async def _start(self, target: Target, runtime: Runtime, ctx: RequestContext) -> tuple[Runtime, list[FieldWarning]]:
        """Start the runtime that was just created. If that fails, the runtime still exists, so the error becomes a
        warning."""
        adapter = target.provider.adapter
        assert isinstance(adapter, SupportsStart)  # noqa: S101 (the router requires the feature)
        try:
            async with self._fleet.call_scope(target.provider, Operation.START, ctx) as call:
                await self._fleet.quotas.begin(adapter, runtime, ctx.principal)
                options = start_with_bounds(ctx.principal, StartRequest())
                return await adapter.start(adapter.reference(runtime), options, call), []
        except GatewayError as error:
            if not is_ambiguous(error):
                await self._fleet.quotas.released(Operation.START, ctx, adapter.reference(runtime))
            detail = f"The runtime was created, but not started: {error.code}: {error.detail}"
            return runtime, [FieldWarning(pointer="#/start", detail=detail)]


def _generated_name(request: CreateRequest, ctx: RequestContext, key: str | None) -> str:
    """A name for a create without one: the same for the same key of a principal, and a random one without a key."""
    if key is None:
        return f"{request.kind}-{secrets.token_hex(8)}"
    digest = hashlib.sha256(msgspec.json.encode([ctx.principal.name, key])).hexdigest()
    return f"{request.kind}-{digest[:32]}"
