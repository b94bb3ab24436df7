"""Requests for paths that no route of the dialect serves, which the settings can forward."""

from collections.abc import Sequence
from typing import Final

from adapters.durable.dialect.account_routes import distinct_accounts, serving
from adapters.durable.dialect.forwarding import durable, find, target_of
from gateway.domain.errors import NotFound
from gateway.domain.ids import format_runtime_id
from gateway.domain.operations import Operation
from gateway.ports.context import RequestContext
from gateway.ports.dialect import Dialect, DialectRequest, Forwarded

PRESETS: Final = {
    "reads": (
        "GET /api/v1/org/*/sandboxes/**",
        "GET /api/v1/org/*/capabilities/**",
        "GET /api/v1/org/*/credits/**",
        "GET /api/v1/org/*/ws/*/sessions/**",
    )
}
"""What users of the client need daily beside the routes, by the name of the preset."""


async def forwarded(
    dialect: Dialect, segments: Sequence[str], _request: DialectRequest, ctx: RequestContext
) -> Forwarded:
    """Where such a request goes. The runtime in a path has to be one that the caller may see."""
    _api, _version, *below = segments
    match below:
        case ["org", org, "ws", workspace, *rest]:
            target = target_of(dialect.gateway, dialect.prefix, org, workspace, ctx)
            adapter, of_runtime = durable(target.adapter), rest[:1] == ["runtimes"] and len(rest) > 1
            if of_runtime:
                view = dialect.gateway.view(adapter, ctx)
                async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                    ref, _ = await find(adapter, target.scope, rest[1], view, call)
                ctx.runtime_id = format_runtime_id(adapter.name, adapter.format_reference(ref))
                rest[1] = ref.provider_id
            org, _, workspace = target.scope.partition("/")
            return Forwarded(adapter, ["org", org, "ws", workspace, *rest], of_runtime=of_runtime)
        case ["org", org, *rest]:
            adapter, org = next(serving(dialect, org, ctx))
            return Forwarded(adapter, ["org", org, *rest])
    found = list(distinct_accounts(dialect, ctx))
    if len(found) != 1:
        raise NotFound("This gateway has no provider of this API, or several accounts there.")
    return Forwarded(found[0], below)
