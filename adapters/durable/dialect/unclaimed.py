"""Requests for paths that no route of the dialect serves, which the settings can forward."""

from collections.abc import Sequence
from typing import Final

from adapters.durable.dialect.account_routes import distinct_accounts, may_see, serving
from adapters.durable.dialect.forwarding import durable, find, target_of
from adapters.durable.dialect.runtimes import moved
from gateway.domain.errors import NotFound
from gateway.domain.ids import format_runtime_id
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.dialect import Dialect, DialectRequest, Forwarded
from gateway.ports.native import Rules

PRESETS: Final = {
    "reads": (
        "GET /api/v1/org/*/sandboxes/**",
        "GET /api/v1/org/*/capabilities/**",
        "GET /api/v1/org/*/credits/**",
        "GET /api/v1/org/*/ws/*/sessions/**",
    )
}
"""What users of the client need daily beside the routes, by the name of the preset."""

SLASHES: Final = Rules(["* /api/v1/org/*/capabilities/**"])
"""The client encodes the slash in ``ORGANIZATION/NAME`` of a capability."""


async def forwarded(
    dialect: Dialect, segments: Sequence[str], _request: DialectRequest, ctx: RequestContext
) -> Forwarded:
    """Where such a request goes. The runtime in a path has to be one that the caller may see; so has, for a caller that
    sees only a part of the provider, the runtime of a sandbox."""
    _api, _version, *below = segments
    match below:
        case ["org", org, "ws", workspace, *rest]:
            target = target_of(dialect.gateway, dialect.prefix, org, workspace, ctx)
            if of_runtime := rest[:1] == ["runtimes"] and len(rest) > 1:
                target, rest[1] = moved(dialect.gateway, target, rest[1], ctx)
            adapter = durable(target.adapter)
            if of_runtime:
                view = dialect.gateway.view(adapter, ctx)
                async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                    ref, _ = await find(adapter, target.scope, rest[1], view, call)
                ctx.runtime_id = format_runtime_id(adapter.name, adapter.format_reference(ref))
                rest[1] = ref.provider_id
            org, _, workspace = target.scope.partition("/")
            return Forwarded(adapter, ["org", org, "ws", workspace, *rest], of_runtime=of_runtime)
        case ["org", org, "sandboxes", sandbox, *rest] if ctx.principal.sees_part and sandbox != "usage":
            for adapter, known_as in serving(dialect, org, ctx):
                async with dialect.gateway.call_scope(adapter, Operation.GET, ctx) as call:
                    if await may_see(dialect, adapter, known_as, sandbox, ctx, call):
                        return Forwarded(adapter, ["org", known_as, "sandboxes", sandbox, *rest], of_runtime=True)
            raise NotFound("Sandbox not found")
        case ["org", org, *rest]:
            adapter, org = next(serving(dialect, org, ctx))
            return Forwarded(adapter, ["org", org, *rest])
    found = list(distinct_accounts(dialect, ctx))
    if len(found) != 1:
        raise NotFound("This gateway has no provider of this API, or several accounts there.")
    return Forwarded(found[0], below)
