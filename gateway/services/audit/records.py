"""The audit trail for callers (docs/audit.md)."""

from contextlib import suppress
from dataclasses import replace
from typing import Literal

from gateway.domain.access import refuse_outside
from gateway.domain.runtime import Model
from gateway.ports.audit import AuditEvent, AuditQuery
from gateway.ports.context import RequestContext
from gateway.services.audit.trail import AuditTrail


class AuditEvents(Model, frozen=True, kw_only=True):
    """A page of audit events, newest first."""

    object: Literal["list"] = "list"
    items: list[AuditEvent]
    next_cursor: str | None


async def list_events(trail: AuditTrail, query: AuditQuery, ctx: RequestContext) -> AuditEvents:
    """One page, with the newest events of this process. A caller that may not see everything sees its own actions only.
    Raises :class:`PermissionDenied` if it asks for those of another principal, and :class:`StoreUnavailable`."""
    caller = ctx.principal
    if caller.confined:
        asked = () if query.principal is None else (query.principal,)
        refuse_outside(asked, frozenset({caller.name}), "principals", parameter="principal")
        query = replace(query, principal=caller.name)
    with suppress(OSError):  # the trail's own task reports it
        await trail.move()
    found = await trail.store.audit_events(replace(query, limit=query.limit + 1))
    items = list(found[: query.limit])
    return AuditEvents(items=items, next_cursor=items[-1].id if len(found) > query.limit else None)
