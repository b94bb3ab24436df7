"""Runtimes that already have the name of a create: those that a list does not show yet, and how they differ."""

from collections.abc import Sequence
from typing import NamedTuple

from gateway.domain.differences import differing_fields, has_config_of
from gateway.domain.errors import FieldError, IdempotencyInProgress, NotFound, RuntimeReplaced
from gateway.domain.ids import RuntimeRef
from gateway.domain.intents import Intent
from gateway.domain.lifecycle import is_live
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import Feature, Operation
from gateway.ports.context import RequestContext
from gateway.ports.provider import Deduplication, Seen, SupportsConfig
from gateway.ports.sealing import Unreadable
from gateway.services.intents.context import CreateContext
from gateway.services.intents.lease import LeasedIntent
from gateway.services.intents.lookup import Age, LookupResult, age_of, find_by_name, is_sent_again, match_own
from gateway.services.intents.payloads import SentCreate
from gateway.services.intents.targets import ResolvedTarget


async def unlisted_predecessor(
    context: CreateContext, leased: LeasedIntent, looked: LookupResult, ctx: RequestContext
) -> Runtime | None:
    """A live runtime of the name that this gateway created within the wait-out and that the look-up did not show, since
    a provider's list may lag behind.

    It is read by its id. Where runtimes cannot be deleted, it exists even if that read lags too; then the kept response
    is returned. Raises :class:`IdempotencyInProgress` if none was kept, and as any read at the provider does.
    """
    intent, resolved = leased.intent, leased.resolved
    earlier = await context.store.by_name(intent.namespace, intent.kind, intent.name, other_than=intent.id, done=True)
    if earlier is None or earlier.runtime_id is None:
        return None
    recent = leased.now() - (earlier.settled_at or 0.0) < context.rules.wait_out
    if not recent or any(seen.runtime.provider_id == earlier.runtime_id for seen in looked.seen):
        return None
    try:
        async with context.fleet.call_scope(resolved.provider, Operation.GET, ctx) as call:
            call.settling = True
            runtime = await resolved.adapter.get(RuntimeRef(earlier.scope, earlier.runtime_id, earlier.name), call)
    except (NotFound, RuntimeReplaced):
        return None if Feature.DELETE in resolved.adapter.features else _answered_before(context, earlier)
    return runtime if is_live(runtime.state) else None


async def made_by_others(context: CreateContext, intent: Intent) -> frozenset[str]:
    """The provider's ids of the runtimes of the name that other creates made or found. Raises
    :class:`StoreUnavailable`."""
    return await context.store.made_under(intent.namespace, intent.kind, intent.name, other_than=intent.id)


async def look_up_own(
    context: CreateContext, resolved: ResolvedTarget, intent: Intent, sent: SentCreate | None, ctx: RequestContext
) -> tuple[LookupResult, Sequence[Seen], float]:
    """Look up the name of an intent that nobody holds: the result, the runtimes in it that the intent's attempts made,
    and the database's time after it. Raises as any read at the provider does, and :class:`StoreUnavailable`."""
    looked = await find_by_name(context.fleet, resolved, intent.name, ctx)
    now = await context.store.now()
    others = await made_by_others(context, intent)
    request = sent.request() if sent is not None else None
    by_name = resolved.adapter.deduplication is Deduplication.BY_NAME
    compared = request if by_name and not is_sent_again(intent) else None
    own = match_own(resolved, intent, looked, now=now, request=request, others=others, unclear=compared is not None)
    if compared is not None:  # no look-up came before the send: a runtime is its own if it is what was sent
        ages = [(seen, age_of(seen.runtime, intent, looked, now)) for seen in own]
        own = [seen for seen, age in ages if await _is_made_by_send(context, resolved, compared, seen, age, ctx)]
    return looked, own, now


async def _is_made_by_send(
    context: CreateContext, resolved: ResolvedTarget, request: CreateRequest, seen: Seen, age: Age, ctx: RequestContext
) -> bool:
    compared = await compare_with(context, resolved, request, seen.runtime, ctx, whole=True)
    return compared.is_made_by_send(age)


def _answered_before(context: CreateContext, earlier: Intent) -> Runtime:
    try:
        kept = context.payloads.outcome(earlier)
    except Unreadable:
        kept = None
    if kept is None:
        raise IdempotencyInProgress(
            "A runtime of this name was made a moment ago, and the provider does not show it yet; try again.",
            retry_after=1.0,
        )
    return kept.runtime


class Comparison(NamedTuple):
    """A runtime with its kept spec filled in, and the fields in which a request differs from it. ``is_equal``: its
    config, if that was compared, is the one that the request sends, defaults included."""

    runtime: Runtime
    differing: Sequence[FieldError]
    is_equal: bool

    def is_made_by_send(self, age: Age) -> bool:
        """Whether the runtime was made by the send of the request, if no other one was sent. In the second in which
        its age is unclear, only what equals the request was."""
        return not self.differing and (age is Age.YOUNGER or (age is Age.UNCLEAR and self.is_equal))


async def compare_with(
    context: CreateContext,
    resolved: ResolvedTarget,
    request: CreateRequest,
    runtime: Runtime,
    ctx: RequestContext,
    *,
    whole: bool,
) -> Comparison:
    """Compare a runtime with a request. ``whole``: with its config, too. Raises as any read at the provider does if
    that cannot be read."""
    if context.specs is not None:
        runtime = await context.specs.known(resolved.adapter, runtime)
    config = None
    if whole and isinstance(resolved.adapter, SupportsConfig):
        async with context.fleet.call_scope(resolved.provider, Operation.GET_CONFIG, ctx) as call:
            call.settling = True
            config = (await resolved.adapter.get_config(resolved.adapter.reference(runtime), call)).config
    differing = differing_fields(request, runtime, config)
    return Comparison(runtime, differing, not differing and has_config_of(request, config))
