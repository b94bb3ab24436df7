"""One layer around every handler: request id, authentication, problems, headers, metrics and the log line.

A handler is wrapped once, when its route is bound. aiohttp's middlewares are not used, which saves two layers per
request. Every exception of a handler ends here, so that every path leads to a response, a log line and a count.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import hdrs, web
from multidict import istr

from gateway.api.auth import Authenticator
from gateway.api.idempotency import IDEMPOTENCY_KEY
from gateway.api.queries import refuse_query
from gateway.api.route import Route
from gateway.domain.access import Permission
from gateway.domain.errors import (
    FieldError,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    UnsupportedFeature,
)
from gateway.domain.operations import is_release
from gateway.http.access_log import AccessLog, Outcome, Surface
from gateway.http.bodies import ClientAborted
from gateway.http.cors import Cors, is_preflight
from gateway.http.in_flight import InFlight, Task
from gateway.http.problems import internal_error, problem_response
from gateway.http.request_heads import bound_headers
from gateway.http.request_ids import request_id, trace_context
from gateway.http.response_headers import REQUEST_ID, finish_headers
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.services.access.rates import RateLimits
from gateway.services.access.tokens import KeysPending
from gateway.settings import HttpSettings
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics

UNMATCHED: Final = "unmatched"
UNREADABLE: Final = "unreadable"

Handler = Callable[[web.Request, RequestContext], Awaitable[web.StreamResponse]]
Failed = Callable[[GatewayError, web.Request, str], web.Response]
"""Renders an error of a surface, given the request and its id."""

AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_TRACEPARENT: Final = istr("traceparent")
_CLIENT_CLOSED: Final = 499


def _problem(error: GatewayError, _request: web.Request, request_id: str) -> web.Response:
    return problem_response(error, request_id)


class Endpoints:
    """Wraps handlers as aiohttp handlers."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        cors: Cors,
        metrics: Metrics,
        logger: Logger,
        clock: Clock,
        http: HttpSettings,
        rates: RateLimits,
    ) -> None:
        self.authenticator = authenticator
        self.rates = rates
        self.cors = cors
        self.in_flight = InFlight(http.max_requests_in_flight, metrics)
        self.connections = metrics.connections
        self.outdated: Callable[[], str | None] = lambda: None
        """Why this process must not get requests any more; None if it may."""
        self._max_header_bytes = http.max_header_bytes
        self._metrics = metrics
        self._logger = logger
        self._clock = clock
        self._turned_away = metrics.requests_rejected.labels("connections")
        self._idle_closed = metrics.dropped.labels("idle_connection")
        self._handshakes_failed = metrics.dropped.labels("tls_handshake")
        self._slow_readers = metrics.dropped.labels("slow_reader")
        self._unreadable = AccessLog(
            metrics, logger, Surface.SITE, UNREADABLE, UNREADABLE, event=Event.UNREADABLE_REQUEST
        )

    def bind(self, route: Route, handler: Handler) -> AiohttpHandler:
        """The aiohttp handler of a route."""
        access_log = self._access_log(route.surface, route.operation_id, route.path)
        guarded = self._guarded(handler, route) if route.secured else handler
        tasks = self.in_flight.site if route.surface is Surface.SITE else self.in_flight.api
        return self._endpoint(guarded, access_log, tasks, private=route.secured)

    def bind_raw(
        self,
        surface: str,
        operation: str,
        path: str,
        handler: Handler,
        failed: Failed | None = None,
        *,
        permission: Permission | None,
        bounded: bool = True,
    ) -> AiohttpHandler:
        """The aiohttp handler of a surface whose handler checks query, body and headers itself; callers still need a
        key, and ``permission`` if it is not None. ``failed`` renders its errors; None renders problems. ``bounded``
        False: the surface has its own limit of requests in flight."""
        authenticator, rates, counts = self.authenticator, self.rates, not is_release(operation)

        async def guarded(request: web.Request, ctx: RequestContext) -> web.StreamResponse:
            try:
                ctx.principal = principal = authenticator.principal(request.headers, request)
            except KeysPending as pending:
                ctx.principal = principal = await authenticator.principal_after(pending, request.headers, request)
            if principal.limits is not None and (admitted := rates.admit(ctx, counts=counts)) is not None:
                await admitted
            if permission is not None:
                principal.require(permission)
            return await handler(request, ctx)

        access_log = self._access_log(surface, operation, path)
        tasks = self.in_flight.api if bounded else self.in_flight.native
        return self._endpoint(guarded, access_log, tasks, private=True, failed=failed or _problem)

    def wrong_method(self, surface: Surface, path: str, allowed: tuple[str, ...]) -> AiohttpHandler:
        """The handler for all other methods of a known path."""

        async def refuse(request: web.Request, _ctx: RequestContext) -> web.Response:
            raise MethodNotAllowed(
                f"{request.method} does not work here; it takes {', '.join(allowed)}.", allowed=allowed
            )

        return self._endpoint(refuse, self._access_log(surface, UNMATCHED, path), self.in_flight.site, private=True)

    def unknown_path(self, surface: Surface) -> AiohttpHandler:
        """The handler for all paths that do not exist."""

        async def refuse(_request: web.Request, _ctx: RequestContext) -> web.Response:
            raise NotFound("There is no such path; /openapi.json lists those that there are.")

        return self._endpoint(
            refuse, self._access_log(surface, UNMATCHED, UNMATCHED), self.in_flight.site, private=True
        )

    def refuse_unreadable(self, request: web.BaseRequest, error: GatewayError) -> web.Response:
        """The response to a request that never reached a handler. It closes the connection."""
        with RequestContext(request_id(request.headers.get(REQUEST_ID))) as ctx:
            response = problem_response(error, ctx.request_id)
            finish_headers(response, request, ctx, self.cors, private=True)
            response.force_close()
            outcome = Outcome()
            outcome.failed(error)
            outcome.status = response.status
            self._unreadable.record(request.method, ctx, outcome, 0.0)
            return response

    def turned_away(self) -> bytes:
        """The complete response to a connection beyond the limit; nothing of its request was read."""
        self._turned_away.inc()
        response = problem_response(
            Overloaded("As many connections as http.max_connections allows are open.", retry_after=1), request_id(None)
        )
        body = cast("bytes", response.body)
        headers = {**response.headers, hdrs.CONTENT_LENGTH: str(len(body)), hdrs.CONNECTION: "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {response.status} {response.reason}\r\n{lines}\r\n".encode() + body

    def idle_closed(self) -> None:
        """Count an idle connection that was closed because its client address has too many."""
        self._idle_closed.inc()

    def handshake_failed(self) -> None:
        """Count a connection whose TLS handshake failed."""
        self._handshakes_failed.inc()

    def slow_reader(self) -> None:
        """Count and log a client that was disconnected because it did not read its response."""
        self._slow_readers.inc()
        self._logger.info(Event.SLOW_READER)

    async def drain(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the requests in flight; interrupt the others, which are answered with an error."""
        if interrupted := await self.in_flight.drain(seconds):
            self._logger.warning(Event.INTERRUPTED, requests=interrupted)

    def unexpected(self, message: str, **fields: Any) -> None:
        """Log the exception that is being handled."""
        self._logger.exception(Event.UNEXPECTED_ERROR, detail=message, **fields)

    def _access_log(self, surface: str, operation: str, path: str) -> AccessLog:
        return AccessLog(self._metrics, self._logger, surface, operation, path)

    def _guarded(self, handler: Handler, route: Route) -> Handler:
        authenticator, rates, permission = self.authenticator, self.rates, route.permission
        counts = not is_release(route.operation_id)
        takes_query = bool(route.parameters)
        takes_key = IDEMPOTENCY_KEY in route.request_headers

        async def guarded(request: web.Request, ctx: RequestContext) -> web.StreamResponse:
            headers = request.headers
            try:
                ctx.principal = principal = authenticator.principal(headers, request)
            except KeysPending as pending:
                ctx.principal = principal = await authenticator.principal_after(pending, headers, request)
            if principal.limits is not None and (admitted := rates.admit(ctx, counts=counts)) is not None:
                await admitted
            if permission is not None and permission not in principal.permissions:
                principal.require(permission)
            if IDEMPOTENCY_KEY in headers and not takes_key:
                detail = "Only a create takes an Idempotency-Key; send this request without it."
                fault = FieldError(detail, "unsupported", header="Idempotency-Key")
                raise UnsupportedFeature(detail, errors=[fault])
            if not takes_query and request.rel_url.raw_query_string:
                refuse_query(request.rel_url.raw_query_string)
            return await handler(request, ctx)

        return guarded

    def _admit(self, request: web.Request) -> None:
        bound_headers(request, self._max_header_bytes)
        self.authenticator.admit(request.headers)

    def _endpoint(
        self,
        handler: Handler,
        access_log: AccessLog,
        tasks: set[Task],
        *,
        private: bool,
        failed: Failed = _problem,
    ) -> AiohttpHandler:
        """``tasks`` is the set of tasks in flight that the handler's task is added to."""
        clock = self._clock.monotonic
        in_flight, cors = self.in_flight, self.cors
        bounded = tasks is in_flight.api

        async def endpoint(request: web.Request) -> web.StreamResponse:
            began = clock()
            headers = request.headers
            with RequestContext(
                request_id=request_id(headers.get(REQUEST_ID)),
                traceparent=trace_context(headers.get(_TRACEPARENT)),
            ) as ctx:
                outcome = Outcome()
                response: web.StreamResponse
                task = cast("Task", asyncio.current_task())
                tasks.add(task)
                ticket = None
                try:
                    if bounded:
                        ticket = ctx.admission = in_flight.admit()
                    self._admit(request)
                    response = cors.preflight(request) if is_preflight(request) else await handler(request, ctx)
                except GatewayError as error:
                    outcome.failed(error)
                    response = failed(error, request, ctx.request_id)
                except ClientAborted:
                    response = _left(outcome)
                except asyncio.CancelledError:
                    answer = self._cancelled(request, ctx, outcome, failed)
                    if answer is None:
                        outcome.code, outcome.source = "cancelled", "gateway"
                        access_log.record(request.method, ctx, outcome, clock() - began)
                        raise
                    task.uncancel()
                    response = answer
                except Exception as exc:
                    outcome.failed(internal_error())
                    self._logger.exception(
                        Event.UNEXPECTED_ERROR,
                        error=type(exc).__name__,
                        runtime_id=ctx.runtime_id,
                    )
                    response = failed(internal_error(), request, ctx.request_id)
                finally:
                    tasks.discard(task)
                    if ticket is not None:
                        ticket.end()
                outcome.status = response.status
                # (Either side may close a WebSocket, so that the caller did is not an abort.)
                outcome.aborted = request.transport is None and response.status != 101
                finish_headers(response, request, ctx, cors, private=private)
                if in_flight.draining or not request.content.is_eof():
                    # (The rest of an unread body is not read only to keep the connection open.)
                    response.force_close()
                access_log.record(request.method, ctx, outcome, clock() - began)
                return response

        return endpoint

    def _cancelled(
        self, request: web.Request, ctx: RequestContext, outcome: Outcome, failed: Failed
    ) -> web.Response | None:
        """The response to a request that the server cancelled because its client has left a read, or that the shutdown
        interrupted. None: none can be sent."""
        interrupted = self.in_flight.interrupted
        if request.transport is None:
            return None if interrupted else _left(outcome)
        if not interrupted or request.writer.output_size > 0:
            return None
        interruption = self.in_flight.interruption(request.method, ctx)
        outcome.failed(interruption)
        return failed(interruption, request, ctx.request_id)


def _left(outcome: Outcome) -> web.Response:
    """The response that a client that has left does not receive."""
    outcome.code, outcome.source = "client_aborted", "client"
    return web.Response(status=_CLIENT_CLOSED)


ENDPOINTS: Final = web.AppKey("endpoints", Endpoints)
