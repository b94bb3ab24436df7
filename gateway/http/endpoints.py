"""One layer around every handler: request id, problems, headers, metrics and the log line.

A handler is wrapped once, when its route is bound. aiohttp's middlewares are not used, which saves two layers per
request. Every exception of a handler ends here, so that every path leads to a response, a log line and a count.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import hdrs, web
from multidict import istr

from gateway.domain.errors import GatewayError, MethodNotAllowed, NotFound, Overloaded
from gateway.http.access_log import UNMATCHED, AccessLog, Outcome, Surface
from gateway.http.audit import RequestAudit
from gateway.http.bodies import ClientAborted
from gateway.http.cors import Cors, is_preflight
from gateway.http.in_flight import InFlight, Task
from gateway.http.problems import internal_error, problem_response
from gateway.http.public_errors import shown_error
from gateway.http.request_heads import bound_headers
from gateway.http.request_ids import request_id, trace_context
from gateway.http.response_headers import REQUEST_ID, finish_headers
from gateway.http.routing import AiohttpHandler, RouteTable
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.services.audit.trail import AuditTrail
from gateway.settings import HttpSettings
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics

UNREADABLE: Final = "unreadable"

Handler = Callable[[web.Request, RequestContext], Awaitable[web.StreamResponse]]
Failed = Callable[[GatewayError, web.Request, str], web.Response]
"""Renders an error of a surface, given the request and its id."""

_TRACEPARENT: Final = istr("traceparent")
_CLIENT_CLOSED: Final = 499


def problem(error: GatewayError, _request: web.Request, request_id: str) -> web.Response:
    return problem_response(error, request_id)


class ListenerEndpoints:
    """Wraps the handlers of one listener as aiohttp handlers.

    ``routes`` is to be filled with them. ``connections`` is the gauge of open connections. ``idle_closed`` counts the
    idle ones that were closed because their client address had too many, ``handshakes_failed`` those whose TLS
    handshake failed.
    """

    base_path = ""
    """The path prefix below which clients see the listener."""
    failed_page: Failed = staticmethod(problem)
    """Renders the errors of what browsers show."""

    def __init__(
        self,
        *,
        cors: Cors,
        metrics: Metrics,
        logger: Logger,
        clock: Clock,
        http: HttpSettings,
        trail: AuditTrail | None = None,
    ) -> None:
        """``trail`` is the audit trail; None records nothing."""
        self.routes = RouteTable()
        self.trail = trail
        self.cors = cors
        self.in_flight = InFlight(http.max_requests_in_flight, metrics)
        self.connections = metrics.connections
        self.idle_closed = metrics.dropped.labels("idle_connection")
        self.handshakes_failed = metrics.dropped.labels("tls_handshake")
        self._max_header_bytes = http.max_header_bytes
        self._metrics = metrics
        self._logger = logger
        self._clock = clock
        self._turned_away = metrics.requests_rejected.labels("connections")
        self._slow_readers = metrics.dropped.labels("slow_reader")
        self._unreadable = AccessLog(
            metrics, logger, Surface.SITE, UNREADABLE, UNREADABLE, event=Event.UNREADABLE_REQUEST
        )

    def wrong_method(self, surface: Surface, path: str, allowed: tuple[str, ...]) -> AiohttpHandler:
        """The handler for all other methods of a known path."""

        async def refuse(request: web.Request, _ctx: RequestContext) -> web.Response:
            raise MethodNotAllowed(
                f"{request.method} does not work here; it takes {', '.join(allowed)}.", allowed=allowed
            )

        return self._site(refuse, surface, path)

    def unknown_path(self, surface: Surface) -> AiohttpHandler:
        """The handler for all paths that do not exist."""

        async def refuse(_request: web.Request, _ctx: RequestContext) -> web.Response:
            raise NotFound("There is no such path; /openapi.json lists those that there are.")

        return self._site(refuse, surface, UNMATCHED)

    def _site(self, refuse: Handler, surface: Surface, path: str) -> AiohttpHandler:
        access_log, failed = self.access_log(surface, UNMATCHED, path), self.failed_on(surface)
        return self.endpoint(refuse, access_log, self.in_flight.site, private=True, failed=failed)

    def failed_on(self, surface: Surface) -> Failed:
        """What renders the errors of a surface."""
        return self.failed_page if surface is Surface.SITE else problem

    def refuse_unreadable(self, request: web.BaseRequest, error: GatewayError) -> web.Response:
        """The response to a request that never reached a handler. It closes the connection."""
        with RequestContext(request_id(request.headers.get(REQUEST_ID))) as ctx:
            response = problem_response(error, ctx.request_id)
            finish_headers(response, request, ctx, self.cors, private=True)
            response.force_close()
            outcome = Outcome()
            outcome.failed(error)
            outcome.status = response.status
            self._unreadable.record(request, ctx, outcome, 0.0)
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

    def access_log(self, surface: str, operation: str, path: str, audit: RequestAudit | None = None) -> AccessLog:
        """The log of the requests of one route. ``audit`` records them in the audit trail."""
        return AccessLog(self._metrics, self._logger, surface, operation, path, audit=audit)

    def audit(self, action: str, *, mutates: bool = True) -> RequestAudit | None:
        """What records the requests of one route; with ``mutates`` False, only refusals."""
        return None if self.trail is None else RequestAudit(self.trail, action, mutates=mutates)

    def admit(self, request: web.Request) -> None:
        """Refuse a request before anything else is done with it. The headers were bounded before."""

    def endpoint(
        self, handler: Handler, access_log: AccessLog, tasks: set[Task], *, private: bool, failed: Failed = problem
    ) -> AiohttpHandler:
        """The aiohttp handler around ``handler``. ``tasks`` is the set of tasks in flight that its task is added to;
        ``private``: responses are not to be stored; ``failed`` renders its errors."""
        clock = self._clock.monotonic
        in_flight, cors, max_header_bytes = self.in_flight, self.cors, self._max_header_bytes
        bounded = tasks is in_flight.api

        async def answered(request: web.Request) -> web.StreamResponse:
            began = clock()
            headers = request.headers
            with RequestContext(
                request_id=request_id(headers.get(REQUEST_ID)), traceparent=trace_context(headers.get(_TRACEPARENT))
            ) as ctx:
                outcome = Outcome()
                response: web.StreamResponse
                task = request.task
                tasks.add(task)
                ticket = None
                try:
                    if bounded:
                        ticket = ctx.admission = in_flight.admit()
                    bound_headers(request, max_header_bytes)
                    self.admit(request)
                    response = cors.preflight(request) if is_preflight(request) else await handler(request, ctx)
                except GatewayError as error:
                    outcome.failed(error)
                    response = failed(shown_error(error, ctx.principal), request, ctx.request_id)
                except ClientAborted:
                    response = _left(outcome)
                except asyncio.CancelledError:
                    answer = self._cancelled(request, ctx, outcome, failed)
                    if answer is None:
                        outcome.code, outcome.source = "cancelled", "gateway"
                        access_log.record(request, ctx, outcome, clock() - began)
                        raise
                    task.uncancel()
                    response = answer
                except Exception as exc:
                    outcome.failed(internal_error())
                    self._logger.exception(Event.UNEXPECTED_ERROR, error=type(exc).__name__, runtime_id=ctx.runtime_id)
                    response = failed(internal_error(), request, ctx.request_id)
                finally:
                    in_flight.done(tasks, task)
                    if ticket is not None:
                        ticket.end()
                outcome.status = response.status
                # (Either side may close a WebSocket, so that the caller did is not an abort.)
                outcome.aborted = request.transport is None and response.status != 101
                finish_headers(response, request, ctx, cors, private=private)
                if in_flight.draining or not request.content.is_eof():
                    # (The rest of an unread body is not read only to keep the connection open.)
                    response.force_close()
                access_log.record(request, ctx, outcome, clock() - began)
                return response

        return answered

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
        return failed(shown_error(interruption, ctx.principal), request, ctx.request_id)


def _left(outcome: Outcome) -> web.Response:
    """The response that a client that has left does not receive."""
    outcome.code, outcome.source = "client_aborted", "client"
    return web.Response(status=_CLIENT_CLOSED)
