"""Runtimes of a workspace that have moved: to another workspace, or to the provider's current API. Those are shown in
the JSON of the workspaces era, as far as the current API has it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from adapters.bctrl import wire
from adapters.bctrl.adapter import BctrlAdapter
from adapters.bctrl.dialect.bodies import NATIVE_CODE
from gateway.domain.errors import NotFound
from gateway.domain.ownership import outward
from gateway.domain.pages import ProviderQuery
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation, State
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectGateway, DialectTarget, Elsewhere, Moved

_PAGE: Final = 100
_RAW: Final = msgspec.json.Decoder(dict[str, Any])
_STATUSES: Final[Mapping[State, wire.Status]] = {
    State.IDLE: wire.Status.STOPPED,
    State.STOPPED: wire.Status.STOPPED,
    State.FAILED: wire.Status.FAILED,
}
"""Every other state is ``active``: such a runtime has or may have compute."""


def is_of_api(target: DialectTarget) -> bool:
    """Whether a place has the workspaces API."""
    return isinstance(target.adapter, BctrlAdapter)


def row_of(runtime: Runtime, native_id: str, workspace: str) -> dict[str, Any]:
    """A runtime of another API as JSON of the workspaces era."""
    status = _STATUSES.get(runtime.state, wire.Status.ACTIVE)
    return {
        "id": native_id,
        "alias": outward(runtime.name),
        "kind": runtime.kind,
        "status": status,
        "workspaceId": workspace,
        "createdAt": runtime.created_at,
        "updatedAt": runtime.updated_at,
        "summary": {"browserRunning": status is wire.Status.ACTIVE},
    }


async def act(gateway: DialectGateway, operation: Operation, moved: Moved, ctx: RequestContext) -> bytes:
    """Read or stop a runtime that is at another API now. Raises :class:`NotFound` also for one that the caller may not
    see."""
    adapter: Any = moved.target.adapter
    view = gateway.view(adapter, ctx)
    ctx.scope = moved.target.scope
    view.require_current()
    async with gateway.call_scope(adapter, operation, ctx) as call:
        runtime = await adapter.get(moved.ref, call)
        if not view.sees(runtime):
            raise NotFound("There is no runtime of this alias.", extra={NATIVE_CODE: "runtime.not_found"})
        ctx.runtime_id = runtime.id
        if operation is Operation.STOP and runtime.state not in _STATUSES:
            await gateway.admit_write(moved.ref, runtime.name, call)
            runtime = await adapter.stop(moved.ref, call)
        ctx.state = runtime.state
    return msgspec.json.encode(row_of(runtime, moved.native_id, moved.target.asked_scope))


async def whole_list(
    gateway: DialectGateway, target: DialectTarget, body: bytes, since: int, ctx: RequestContext
) -> bytes:
    """The list of a workspace without what had moved away when it began, followed by that as it is now."""
    await gateway.know_moves(target.adapter, since)
    if not gateway.latest_move():
        return body
    document, places = _RAW.decode(body), gateway.elsewhere(target, wire.Kind.BROWSER, since, ctx)
    listed = [
        (row, (str(row.get("kind")), str(row.get("id")).lower(), row.get("alias"))) for row in document[wire.ROWS]
    ]
    rows = [row for row, named in listed if gateway.lists(target, named, since, ctx)]
    for place in places:
        rows += await _rows(gateway, place, ctx)
    return msgspec.json.encode({**document, wire.ROWS: rows})


async def list_left_behind(gateway: DialectGateway, left: Sequence[Moved], ctx: RequestContext) -> bytes:
    """The list of a workspace that no provider serves any longer: the runtimes that have moved from there."""
    places: dict[tuple[str, str], Elsewhere] = {}
    for each in left:
        place = places.setdefault((each.target.adapter.name, each.target.scope), Elsewhere(each.target, {}))
        place.ids[each.ref.provider_id] = each.native_id
    rows = [row for key in sorted(places) for row in await _rows(gateway, places[key], ctx)]
    return msgspec.json.encode({wire.ROWS: rows})


async def _rows(gateway: DialectGateway, place: Elsewhere, ctx: RequestContext) -> list[dict[str, Any]]:
    """Those of a workspace that are at this place."""
    adapter, (scope, asked) = place.target.adapter, (place.target.scope, place.target.asked_scope)
    view, rows, cursor = gateway.view(adapter, ctx), [], None
    async with gateway.call_scope(adapter, Operation.LIST, ctx) as call:
        if isinstance(adapter, BctrlAdapter):
            body, _ = await adapter.native(Operation.LIST, scope, call, None, view)
            listed = [(row, place.ids.get(str(row.get("id")).lower())) for row in _RAW.decode(body)[wire.ROWS]]
            return [{**row, "id": native_id, "workspaceId": asked} for row, native_id in listed if native_id]
        while True:
            page = await adapter.list(ProviderQuery(scope=scope, limit=_PAGE, cursor=cursor), call)
            here = [one for one in page.items if one.provider_id in place.ids and view.sees(one)]
            rows += [row_of(one, place.ids[one.provider_id], asked) for one in here]
            if (cursor := page.next_cursor) is None:
                return rows
