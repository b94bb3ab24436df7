"""The application of the data plane's listener."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiohttp import hdrs, web
from multidict import istr

from gateway.dataplane.located import TICKET_PROTOCOL, Located, locate, subprotocols
from gateway.dataplane.session import Session
from gateway.dataplane.target import RuntimeTarget
from gateway.domain import errors
from gateway.domain.access import Principal
from gateway.http.audit import RequestAudit
from gateway.http.cors import Cors
from gateway.http.endpoints import ListenerEndpoints
from gateway.http.forwarding import Forwarding
from gateway.http.headers import is_websocket, to_provider
from gateway.http.server import SERVED
from gateway.http.uploads import StreamedUpload
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import DataProtocol
from gateway.services.audit.trail import AuditTrail
from gateway.services.data_plane.grants import Grant
from gateway.services.data_plane.service import DataPlane, Destination
from gateway.services.fleet import ResolvedRuntime
from gateway.settings import DataSettings, HttpSettings
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.data_hosts import DataOrigins
from gateway.upstream.exchange import NativeRequest

SURFACE: Final = "data"
CONNECT: Final = "connect"

RETRY_SECONDS: Final = 0.5
"""Between two attempts to connect to the server of an instance that has just started."""

_ORIGIN: Final = istr("Origin")
_REFERER: Final = istr("Referer")
_SUBPROTOCOL: Final = istr("Sec-WebSocket-Protocol")


def create_data_plane(
    plane: DataPlane,
    data: DataSettings,
    http: HttpSettings,
    *,
    metrics: Metrics,
    logger: Logger,
    clock: Clock,
    trail: AuditTrail,
) -> web.Application:
    """The application of the data plane, to be served by ``GatewayRunner`` on a listener of its own. ``trail`` records
    its WebSockets and refusals."""
    cors = Cors(http.cors.model_copy(update={"origins": data.origins}))
    endpoints = ListenerEndpoints(cors=cors, metrics=metrics, logger=logger, clock=clock, http=http, trail=trail)
    audit = endpoints.audit(f"{SURFACE}.{CONNECT}", mutates=False)
    handler = _Handler(plane, data, http, cors, DataOrigins(limit=data.max_connections), metrics, clock, audit)
    app = web.Application()
    log = endpoints.access_log(SURFACE, CONNECT, "/{protocol}/{token}", audit)
    bound = endpoints.endpoint(handler.forward, log, endpoints.in_flight.native, private=True)
    endpoints.routes.add("/{path:.*}", {"*": bound})
    app[SERVED] = endpoints
    endpoints.in_flight.on_drain = plane.open.drain
    app.on_cleanup.append(handler.close)
    return app


class _Handler:
    def __init__(
        self,
        plane: DataPlane,
        data: DataSettings,
        http: HttpSettings,
        cors: Cors,
        origins: DataOrigins,
        metrics: Metrics,
        clock: Clock,
        audit: RequestAudit | None,
    ) -> None:
        self._plane = plane
        self._audit = audit
        self._data = data
        self._body_timeout = http.body_timeout
        self._cors = cors
        self._origins = origins
        self._metrics = metrics
        self._clock = clock

    async def close(self, _app: web.Application) -> None:
        await self._origins.close()

    async def forward(self, request: web.Request, ctx: RequestContext) -> web.StreamResponse:
        """Check the token, find the runtime, and forward the request."""
        websocket = is_websocket(request)
        located = locate(request, websocket=websocket)
        grant = self._plane.present(self._plane.grants.read(located.token))
        ctx.runtime_id, ctx.principal = grant.runtime_id, self._principal(grant)
        ctx.changes = {"protocol": grant.protocol}
        self._require_origin(request)
        resolved, protocol = self._plane.resolve(grant, ctx)
        if located.protocol != ("" if protocol.at_root else grant.protocol):
            raise errors.Unauthenticated("The token of this address is for another protocol.")
        if len(self._plane.open) >= self._data.max_connections:
            raise errors.Overloaded("As many connections as data.max_connections allows are open.", retry_after=1)
        session = Session(plane=self._plane, grant=grant, ctx=ctx, clock=self._clock, websocket=websocket)
        session.ping_interval = self._data.ping_interval
        with self._plane.quotas.connection(ctx.principal), self._counted(session):
            # From here on, the session is ended with its grant and with its runtime, also before it is connected.
            while True:
                try:
                    return await self._attempt(request, ctx, located, resolved, protocol, session)
                except errors.GatewayError as error:
                    session.require_open()
                    starting = self._plane.endpoints.is_starting(grant.runtime_id)
                    if not isinstance(error, errors.RuntimeUnreachable) or not starting:
                        raise
                await self._clock.sleep(RETRY_SECONDS)

    async def _attempt(
        self,
        request: web.Request,
        ctx: RequestContext,
        located: Located,
        resolved: ResolvedRuntime,
        protocol: DataProtocol,
        session: Session,
    ) -> web.StreamResponse:
        destination = await self._plane.open_destination(resolved, protocol, session.grant, ctx)
        provider: Any = destination.provider.adapter
        origin = self._origins.of(provider.settings, provider.data_hosts, destination.endpoint)
        limit = self._data.idle_timeout
        target = RuntimeTarget(destination, self._plane, origin, session, limit, self._clock, located)
        outgoing = await self._outgoing(request, ctx, destination, located, target, websocket=session.websocket)
        upload = StreamedUpload(request, self._data.max_body_bytes, self._body_timeout, counted=session.sent)
        session.require_open()
        forwarding = Forwarding(request, ctx, target, upload, self._cors, session, self._audit)
        return await forwarding.run(outgoing, websocket=session.websocket)

    @contextmanager
    def _counted(self, session: Session) -> Iterator[None]:
        metrics, protocol = self._metrics, session.grant.protocol
        self._plane.open.add(session)
        metrics.data_connections.labels(protocol).inc()
        try:
            yield
        finally:
            self._plane.open.remove(session)
            metrics.data_connections.labels(protocol).dec()
            metrics.data_bytes.labels(protocol, "in").inc(session.bytes_in)
            metrics.data_bytes.labels(protocol, "out").inc(session.bytes_out)
            code = "" if session.end is None else str(session.end.code)
            metrics.data_ended.labels(protocol, code).inc()
            if code and session.ctx.changes is not None:
                session.ctx.changes["close_code"] = code

    def _principal(self, grant: Grant) -> Principal:
        known = self._plane.grants.directory.principal(grant.principal)
        return Principal(grant.principal, key_id=grant.key_id) if known is None else known

    def _require_origin(self, request: web.Request) -> None:
        if _ORIGIN in request.headers and not self._cors.lists(request.headers):
            detail = "Web pages of this origin may not connect; data.origins in the gateway's settings lists those."
            raise errors.PermissionDenied(detail, errors=[errors.FieldError(detail, "not_allowed", header="Origin")])

    async def _outgoing(
        self,
        request: web.Request,
        ctx: RequestContext,
        destination: Destination,
        located: Located,
        target: RuntimeTarget,
        *,
        websocket: bool,
    ) -> NativeRequest:
        endpoint = destination.endpoint
        headers = to_provider(request.headers, websocket=websocket, traced=ctx.traceparent is not None)
        headers.popall(_ORIGIN, None)
        headers.popall(_REFERER, None)  # the address of a page below the token contains the token
        if located.offered is not None:
            kept = ", ".join(one for one in subprotocols(request) if not one.startswith(TICKET_PROTOCOL))
            headers.popall(_SUBPROTOCOL, None)
            if kept:
                headers[_SUBPROTOCOL] = kept
        ticket = destination.grant.ticket
        if ticket is None:
            headers.update(endpoint.headers)
        path, query = located.path, located.query
        if websocket and path in {"", "/"} and not destination.protocol.at_root:
            path = await self._plane.socket_path(destination, ctx, target.fetch)
        if destination.protocol.rewrites(request.method, path):
            target.rewrites = True
            headers[hdrs.ACCEPT_ENCODING] = "identity"
        return NativeRequest(
            request.method, endpoint.target(path, query, "" if ticket is None else f"ticket={ticket}"), headers
        )
