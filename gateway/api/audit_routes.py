"""The audit trail as a call, for the route table."""

import re
from dataclasses import replace
from datetime import datetime
from typing import Final

from aiohttp import web

from gateway.api.documented_errors import ANY_CALL
from gateway.api.queries import INTENT_PARAMETERS, QueryParameter, parse_query
from gateway.api.responses import json_response
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.values import Permission
from gateway.ports.audit import ID, AuditOutcome, AuditQuery
from gateway.ports.context import RequestContext
from gateway.services.audit.trail import AuditEvents, AuditTrail, list_events

_ACTION: Final = "^[A-Za-z0-9._-]{1,100}$"
_INTENTS: Final = {parameter.name: parameter for parameter in INTENT_PARAMETERS}


def _instant(value: str) -> float | None:
    """A time of RFC 3339 in seconds since the epoch; None for any other text."""
    try:
        moment = datetime.fromisoformat(value)
        return None if moment.tzinfo is None or len(value) < 20 else moment.timestamp()
    except (ValueError, OverflowError):
        return None


def _time(name: str, description: str) -> QueryParameter:
    schema = {"type": "string", "format": "date-time"}
    return QueryParameter(name, description, schema, lambda v: _instant(v) is not None, "a time as in RFC 3339")


AUDIT_PARAMETERS: Final = (
    replace(_INTENTS["principal"], description="Only the actions of this principal."),
    replace(
        _INTENTS["principal"], name="runtime", description="Only those on this runtime.", expected="a runtime's id"
    ),
    QueryParameter(
        "action",
        "Only these actions.",
        {"type": "string", "pattern": _ACTION},
        lambda value: re.fullmatch(_ACTION[1:-1], value) is not None,
        "the name of an action",
        many=True,
    ),
    QueryParameter(
        "outcome",
        "Only those with this outcome.",
        {"type": "string", "enum": [outcome.value for outcome in AuditOutcome]},
        frozenset(AuditOutcome).__contains__,
        f"one of: {', '.join(AuditOutcome)}",
    ),
    _time("since", "Only those from this time on."),
    _time("until", "Only those before this time."),
    replace(_INTENTS["limit"], description="Maximum number of events on a page."),
    replace(_INTENTS["cursor"], accepts=lambda value: ID.match(value) is not None),
)


class AuditHandlers:
    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def list(self, request: web.Request, ctx: RequestContext) -> web.Response:
        sent = parse_query(request.rel_url.raw_query_string, {one.name: one for one in AUDIT_PARAMETERS})
        given = {name: values[0] for name, values in sent.items()}
        query = AuditQuery(
            principal=given.get("principal"),
            runtime_id=ctx.principal.plain_id(given["runtime"]) if "runtime" in given else None,
            actions=frozenset(sent.get("action", ())),
            outcome=given.get("outcome"),
            since=_instant(given.get("since", "")),
            until=_instant(given.get("until", "")),
            before=given.get("cursor"),
            limit=int(given.get("limit", 50)),
        )
        return json_response(await list_events(self._trail, query, ctx), ctx)


AUDIT_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/audit",
        operation_id="listAuditEvents",
        permission=Permission.AUDIT,
        summary="List who did what",
        description="Newest first. A caller that sees only a part of the runtimes sees its own actions.",
        handler=AuditHandlers.list,
        parameters=AUDIT_PARAMETERS,
        successes={200: Success("A page.", AuditEvents)},
        errors=(*ANY_CALL, errors.PermissionDenied, errors.NotFound, errors.InternalError, errors.StoreUnavailable),
        tag="access",
    ),
)
