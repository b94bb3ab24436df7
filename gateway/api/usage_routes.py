"""The figures of runtimes as a call, for the route table."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from gateway.api.documented_errors import ANY_CALL
from gateway.api.handlers import incomplete
from gateway.api.queries import LIST_PARAMETERS, QueryParameter, list_query, parse_query
from gateway.api.responses import json_response
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.values import Permission
from gateway.ports.context import RequestContext
from gateway.services.usage import Usage, UsageService

_BY: Final = "^(provider|kind|state|owner|label:.{1,200})$"
_FILTERS: Final = frozenset({"kind", "provider", "scope", "state", "project", "owner", "label"})

USAGE_PARAMETERS: Final = (
    QueryParameter(
        "by",
        "What the groups have in common. Default: provider, and state for callers with the public view.",
        {"type": "string", "pattern": _BY},
        lambda value: re.fullmatch(_BY[1:-1], value) is not None,
        "provider, kind, state, owner, or label:KEY",
    ),
    *(one for one in LIST_PARAMETERS if one.name in _FILTERS),
)
_BY_NAME: Final = {parameter.name: parameter for parameter in USAGE_PARAMETERS}


@dataclass(frozen=True, slots=True)
class UsageHandlers:
    """As :class:`gateway.api.handlers.Handlers`."""

    service: UsageService

    async def usage(self, request: web.Request, ctx: RequestContext) -> web.Response:
        values = parse_query(request.rel_url.raw_query_string, _BY_NAME)
        by = values.pop("by", [None])[0]
        return json_response(await self.service.usage(list_query(values), by, ctx, partial(incomplete, ctx=ctx)), ctx)


USAGE_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/usage",
        operation_id="getUsage",
        permission=Permission.READ,
        summary="Count runtimes and add up their costs",
        description="The figures are those of the runtimes that the caller's lists have. They may be as old as ten "
        "times the time that counting takes, at most five minutes: see as_of. Costs that no provider reports are null, "
        "not 0. A provider that fails, or whose list takes over 50 seconds, is named in incomplete and not counted.",
        handler=UsageHandlers.usage,
        parameters=USAGE_PARAMETERS,
        successes={200: Success("The figures.", Usage)},
        errors=(*ANY_CALL, errors.InternalError, errors.ProviderUnavailable),
    ),
)
