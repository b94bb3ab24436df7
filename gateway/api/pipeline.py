"""The handlers of the API's listener: callers authenticate, and need the permission of the route."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from aiohttp import web

from gateway.api.auth import Authenticator
from gateway.api.idempotency import IDEMPOTENCY_KEY
from gateway.api.queries import refuse_query
from gateway.api.route import Route
from gateway.domain.errors import FieldError, UnsupportedFeature
from gateway.domain.values import Permission, is_release
from gateway.http.access_log import UNMATCHED, Surface
from gateway.http.cors import Cors
from gateway.http.endpoints import Failed, Handler, ListenerEndpoints, problem
from gateway.http.routing import AiohttpHandler
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.services.access.rates import RateLimits
from gateway.services.access.tokens import KeysPending
from gateway.services.audit.trail import AuditTrail
from gateway.settings import HttpSettings
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics

Response: TypeAlias = Awaitable[web.StreamResponse]


class Endpoints(ListenerEndpoints):
    """Wraps handlers of the API as aiohttp handlers. ``outdated`` returns why this process must not get requests any
    more; None if it may."""

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
        trail: AuditTrail | None = None,
    ) -> None:
        super().__init__(cors=cors, metrics=metrics, logger=logger, clock=clock, http=http, trail=trail)
        self.authenticator = authenticator
        self.rates = rates
        self.outdated: Callable[[], str | None] = lambda: None

    def bind(self, route: Route, handler: Handler) -> AiohttpHandler:
        access_log = self.access_log(route.surface, route.operation_id, route.path, self.audit(route.action))
        guarded = self._guarded(handler, route) if route.secured else handler
        tasks = self.in_flight.site if route.surface is Surface.SITE else self.in_flight.api
        return self.endpoint(guarded, access_log, tasks, private=route.secured, failed=self.failed_on(route.surface))

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

        def permitted(request: web.Request, ctx: RequestContext) -> Response:
            ctx.principal.require_full_view()
            if permission is not None:
                ctx.principal.require(permission)
            return handler(request, ctx)

        guarded = self._behind_keys(permitted, operation)
        audit = self.audit(
            operation if operation == surface else f"{surface}.{operation}", mutates=operation != UNMATCHED
        )
        access_log = self.access_log(surface, operation, path, audit)
        tasks = self.in_flight.api if bounded else self.in_flight.native
        return self.endpoint(guarded, access_log, tasks, private=True, failed=failed or problem)

    def _guarded(self, handler: Handler, route: Route) -> Handler:
        permission, takes_query = route.permission, bool(route.parameters)
        takes_key = IDEMPOTENCY_KEY in route.request_headers

        def permitted(request: web.Request, ctx: RequestContext) -> Response:
            if permission is not None:
                ctx.principal.require(permission)
            if not takes_key and IDEMPOTENCY_KEY in request.headers:
                detail = "Only a create takes an Idempotency-Key; send this request without it."
                fault = FieldError(detail, "unsupported", header="Idempotency-Key")
                raise UnsupportedFeature(detail, errors=[fault])
            if not takes_query and request.rel_url.raw_query_string:
                refuse_query(request.rel_url.raw_query_string)
            return handler(request, ctx)

        return self._behind_keys(permitted, route.operation_id)

    def _behind_keys(self, handler: Handler, operation: str) -> Handler:
        """The handler, behind the key of the caller and its rate limit. Nothing is awaited here but in rare cases."""
        authenticator, rates, counts = self.authenticator, self.rates, not is_release(operation)

        def authenticated(request: web.Request, ctx: RequestContext) -> Response:
            try:
                ctx.principal = principal = authenticator.principal(request.headers, request)
            except KeysPending as pending:
                return after_keys(pending, request, ctx)
            return handler(request, ctx) if principal.limits is None else counted(request, ctx)

        async def after_keys(pending: KeysPending, request: web.Request, ctx: RequestContext) -> web.StreamResponse:
            ctx.principal = await authenticator.principal_after(pending, request.headers, request)
            return await counted(request, ctx)

        async def counted(request: web.Request, ctx: RequestContext) -> web.StreamResponse:
            if (admitted := rates.admit(ctx, counts=counts)) is not None:
                await admitted
            return await handler(request, ctx)

        return authenticated

    def admit(self, request: web.Request) -> None:
        self.authenticator.admit(request.headers)


ENDPOINTS: Final = web.AppKey("endpoints", Endpoints)
