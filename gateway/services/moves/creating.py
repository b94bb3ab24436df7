"""Creates a runtime at the target of a move, and brings it to the config, capabilities and compute of the source."""

import hashlib

from gateway.domain.differences import config_of, differing_fields, same_config
from gateway.domain.errors import FieldError, StateConflict, ValidationFailed
from gateway.domain.ids import format_runtime_id
from gateway.domain.moves import ItemState
from gateway.domain.ownership import suffix_in
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.moves import StoredItem
from gateway.ports.provider import Created
from gateway.services.access.lifetimes import can_stop
from gateway.services.fleet import Provider
from gateway.services.intents import CreateCommand, document_of
from gateway.services.moves.context import MoverContext, Run, target_of
from gateway.services.moves.holding import Hold
from gateway.services.moves.planned import MovingItem, PlannedItem, Step, sealed, unsealed
from gateway.services.moves.runtimes import Place, differing_bindings, has_compute
from gateway.services.provider_choice import Target, fit
from gateway.services.sent_spec import MadeRuntime


class TargetCreator:
    def __init__(self, context: MoverContext) -> None:
        self._context = context

    async def created(
        self, run: Run, item: MovingItem, target: Provider, planned: PlannedItem, hold: Hold, ctx: RequestContext
    ) -> Place:
        """The runtime at the target: it is created unless it has been before. What may have been sent is sent again as
        it was."""
        context = self._context
        if item.stored.step == "":
            plan = sealed(planned, item.stored.move_id, item.stored.position, context.sealer)
            await item.put(
                {"waits_for": None, "tries": 0, "name": create_of(planned, item.stored).name or ""},
                state=ItemState.MOVING,
                step=Step.CREATING,
                plan=plan,
                target_scope=planned.target_scope,
            )
        if item.stored.step == Step.CREATING:
            sent = create_of(unsealed(item.stored, context.sealer), item.stored)
            hold.require()
            created = await self._ensure(run, item, sent, target, planned.owner, ctx)
            adapter = target.adapter
            ref = adapter.reference(created.runtime)
            await item.put(
                {"made": created.created, "tries": 0},
                step=Step.CREATED,
                target_scope=ref.scope,
                target_id=ref.provider_id,
                target_runtime_id=format_runtime_id(adapter.name, adapter.format_reference(ref)),
            )
            if context.specs is not None and created.created and suffix_in(created.runtime.name) is None:
                await context.specs.remember(MadeRuntime(adapter, ref.scope, created.runtime, sent, planned.owner))
        return target_of(item.stored, target, planned)

    async def _ensure(
        self,
        run: Run,
        item: MovingItem,
        request: CreateRequest,
        provider: Provider,
        owner: str | None,
        ctx: RequestContext,
    ) -> Created:
        """Create a runtime at the target under the create promise."""
        fails = "fail" if run.request.on_name_conflict == "fail" else "return"
        request = request.model_copy(update={"if_exists": fails})
        owners, key = self._context.fleet.owners, f"{item.stored.move_id}/{item.stored.position}"

        async def choose() -> list[Target]:
            found = fit(provider, request)
            if isinstance(found, Target):
                return [found]
            raise ValidationFailed(found[0].error.detail, errors=[misfit.error for misfit in found])

        async def finish(_target: Target, made: Created) -> Created:
            return made

        result = await self._context.intents.ensure(
            CreateCommand(
                request=request,
                document=document_of(request),
                key=f"{key}/{item.progress.creates}" if item.progress.creates else key,
                operation=Operation.CREATE,
                judged=True,
                pinned=False,
                name_is_new=False,
                choose=choose,
                finish=finish,
                owner_mark=lambda name: None if owner is None else owners.mark_of(owner, name, request.name),
            ),
            ctx,
        )
        return result.created

    async def brought_up(
        self,
        item: MovingItem,
        place: Place,
        planned: PlannedItem,
        request: CreateRequest,
        hold: Hold,
        ctx: RequestContext,
    ) -> tuple[Runtime, str | None]:
        """The runtime at the target with the config, capabilities and compute that it is to have, as it is read back,
        and the digest of its config. Only what the move has made is changed, and a runtime that was adopted has to be
        equal. Raises :class:`StateConflict` if it is not."""
        runtimes, made, config = self._context.runtimes, item.progress.made, config_of(request)
        hold.require()
        known = await runtimes.config(place, ctx)
        other_config = config is not None and known is not None and not same_config(config, known.config)
        if made:
            if other_config and config is not None:
                known = await runtimes.replace_config(place, config, ctx)
                other_config = False
            if planned.knows_bindings:
                await runtimes.set_bindings(place, planned.bindings, ctx)
        hold.require()
        target = await runtimes.start(place, ctx) if planned.starts else await runtimes.read(place, ctx)
        if made and not planned.starts and has_compute(target.state):
            await runtimes.end(place, "stop" if can_stop(place.provider.adapter) else "reset", ctx)
            target = await runtimes.read(place, ctx)
        known_bindings = await runtimes.bindings(place, ctx) if planned.knows_bindings else ()
        bindings = differing_bindings(planned.bindings, known_bindings)
        faults = differing_fields(request, target, None if known is None else known.config)
        pointers = [*(each.pointer or "#" for each in faults), *bindings]
        if pointers or other_config:
            detail = f"The runtime {place.id} is not as it was to be."
            errors = [FieldError(detail, "differs", pointer=where) for where in pointers or ["#/config"]]
            raise StateConflict(detail, errors=errors, provider=place.provider.name)
        return target, None if known is None else known.config_digest


def create_of(planned: PlannedItem, stored: StoredItem) -> CreateRequest:
    """The create at the target. Without a name it gets one that is the same each time."""
    request = CREATE_REQUESTS[stored.kind].model_validate(planned.create)
    if planned.create.get("name") is None:
        digest = hashlib.sha256(f"{stored.move_id}/{stored.position}".encode()).hexdigest()
        request = request.model_copy(update={"name": f"{stored.kind}-{digest[:32]}"})
    return request
