"""What a caller may see: anything else is answered exactly as what does not exist."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from gateway.domain.access import Principal, refuse_named, refuse_outside
from gateway.domain.errors import GatewayError, NotFound, RuntimeReplaced
from gateway.domain.ids import RuntimeRef
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Call
from gateway.services.access.owners import Owners

if TYPE_CHECKING:
    from gateway.services.fleet import Provider
    from gateway.services.listing import ListQuery

NO_RUNTIME: Final = "There is no runtime of this id."


async def read_visible(
    owners: Owners, provider: "Provider", ref: RuntimeRef, ctx: RequestContext, call: Call
) -> Runtime:
    """Read a runtime, as its provider names it. Raises :class:`NotFound` if it does not exist or the caller may not see
    it, :class:`StoreUnavailable`, and what the read of the adapter raises."""
    if ctx.principal.own_only:
        owners.require_current(ctx.principal)
    try:
        outcome: Runtime | GatewayError = await provider.adapter.get(ref, call)
    except (NotFound, RuntimeReplaced) as gone:
        outcome = gone
    return visible(owners, ref, ctx, outcome)


def visible(owners: Owners, ref: RuntimeRef, ctx: RequestContext, outcome: Runtime | GatewayError) -> Runtime:
    """The runtime that a read has found, or its error raised, as :func:`read_visible`. The caller has asked
    :meth:`Owners.require_current` before."""
    caller = ctx.principal
    if isinstance(outcome, GatewayError):
        if (
            isinstance(outcome, NotFound | RuntimeReplaced)
            and caller.own_only
            and not owners.may_have_owned(caller, ref)
        ):
            raise NotFound(NO_RUNTIME) from outcome
        raise outcome
    if caller.confined and not owners.sees(caller, outcome):
        raise NotFound(NO_RUNTIME)
    return outcome


async def require_visible(
    owners: Owners, provider: "Provider", ref: RuntimeRef, ctx: RequestContext, call: Call
) -> Runtime | None:
    """Raise as :func:`read_visible`, before an operation that does not read the runtime itself. It is read, and
    returned, only where its id does not show whether the caller may see it."""
    if not reads_first(ctx.principal, provider.adapter):
        return None
    return await read_visible(owners, provider, ref, ctx, call)


def reads_first(principal: Principal, adapter: ProviderAdapter[Any]) -> bool:
    """Whether an adapter may have runtimes that the caller may not see, although it may use the provider."""
    kinds = principal.restrictions.kinds
    return principal.own_only or (kinds is not None and not adapter.kinds <= kinds)


def narrowed(query: "ListQuery", principal: Principal, owners: Owners) -> "ListQuery":
    """The query, restricted to what the caller may use. Raises :class:`PermissionDenied` that names the parameter if
    the query names anything else."""
    name = query.filter.name
    if name is not None:
        native = owners.native_name(name, principal)
        named = structs.replace(query.filter, name=native, outward_name=name if native is None else None)
        query = replace(query, filter=named)
    if not principal.confined:
        return query
    refuse_named(principal, query.providers, parameter="provider")
    refuse_named(principal, query.scopes, parameter="scope")
    only = principal.restrictions
    refuse_outside(query.providers, only.providers, "providers", parameter="provider")
    refuse_outside(query.scopes, only.scopes, "scopes", parameter="scope")
    refuse_outside(query.filter.kinds, only.kinds, "kinds", parameter="kind")
    return replace(
        query,
        providers=query.providers or only.providers or frozenset(),
        scopes=query.scopes or only.scopes or frozenset(),
        filter=structs.replace(
            query.filter, kinds=query.filter.kinds or only.kinds or frozenset(), visible=partial(owners.sees, principal)
        ),
    )


def refuse_outside_body(request: CreateRequest, principal: Principal) -> None:
    """Raise :class:`PermissionDenied` at the member that names a provider, scope or kind that the caller may not use,
    whether it exists or not."""
    for name in ("provider", "scope"):
        refuse_named(principal, [name] if request.sent(name) else (), pointer=f"#/{name}")
    only = principal.restrictions
    refuse_outside([request.kind], only.kinds, "kinds", pointer="#/kind")
    if request.sent("provider"):
        refuse_outside([request.provider], only.providers, "providers", pointer="#/provider")
    if request.sent("scope"):
        refuse_outside([request.scope], only.scopes, "scopes", pointer="#/scope")
