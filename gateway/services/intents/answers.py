"""The response of a done create to the caller of the same key: the stored one, or one made from the runtime."""

from typing import Final

import msgspec

from gateway.domain.errors import AlreadyExists, IdempotencyKeyReused, NotFound
from gateway.domain.ids import RuntimeRef
from gateway.domain.intents import Intent
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created
from gateway.ports.sealing import Unreadable
from gateway.ports.store import Changes
from gateway.ports.transport import Phase
from gateway.services.access.visibility import NO_RUNTIME
from gateway.services.intents.context import CreateCommand, CreateContext, name_in_use, needs_operator
from gateway.services.intents.evidence import CONFLICT
from gateway.services.intents.lookup import is_sent_again
from gateway.services.intents.name_conflicts import compare_with
from gateway.services.intents.targets import ResolvedTarget
from gateway.services.provider_choice import Target

_SHOWED_ANOTHERS: Final = {None, CONFLICT}


def key_reused() -> IdempotencyKeyReused:
    """The error for a key that belongs to another request."""
    return IdempotencyKeyReused("This Idempotency-Key was used for another request; take a new key for a new request.")


def kept_answer(context: CreateContext, intent: Intent) -> Created | None:
    """The stored response; None if none is stored, or if it cannot be read: its sealing key was removed."""
    try:
        return context.payloads.outcome(intent)
    except Unreadable:
        return None


async def rebuilt_answer(
    context: CreateContext, intent: Intent, command: CreateCommand, ctx: RequestContext, *, is_same: bool
) -> Created:
    """The response of a create that is done and has no readable response: from the runtime as it is now.

    ``is_same``: the request is known to be that of the key. If that cannot be read, the request has to fit the runtime.
    Raises as any read at the provider does, :class:`IdempotencyKeyReused` and :class:`AlreadyExists`.
    """
    request = command.request
    if not is_same and (intent.operation, intent.kind, intent.name) != (command.operation, request.kind, request.name):
        raise key_reused()
    resolved = await present_target(context, intent, ctx, by_id=True)
    if resolved is None or intent.runtime_id is None:
        raise needs_operator(intent, command.key)
    runtime = await read_runtime(context, resolved, intent, ctx)
    if context.fleet.owners.is_foreign(ctx.principal, runtime):
        raise name_in_use(resolved.provider.name)
    if not is_same:
        _, differing, _ = await compare_with(context, resolved, request, runtime, ctx, whole=True)
        if differing:
            raise AlreadyExists(
                "The runtime of this Idempotency-Key differs from this request.",
                errors=differing,
                provider=resolved.provider.name,
            )
    if intent.reason == "adopted":
        runtime = msgspec.structs.replace(runtime, adopted=True)
    created = intent.outcome is None or _was_created(intent)
    if intent.outcome is not None and command.starts:  # it was started then, and may have been stopped since
        return Created(msgspec.structs.replace(runtime, created=created), created)
    answer = await command.finish(resolved.target, Created(runtime, created))
    if intent.outcome is not None:
        return answer
    changes = Changes(outcome=context.payloads.seal_outcome(intent.id, answer))
    settled = await context.store.record_created(intent.id, intent.runtime_id, changes=changes)
    return (kept_answer(context, settled) if settled is not None else None) or answer


async def present_target(
    context: CreateContext, intent: Intent, ctx: RequestContext, *, by_id: bool = False
) -> ResolvedTarget | None:
    """The target where the runtime of a done intent is now; see :meth:`TargetResolver.of_intent`. Raises
    :class:`NotFound` if the caller may not use it."""
    moved = context.fleet.moves.of_source(intent.provider, intent.runtime_id or "")
    if moved is None:
        return await context.targets.of_intent(intent, ctx, by_id=by_id)
    if not ctx.principal.sees(moved.target, moved.target_scope):
        raise NotFound(NO_RUNTIME)
    provider = context.fleet.get(moved.target)
    return None if provider is None else await context.targets.of(Target(provider, moved.target_scope), ctx)


async def read_runtime(
    context: CreateContext, resolved: ResolvedTarget, intent: Intent, ctx: RequestContext
) -> Runtime:
    """The runtime of a done intent, as its provider has it now."""
    _, ref = context.fleet.place(intent.provider, RuntimeRef(intent.scope, intent.runtime_id or "", intent.name))
    async with context.fleet.call_scope(resolved.provider, Operation.GET, ctx) as call:
        call.settling = True
        return await resolved.adapter.get(ref, call)


def _was_created(intent: Intent) -> bool:
    """Whether the response was that of a runtime that the create made, and not of one that existed before."""
    if is_sent_again(intent) or intent.reason == "adopted":
        return True
    if not intent.attempts:
        return False  # it was found before the send
    last = intent.attempts[-1]
    return last.made is True or last.phase != Phase.ANSWERED.label or last.status not in _SHOWED_ANOTHERS
