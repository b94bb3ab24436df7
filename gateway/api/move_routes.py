"""The calls about moves, ``/v1/moves``, and their handlers."""

from functools import partial
from typing import Final

from aiohttp import hdrs, web

from gateway.api.documented_errors import ANY_CALL, BODY
from gateway.api.queries import MOVE_ITEM_PARAMETERS, MOVE_PARAMETERS, parse_move_query
from gateway.api.responses import json_response
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.access import Permission
from gateway.domain.move_requests import CreateMove
from gateway.domain.moves import Move, MoveItems, MoveList
from gateway.http.bodies import BodyReader
from gateway.ports.context import RequestContext
from gateway.services.moves.service import MoveService


class MoveHandlers:
    """As :class:`gateway.api.handlers.Handlers`."""

    def __init__(self, moves: MoveService, bodies: BodyReader) -> None:
        self._moves = moves
        self._bodies = bodies

    async def plan(self, request: web.Request, ctx: RequestContext) -> web.Response:
        move = await self._moves.plan(await self._bodies.read(request, CreateMove), ctx)
        ctx.changes = {"move": move.id}
        return json_response(move, ctx, status=202, headers={hdrs.LOCATION: f"/v1/moves/{move.id}"})

    async def list(self, request: web.Request, ctx: RequestContext) -> web.Response:
        query = parse_move_query(request.rel_url.raw_query_string)
        return json_response(await self._moves.list(query.limit, query.cursor), ctx)

    async def get(self, request: web.Request, ctx: RequestContext) -> web.Response:
        return json_response(await self._moves.get(request.match_info["id"]), ctx)

    async def items(self, request: web.Request, ctx: RequestContext) -> web.Response:
        query = parse_move_query(request.rel_url.raw_query_string, items=True)
        found = await self._moves.items(request.match_info["id"], query.states, query.limit, query.cursor)
        return json_response(found, ctx)


_ERRORS: Final = (*ANY_CALL, errors.PermissionDenied, errors.InternalError, errors.StoreUnavailable)
_route: Final = partial(Route, permission=Permission.ADMIN, tag="moves")

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
)
