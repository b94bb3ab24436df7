"""Creating a runtime: named, at a provider that fits, once, and started where that was asked for."""

import hashlib
import secrets
from typing import Final

import msgspec

from gateway.domain.config import unknown_keys
from gateway.domain.errors import GatewayError
from gateway.domain.features import CreateFeature
from gateway.domain.lifecycle import TRANSITIONS, Verb
from gateway.domain.operations import Operation
from gateway.domain.requests import CreateDurable, CreateRequest, StartRequest
from gateway.domain.runtime import FieldWarning, Runtime
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created, Deduplication, SupportsStart
from gateway.services.fleet import Fleet
from gateway.services.intents import CreateCommand, CreateResult, IntentService, document_of
from gateway.services.routing import Router, Target
from gateway.services.sent_spec import filled, spec_of

_OF_DIALECTS: Final = "{api}.create"


class CreateService:
    """The create of every kind."""

    def __init__(
        self, fleet: Fleet, router: Router, intents: IntentService, *, shows_what_was_sent: bool = False
    ) -> None:
        """``shows_what_was_sent``: it is kept, so that later reads show it where the provider is silent, too."""
        self._fleet = fleet
        self._router = router
        self._intents = intents
        self._shows_what_was_sent = shows_what_was_sent

    async def create(self, request: CreateRequest, ctx: RequestContext, key: str | None = None) -> CreateResult:
        """Make a runtime, or answer with the one of that name (``created: false``) or of that ``Idempotency-Key``.

        Raises :class:`AlreadyExists` with pointers of what differs from the one of that name, or always when
        ``if_exists`` is ``fail``; what :meth:`IntentService.ensure` raises; and what :meth:`Router.choose` and the
        adapter raise.
        """
        document = document_of(request)
        named = request.sent("name")
        if not named:
            request = request.model_copy(update={"name": _made_up_name(request, ctx, key)})

        async def choose() -> list[Target]:
            return await self._router.choose(request, ctx, name_may_exist=named)

        async def finish(target: Target, made: Created) -> Created:
            return await self._finished(target, request, made, ctx)

        return await self._intents.ensure(
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
                starts=self._starts(request),
            ),
            ctx,
        )

    async def create_at(self, target: Target, request: CreateRequest, ctx: RequestContext, key: str | None) -> Created:
        """Make a runtime at a target, for a dialect, under the caller's own ``key``, if it has one.

        Where the provider itself ensures a name, its own judgement of what was there before is the answer. Raises as
        :meth:`create`.
        """
        adapter = target.provider.adapter
        adapter.check_create(request)

        async def choose() -> list[Target]:
            return [target]

        async def finish(_target: Target, made: Created) -> Created:
            return made

        ensured = await self._intents.ensure(
            CreateCommand(
                request=request,
                document={**document_of(request), "scope": target.scope, "provider": target.provider.name},
                key=key,
                operation=_OF_DIALECTS.format(api=adapter.api),
                judged=adapter.deduplication is Deduplication.NONE,
                pinned=False,
                name_is_new=False,
                choose=choose,
                finish=finish,
            ),
            ctx,
        )
        return ensured.created

    async def drain(self) -> None:
        """Cut off the creates that are still under way; what became of them is found out later."""
        await self._intents.drain()

    def _starts(self, request: CreateRequest) -> bool:
        """Whether a start of its own follows the create, at the providers whose create does not launch."""
        if not request.sent("start") or not request.start:
            return False
        return any(
            request.kind in provider.adapter.creates and CreateFeature.LAUNCH_ON_CREATE not in provider.adapter.features
            for provider in self._fleet
        )

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
                runtime, told = await self._start(target, runtime, ctx)
                warnings += told
            elif runtime.state not in TRANSITIONS[Verb.START].satisfied_by:
                warnings.append(FieldWarning(pointer="#/start", detail="It existed already and was not started."))
        spec = spec_of(request, runtime) if made.created and self._shows_what_was_sent else None
        if spec is not None:
            runtime = filled(runtime, spec)
        runtime = msgspec.structs.replace(
            runtime, created=made.created, adopted=made.runtime.adopted, warnings=warnings or msgspec.UNSET
        )
        return Created(runtime, made.created, made.native)

    async def _start(self, target: Target, runtime: Runtime, ctx: RequestContext) -> tuple[Runtime, list[FieldWarning]]:
        """Start what was just made. It exists whatever happens now, so a failed start is told in a warning."""
        adapter = target.provider.adapter
        assert isinstance(adapter, SupportsStart)  # noqa: S101 (the router asked for the feature)
        try:
            async with self._fleet.call_scope(target.provider, Operation.START, ctx) as call:
                return await adapter.start(adapter.reference(runtime), StartRequest(), call), []
        except GatewayError as error:
            detail = f"The runtime was made, but not started: {error.code}: {error.detail}"
            return runtime, [FieldWarning(pointer="#/start", detail=detail)]


def _made_up_name(request: CreateRequest, ctx: RequestContext, key: str | None) -> str:
    """A name for a create that has none: the same for the same key of the same principal, else a new one."""
    if key is None:
        return f"{request.kind}-{secrets.token_hex(8)}"
    digest = hashlib.sha256(msgspec.json.encode([ctx.principal, key])).hexdigest()
    return f"{request.kind}-{digest[:32]}"
