"""The changes of one runtime, or of one move, as a stream of server-sent events."""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from multidict import istr

from gateway.api.documented_errors import READ_ERRORS
from gateway.api.responses import as_json, tagged
from gateway.api.route import Route, Success
from gateway.api.waiting import WaitingCalls
from gateway.domain.errors import GatewayError, NotFound, Overloaded, RuntimeReplaced
from gateway.domain.moves import WORKING, Move
from gateway.domain.runtime import Runtime
from gateway.domain.values import Permission
from gateway.http.bodies import ClientAborted
from gateway.http.cors import Cors
from gateway.http.response_headers import finish_headers
from gateway.ports.context import RequestContext
from gateway.services.moves.service import MoveService
from gateway.services.waiting.following import Following
from gateway.services.waiting.places import Waiter

COMMENT_EVERY: Final = 15.0
"""Seconds without an event after which a comment shows that the connection works."""
LONGEST: Final = 3600.0
"""Seconds after which a stream ends."""
FIRST_WITHIN: Final = 30.0
"""Seconds within which a runtime has to be read, else there is no stream."""
MOVES_EVERY: Final = 1.0
"""Seconds between two reads of a move."""
UNREAD_BYTES: Final = 16 << 10
"""With more unread bytes than this, the stream waits for its reader; meanwhile only the newest state is kept."""

_HEADERS: Final = {hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"}  # nginx passes it on at once
_LAST_EVENT_ID: Final = istr("Last-Event-ID")
_OPENING: Final = b"retry: 1000\n\n"
_COMMENT: Final = b":\n\n"


class EventStreams:
    def __init__(self, calls: WaitingCalls, cors: Cors, moves: MoveService) -> None:
        self._calls = calls
        self._cors = cors
        self._moves = moves

    async def watch(self, request: web.Request, ctx: RequestContext) -> web.StreamResponse:
        """Stream the states of a runtime until it is gone or the stream has to end."""
        calls = self._calls
        with (
            calls.place(request, ctx, Permission.READ) as waiter,
            calls.following(request.match_info["id"], waiter, ctx) as following,
        ):
            runtime = await following.first(calls.now() + FIRST_WITHIN)
            if runtime is None:
                raise following.failure() or Overloaded("The gateway is shutting down.", retry_after=1.0)
            last = request.headers.get(_LAST_EVENT_ID)
            return await self._sent(self._frames(following, runtime, last, ctx), request, ctx)

    async def watch_move(self, request: web.Request, ctx: RequestContext) -> web.StreamResponse:
        """Stream the states of a move until no replica works on it or the stream has to end."""
        with self._calls.place(request, ctx, Permission.ADMIN) as waiter:
            move = await self._moves.get(request.match_info["id"])
            return await self._sent(self._move_frames(move, waiter, ctx), request, ctx)

    async def _sent(
        self, frames: AsyncIterator[bytes], request: web.Request, ctx: RequestContext
    ) -> web.StreamResponse:
        """Send the frames of a stream, until they end."""
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=_HEADERS)
        out = web.StreamResponse(headers=_HEADERS)
        out.force_close()
        try:
            await self._begin(out, request, ctx)
            async for frame in frames:
                await out.write(frame)
                await request.writer.drain()
            await out.write_eof()
        except ConnectionError as exc:
            raise ClientAborted from exc
        except Exception:
            if request.transport is not None:
                request.transport.abort()  # no other response can follow
            raise
        return out

    async def _begin(self, out: web.StreamResponse, request: web.Request, ctx: RequestContext) -> None:
        transport: Any = request.transport
        if transport is None:
            raise ClientAborted
        finish_headers(out, request, ctx, self._cors, private=True)
        await out.prepare(request)
        transport.set_write_buffer_limits(high=UNREAD_BYTES)

    async def _frames(
        self, following: Following, runtime: Runtime, last: str | None, ctx: RequestContext
    ) -> AsyncIterator[bytes]:
        """The events and comments, from this state on; ``last`` is the tag of the state that the caller has."""

        def is_news(state: Runtime) -> bool:
            return tagged(state, ctx.principal)[1] != last

        now, places = self._calls.now, self._calls.places
        until = now() + LONGEST
        found: Runtime | None = runtime
        yield _OPENING
        written = now()
        while True:
            if found is not None:
                body, tag = tagged(found, ctx.principal)
                if tag != last:
                    last, written = tag, now()
                    yield b"event: runtime\nid: %b\ndata: %b\n\n" % (tag.encode(), body)
            elif places.draining or now() >= until:
                yield _event("end", {"reason": "drain" if places.draining else "lifetime"})
                return
            else:
                written = now()
                yield _COMMENT
            try:
                found = await following.next(min(written + COMMENT_EVERY, until), is_news)
            except (NotFound, RuntimeReplaced) as gone:
                yield _event("gone", {"id": ctx.principal.shown_id(runtime.id), "code": gone.code})
                return
            except GatewayError as error:
                yield _event("end", {"reason": error.code})
                return

    async def _move_frames(self, move: Move, waiter: Waiter, ctx: RequestContext) -> AsyncIterator[bytes]:
        """The events and comments of a move, from this state on."""
        now, places = self._calls.now, self._calls.places
        until, last, written = now() + LONGEST, b"", now()
        yield _OPENING
        while True:
            if (body := as_json(move, ctx.principal)) != last:
                last, written = body, now()
                yield b"event: move\ndata: %b\n\n" % body
            elif now() >= written + COMMENT_EVERY:
                written = now()
                yield _COMMENT
            if move.state not in WORKING:
                yield _event("end", {"reason": move.state.value})
                return
            if places.draining or now() >= until:
                yield _event("end", {"reason": "drain" if places.draining else "lifetime"})
                return
            await waiter.pause(MOVES_EVERY)
            try:
                if waiter.revoked is not None:
                    raise waiter.revoked
                move = await self._moves.get(move.id)
            except GatewayError as error:
                yield _event("end", {"reason": error.code})
                return


def _event(name: str, data: dict[str, str]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


EVENT_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/runtimes/{id}/events",
        operation_id="watchRuntime",
        permission=Permission.READ,
        summary="Watch a runtime",
        description="Events: runtime, with the runtime as data and its ETag as id, now and after each change; gone; "
        "and end, with a reason, before the gateway closes the stream.",
        handler=EventStreams.watch,
        request_headers=("Last-Event-ID",),
        successes={200: Success("Server-sent events.", media_types=("text/event-stream",))},
        errors=READ_ERRORS,
    ),
    Route(
        method="GET",
        path="/v1/moves/{id}/events",
        operation_id="watchMove",
        permission=Permission.ADMIN,
        summary="Watch a move",
        description="Events: move, with the move as data, now and after each change; and end, with the reason or the "
        "state of a move on which nothing is being done, before the gateway closes the stream.",
        handler=EventStreams.watch_move,
        successes={200: Success("Server-sent events.", media_types=("text/event-stream",))},
        errors=READ_ERRORS,
        tag="moves",
    ),
)
"""The routes of event streams."""
