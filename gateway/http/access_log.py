"""The outcome of a request, and its record: one count, two durations, one log line."""

import logging
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from gateway.domain.access import Principal
from gateway.domain.errors import GatewayError
from gateway.http.in_flight import SAFE_METHODS
from gateway.ports.context import RequestContext
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.http.audit import RequestAudit

UNMATCHED: Final = "unmatched"
"""The operation of requests that no route serves."""


class Surface(StrEnum):
    """The part of the service that a request belongs to; a metrics label."""

    V1 = "v1"
    SITE = "site"  # probes, metrics, documentation, and paths that do not exist


@dataclass(slots=True, eq=False, repr=False)
class Outcome:
    """How a request ended. ``status`` 0: the gateway stopped before it responded."""

    status: int = 0
    code: str = ""
    source: str = ""
    error: GatewayError | None = None
    aborted: bool = False

    def failed(self, error: GatewayError) -> None:
        """Record that the request ended with ``error``. Its traceback is dropped: it is not logged."""
        self.error = error
        drop_tracebacks(error)
        self.code, self.source = error.code, error.source.value


class AccessLog:
    """Counts, times and logs the requests of one route, and passes those to ``audit`` that it may have to record."""

    def __init__(
        self,
        metrics: Metrics,
        logger: Logger,
        surface: str,
        operation: str,
        path: str,
        event: Event = Event.REQUEST,
        audit: "RequestAudit | None" = None,
    ) -> None:
        self._audit = audit
        self._requests = cache(partial(metrics.requests.labels, str(surface), operation))
        self._cache = cache(partial(metrics.cache_requests.labels, operation))
        self._seconds = metrics.request_seconds.labels(surface, operation)
        self._overhead = metrics.overhead_seconds.labels(surface, operation)
        self._event = event
        self._logger = logger.bind(surface=str(surface), operation=operation, path=path)
        self._level = logging.DEBUG if surface is Surface.SITE and event is Event.REQUEST else logging.INFO

    def record(self, request: "web.BaseRequest", ctx: RequestContext, outcome: Outcome, seconds: float) -> None:
        """Record one request that took ``seconds``, before its response is sent and within its context. The log line
        omits empty fields."""
        method = request.method
        if self._audit is not None and (method not in SAFE_METHODS or outcome.code or ctx.audited):
            self._audit.ended(request, ctx, outcome)
        upstream = sum([attempt.seconds for attempt in ctx.attempts])
        self._requests(outcome.status, outcome.code, outcome.source).inc()
        self._seconds.observe(max(seconds - ctx.waited, 0.0))
        self._overhead.observe(max(seconds - upstream - ctx.queued - ctx.waited, 0.0))
        fields: dict[str, Any] = {"method": method, "status": outcome.status, "duration_ms": round(seconds * 1000, 3)}
        _add_caller(fields, ctx.principal)
        if ctx.traceparent:
            fields["traceparent"] = ctx.traceparent
        if ctx.provider:
            fields["provider"] = ctx.provider
        if ctx.scope:
            fields["scope"] = ctx.scope
        if ctx.runtime_id:
            fields["runtime_id"] = ctx.runtime_id
        if ctx.cache:
            fields["cache"] = ctx.cache
            self._cache(ctx.cache).inc()
        if ctx.intent_id:
            fields |= {"intent_id": ctx.intent_id, "idempotency": ctx.idempotency}
        if ctx.attempts:
            fields["attempts"] = len(ctx.attempts)
            fields["upstream_ms"] = round(upstream * 1000, 3)
        if ctx.queued or ctx.waited:
            fields |= _waits(ctx)
        if outcome.code:
            fields |= _failure_fields(outcome)
        if outcome.aborted:
            fields["client_aborted"] = True
        self._logger.line(self._level, self._event, fields)


def _add_caller(fields: dict[str, Any], principal: Principal) -> None:
    if principal.name:
        fields["principal"] = principal.name
    if principal.key_id is not None:
        fields["key_id"] = principal.key_id


def _waits(ctx: RequestContext) -> dict[str, float]:
    waits = {"queue_ms": ctx.queued, "waited_ms": ctx.waited}
    return {name: round(seconds * 1000, 3) for name, seconds in waits.items() if seconds}


def _failure_fields(outcome: Outcome) -> dict[str, Any]:
    fields: dict[str, Any] = {"code": outcome.code, "source": outcome.source}
    error = outcome.error
    if error is None:
        return fields
    fields["retryable"] = error.retryable.value
    if error.provider is not None:
        fields["provider"] = error.provider
    if error.failure is not None and error.failure.request_id is not None:
        fields["provider_request_id"] = error.failure.request_id
    return fields


def drop_tracebacks(error: BaseException) -> None:
    """Drop the tracebacks of a reported error and of its causes. Their frames and the errors form reference cycles that
    only the garbage collector would free, and a collection blocks all other requests."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            pending += (one.__cause__, one.__context__)
