"""The calls about moves, ``/v1/moves``, and their handlers."""

from functools import partial
from typing import Final

from aiohttp import hdrs, web

from gateway.api.documented_errors import ANY_CALL, BODY
from gateway.api.queries import MOVE_ITEM_PARAMETERS, MOVE_PARAMETERS, parse_move_query
from gateway.api.responses import json_response
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.moves import ApplyMove, CreateMove, Move, MoveItems, MoveList, RollbackMove
from gateway.domain.requests import NoOptions
from gateway.domain.validation import Input
from gateway.domain.values import Permission
from gateway.http.bodies import BodyReader
from gateway.http.mounting import mounted
from gateway.ports.context import RequestContext
from gateway.services.moves.control import MoveControl
from gateway.services.moves.service import MoveService


class MoveHandlers:
    def __init__(self, moves: MoveService, control: MoveControl, bodies: BodyReader) -> None:
        self._moves = moves
        self._control = control
        self._bodies = bodies

    async def plan(self, request: web.Request, ctx: RequestContext) -> web.Response:
        move = await self._moves.plan(await self._bodies.read(request, CreateMove), ctx)
        ctx.changes = {"move": move.id}
        return json_response(move, ctx, status=202, headers={hdrs.LOCATION: mounted(f"/v1/moves/{move.id}")})

    async def list(self, request: web.Request, ctx: RequestContext) -> web.Response:
        query = parse_move_query(request.rel_url.raw_query_string)
        return json_response(await self._moves.list(query.limit, query.cursor), ctx)

    async def get(self, request: web.Request, ctx: RequestContext) -> web.Response:
        return json_response(await self._moves.get(request.match_info["id"]), ctx)

    async def items(self, request: web.Request, ctx: RequestContext) -> web.Response:
        query = parse_move_query(request.rel_url.raw_query_string, items=True)
        found = await self._moves.items(request.match_info["id"], query.states, query.limit, query.cursor)
        return json_response(found, ctx)

    async def apply(self, request: web.Request, ctx: RequestContext) -> web.Response:
        body = await self._bodies.read(request, ApplyMove)
        return json_response(await self._control.apply(request.match_info["id"], body), ctx, status=202)

    async def pause(self, request: web.Request, ctx: RequestContext) -> web.Response:
        await self._bodies.read(request, NoOptions)
        return json_response(await self._control.pause(request.match_info["id"]), ctx, status=202)

    async def resume(self, request: web.Request, ctx: RequestContext) -> web.Response:
        await self._bodies.read(request, NoOptions)
        return json_response(await self._control.resume(request.match_info["id"]), ctx, status=202)

    async def cancel(self, request: web.Request, ctx: RequestContext) -> web.Response:
        await self._bodies.read(request, NoOptions)
        return json_response(await self._control.cancel(request.match_info["id"]), ctx, status=202)

    async def rollback(self, request: web.Request, ctx: RequestContext) -> web.Response:
        body = await self._bodies.read(request, RollbackMove)
        ctx.changes = {"dry_run": str(body.dry_run).lower()}
        found = await self._control.rollback(request.match_info["id"], body)
        return json_response(found, ctx, status=200 if body.dry_run else 202)


_ERRORS: Final = (*ANY_CALL, errors.PermissionDenied, errors.InternalError, errors.StoreUnavailable)
_route: Final = partial(Route, permission=Permission.ADMIN, tag="moves")


def _change(
    verb: str, summary: str, description: str, *, body: type[Input] = NoOptions, dry_run: Success | None = None
) -> Route:
    """A call that changes the state of a move."""
    precondition = (errors.PreconditionFailed,) if body is ApplyMove else ()
    return _route(
        method="POST",
        path=f"/v1/moves/{{id}}/{verb}",
        operation_id=f"{verb}Move",
        summary=summary,
        description=description,
        handler=getattr(MoveHandlers, verb),
        bodies=(body,),
        body_required=body is ApplyMove,
        successes={**({} if dry_run is None else {200: dry_run}), 202: Success("The move.", Move)},
        errors=(*_ERRORS, *BODY, errors.NotFound, errors.StateConflict, *precondition),
    )


MOVE_ROUTES: Final[tuple[Route, ...]] = (
    _route(
        method="POST",
        path="/v1/moves",
        operation_id="planMove",
        summary="Plan a move",
        description="The plan is made in the background, and changes nothing. It says for each runtime what is carried "
        "over, changed and lost, and what prevents its move.",
        handler=MoveHandlers.plan,
        bodies=(CreateMove,),
        body_required=True,
        successes={202: Success("The move, in the state planning.", Move, ("Location",))},
        errors=(*_ERRORS, *BODY),
    ),
    _route(
        method="GET",
        path="/v1/moves",
        operation_id="listMoves",
        summary="List the moves",
        handler=MoveHandlers.list,
        parameters=MOVE_PARAMETERS,
        successes={200: Success("A page, newest first.", MoveList)},
        errors=_ERRORS,
    ),
    _route(
        method="GET",
        path="/v1/moves/{id}",
        operation_id="getMove",
        summary="Read a move",
        handler=MoveHandlers.get,
        successes={200: Success("The move.", Move)},
        errors=(*_ERRORS, errors.NotFound),
    ),
    _route(
        method="GET",
        path="/v1/moves/{id}/items",
        operation_id="listMoveItems",
        summary="List the runtimes of a move",
        description="Items appear while the move is being planned.",
        handler=MoveHandlers.items,
        parameters=MOVE_ITEM_PARAMETERS,
        successes={200: Success("A page, in the order of the plan.", MoveItems)},
        errors=(*_ERRORS, errors.NotFound),
    ),
    _change("apply", "Apply a plan", "The digest is that of the plan that was read.", body=ApplyMove),
    _change("pause", "Pause a move", "Runtimes that have begun are moved before."),
    _change("resume", "Continue a move", "Also after it is done, if runtimes have failed: these are tried again."),
    _change("cancel", "Cancel a move", "Runtimes that have begun are moved before; the others are skipped."),
    _change(
        "rollback",
        "Roll a move back",
        "A dry run returns the runtimes that have changed at the target. They prevent a rollback without sync_back or "
        "discard.",
        body=RollbackMove,
        dry_run=Success("What has changed at the target (dry_run).", MoveItems),
    ),
)
"""The routes of moves."""
