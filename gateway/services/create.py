"""Creating a runtime: under its name, at one provider, told apart from one that was there before."""

import secrets

import msgspec

from gateway.domain.config import unknown_keys
from gateway.domain.differences import differing_fields
from gateway.domain.errors import AlreadyExists, GatewayError, OutcomeUnknown
from gateway.domain.features import CreateFeature
from gateway.domain.lifecycle import TRANSITIONS, Verb, is_live
from gateway.domain.operations import Operation
from gateway.domain.requests import CreateDurable, CreateRequest, StartRequest
from gateway.domain.runtime import FieldWarning, Runtime
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created, Deduplication, SupportsConfig, SupportsStart
from gateway.ports.transport import Call
from gateway.services.fleet import Fleet
from gateway.services.routing import Router, Target


class CreateService:
    """The create of every kind."""

    def __init__(self, fleet: Fleet, router: Router) -> None:
        self._fleet = fleet
        self._router = router

    async def create(self, request: CreateRequest, ctx: RequestContext) -> Runtime:
        """Make a runtime, or answer with the one of that name (``created: false``).

        Raises :class:`AlreadyExists` with pointers of what differs from the one of that name, or always when
        ``if_exists`` is ``fail``; :class:`OutcomeUnknown` when nobody knows whether it was made; and what
        :meth:`Router.choose` and the adapter raise.
        """
        named = request.sent("name")
        if not named:
            request = request.model_copy(update={"name": f"{request.kind}-{secrets.token_hex(8)}"})
        target = await self._router.choose(request, ctx, name_may_exist=named)
        made = await self._made(target, request, ctx, None, judge=True)
        return await self._finish(target, request, made, ctx)

    async def create_at(self, target: Target, request: CreateRequest, ctx: RequestContext, key: str | None) -> Created:
        """Make a runtime at a target, for a dialect. ``key`` goes out where the provider knows such keys.

        Where the provider itself ensures a name, its own judgement of what was there before is the answer. Raises as
        :meth:`create`.
        """
        target.provider.adapter.check_create(request)
        judge = target.provider.adapter.deduplication is Deduplication.NONE
        return await self._made(target, request, ctx, key, judge=judge)

    async def _made(
        self, target: Target, request: CreateRequest, ctx: RequestContext, key: str | None, *, judge: bool
    ) -> Created:
        ctx.scope = target.scope
        try:
            async with self._fleet.calling(
                target.provider, Operation.CREATE, ctx, secrets=request.secret_values()
            ) as call:
                if judge:
                    made = await self._ensure(target, request, call, key)
                else:
                    made = await target.provider.adapter.create(request, target.scope, call, idempotency_key=key)
        except OutcomeUnknown as error:
            error.extra.setdefault("name", request.name)
            raise
        ctx.runtime_id = made.runtime.id
        return made

    async def _ensure(self, target: Target, request: CreateRequest, call: Call, key: str | None) -> Created:
        adapter = target.provider.adapter
        if adapter.deduplication is Deduplication.NONE:
            existing = await self._live(target, request.name, call)
            if existing is not None:
                return await self._existing(target, request, existing, call)
        try:
            made = await adapter.create(request, target.scope, call, idempotency_key=key)
        except AlreadyExists as error:
            existing = await self._live(target, request.name, call)
            if existing is None:
                raise
            return await self._existing(target, request, existing, call, conflict=error)
        if not made.created:
            return await self._existing(target, request, made.runtime, call)
        return made

    async def _live(self, target: Target, name: str, call: Call) -> Runtime | None:
        found = await target.provider.adapter.find(target.scope, name, call)
        return next((runtime for runtime in found if is_live(runtime.state)), None)

    async def _existing(
        self,
        target: Target,
        request: CreateRequest,
        existing: Runtime,
        call: Call,
        conflict: AlreadyExists | None = None,
    ) -> Created:
        """Answer a create whose name is taken. ``conflict`` is the provider's own refusal, which stands even where
        nothing that the caller sent can be seen to differ."""
        if request.if_exists == "fail":
            raise AlreadyExists("A runtime of this name exists already.", provider=target.provider.name) from conflict
        adapter = target.provider.adapter
        config = None
        if conflict is not None and isinstance(adapter, SupportsConfig):
            config = (await adapter.get_config(adapter.reference(existing), call)).config
        differing = differing_fields(request, existing, config)
        if differing or (conflict is not None and adapter.deduplication is Deduplication.BY_NAME):
            raise AlreadyExists(
                "A runtime of this name exists already and differs from this request.",
                errors=differing,
                provider=target.provider.name,
                failure=conflict.failure if conflict else None,
            ) from conflict
        return Created(existing, created=False)

    async def _finish(self, target: Target, request: CreateRequest, made: Created, ctx: RequestContext) -> Runtime:
        runtime, warnings = made.runtime, []
        if isinstance(request, CreateDurable) and request.config is not None:
            warnings += unknown_keys(request.config)
        if (
            request.sent("start")
            and request.start
            and CreateFeature.LAUNCH_ON_CREATE not in target.provider.adapter.features
        ):
            if made.created:
                runtime, told = await self._start(target, runtime, ctx)
                warnings += told
            elif runtime.state not in TRANSITIONS[Verb.START].satisfied_by:
                warnings.append(FieldWarning(pointer="#/start", detail="It existed already and was not started."))
        return msgspec.structs.replace(runtime, created=made.created, warnings=warnings or msgspec.UNSET)

    async def _start(self, target: Target, runtime: Runtime, ctx: RequestContext) -> tuple[Runtime, list[FieldWarning]]:
        """Start what was just made. It exists whatever happens now, so a failed start is told in a warning."""
        adapter = target.provider.adapter
        assert isinstance(adapter, SupportsStart)  # noqa: S101 (the router asked for the feature)
        try:
            async with self._fleet.calling(target.provider, Operation.START, ctx) as call:
                return await adapter.start(adapter.reference(runtime), StartRequest(), call), []
        except GatewayError as error:
            detail = f"The runtime was made, but not started: {error.code}: {error.detail}"
            return runtime, [FieldWarning(pointer="#/start", detail=detail)]
