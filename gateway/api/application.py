"""The aiohttp applications: the API with its site, and the probes on their own."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from aiohttp import web

from gateway.api.access_routes import ACCESS_ROUTES, AccessHandlers
from gateway.api.audit_routes import AUDIT_ROUTES, AuditHandlers
from gateway.api.auth import Authenticator, WrongKeys
from gateway.api.cache.cache import ReadCache
from gateway.api.connection_routes import CONNECTION_ROUTES, ConnectionHandlers
from gateway.api.console import CONSOLE_ROUTES, Console
from gateway.api.dialects import register_dialects
from gateway.api.event_streams import EVENT_ROUTES, EventStreams
from gateway.api.export_routes import EXPORT_ROUTES, ExportHandlers
from gateway.api.handlers import Handlers
from gateway.api.move_routes import MOVE_ROUTES, MoveHandlers
from gateway.api.native import NativeCalls, register_native
from gateway.api.openapi import openapi_json
from gateway.api.pipeline import ENDPOINTS, Endpoints
from gateway.api.route import Route
from gateway.api.routes import V1_ROUTES
from gateway.api.site import OPEN_PROBE_ROUTES, PROBE_ROUTES, SITE_ROUTES, Probes, Site
from gateway.api.usage_routes import USAGE_ROUTES, UsageHandlers
from gateway.api.waiting import WaitingCalls
from gateway.domain.access import Principal
from gateway.http.access_log import Surface
from gateway.http.bodies import BodyReader
from gateway.http.cors import Cors
from gateway.http.routing import AiohttpHandler
from gateway.http.server import SERVED
from gateway.ports.clock import Clock, SystemClock
from gateway.ports.dialect import Dialect
from gateway.services import Services
from gateway.services.access.administration import AccessAdministration
from gateway.services.access.rates import RateLimits
from gateway.services.access.tokens import Tokens
from gateway.services.audit.trail import AuditTrail
from gateway.services.waiting.places import Places
from gateway.settings import CorsSettings, HttpSettings
from gateway.settings.access import JwtSettings
from gateway.telemetry.logs import Logger, log_bug, make_logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.passthrough import PassThrough

_ALL_PATHS: Final = "/{path:.*}"
_V1_PATHS: Final = "/v1/{path:.*}"


def create_api(
    services: Services,
    *,
    metrics: Metrics,
    logger: Logger,
    clock: Clock,
    keys: Mapping[bytes, Principal] | None,
    administration: AccessAdministration,
    tokens: Tokens | None = None,
    issuers: Sequence[JwtSettings] = (),
    trail: AuditTrail,
    http: HttpSettings,
    rates: RateLimits,
    dialects: Iterable[Dialect] = (),
    native: Mapping[str, PassThrough] | None = None,
    reads: ReadCache | None = None,
    with_admin: bool = True,
    with_console: bool = True,
    workers: int = 1,
) -> web.Application:
    """The unified API, the OpenAPI document and the documentation, to be served by ``GatewayRunner``.

    ``keys`` maps SHA-256 digests of the settings' keys to principals; None requires no key. ``administration`` has
    those of the store, ``tokens`` verifies those of ``issuers``, ``rates`` are the rate limits, ``trail`` is the audit
    trail. ``with_admin`` False leaves the probes and metrics to :func:`create_admin`; ``with_console`` False
    serves no console. Metrics need a key with ``admin`` unless ``http.listen`` is a loopback address. ``reads`` caches
    responses to reads; None asks the provider each time. ``dialects`` are served below their prefixes, the providers
    of ``native`` unchanged below ``/native``.
    """
    cors = Cors(http.cors)
    endpoints = Endpoints(
        authenticator=Authenticator(
            keys, administration.directory, WrongKeys(metrics, clock, workers), tokens, cors=cors, issuers=issuers
        ),
        cors=cors,
        metrics=metrics,
        logger=logger,
        clock=clock,
        http=http,
        rates=rates,
        trail=trail,
    )
    endpoints.base_path = http.base_path.rstrip("/")
    site = Site(openapi_json)
    endpoints.failed_page = site.failed
    # Set here and not in InFlight: the admin application has another InFlight, whose gauge would replace this one.
    metrics.requests_in_flight.set_function(lambda: len(endpoints.in_flight.api))
    app = web.Application(client_max_size=http.max_body_bytes)
    routes = _Routes(endpoints)
    bodies = BodyReader(http)
    native_calls = NativeCalls(native or {}, http, endpoints, services.hub.fleet.wrote)
    register_dialects(dialects, endpoints, bodies, native_calls)
    waiting = _waiting_calls(services, endpoints, http, metrics, logger, clock)
    app.on_shutdown.append(lambda _: services.hub.close())
    register_native(native_calls, endpoints)
    routes.add(V1_ROUTES, Handlers(services, bodies, reads, waiting))
    routes.add(CONNECTION_ROUTES, ConnectionHandlers(services.data_plane, services.lifecycle, bodies))
    routes.add(EVENT_ROUTES, EventStreams(waiting, cors, services.moves))
    routes.add(USAGE_ROUTES, UsageHandlers(services.usage))
    routes.add(MOVE_ROUTES, MoveHandlers(services.moves, services.move_control, bodies))
    routes.add(EXPORT_ROUTES, ExportHandlers(services.exports, services.imports, bodies, cors))
    routes.add(ACCESS_ROUTES, AccessHandlers(administration, bodies))
    routes.add(AUDIT_ROUTES, AuditHandlers(trail))
    routes.add(SITE_ROUTES, site)
    routes.add(CONSOLE_ROUTES, Console(enabled=with_console))
    if with_admin:
        probes = OPEN_PROBE_ROUTES if http.address.is_loopback else PROBE_ROUTES
        routes.add(probes, Probes(metrics, endpoints))
    routes.register(app)
    return app


def _waiting_calls(
    services: Services, endpoints: Endpoints, http: HttpSettings, metrics: Metrics, logger: Logger, clock: Clock
) -> WaitingCalls:
    places = Places(http.max_waiting, clock, metrics.requests_rejected.labels("waiting").inc)
    metrics.waiting.set_function(lambda: len(places))
    metrics.queue_depth.labels("watched").set_function(lambda: len(services.hub))
    endpoints.in_flight.on_drain = places.drain
    return WaitingCalls(
        services,
        endpoints.in_flight,
        places,
        endpoints.authenticator,
        partial(log_bug, logger, detail="a create or start went on"),
    )


def create_admin(api: web.Application, *, http: HttpSettings, metrics: Metrics) -> web.Application:
    """The probes and metrics on their own, for a separate address. They are served until ``api`` has drained;
    ``/readyz`` reports not ready as soon as the drain starts."""
    endpoints = Endpoints(
        authenticator=Authenticator({}),  # no route here needs a key; None would serve loopback only
        cors=Cors(CorsSettings()),
        metrics=metrics,
        logger=make_logger("warning"),
        clock=SystemClock(),
        http=http,
        rates=api[ENDPOINTS].rates,
    )
    app = web.Application()
    routes = _Routes(endpoints)
    routes.add(OPEN_PROBE_ROUTES, Probes(metrics, api[ENDPOINTS]))
    routes.register(app)
    return app


class _Routes:
    """Collects the methods of each path, so that all other methods and paths can be answered too."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._methods: dict[str, dict[str, AiohttpHandler]] = {}
        self._surfaces: dict[str, Surface] = {}

    def add(self, routes: Iterable[Route], handlers: Any) -> None:
        """Bind the handlers of ``routes`` to the object whose methods they are."""
        for route in routes:
            handler = self._endpoints.bind(route, partial(route.handler, handlers))
            for path in (route.path, *route.aliases):
                self._surfaces[path] = route.surface
                methods = self._methods.setdefault(path, {})
                methods[route.method] = handler
                if route.method == "GET":
                    methods["HEAD"] = handler

    def register(self, app: web.Application) -> None:
        for path, methods in self._methods.items():
            refuse = self._endpoints.wrong_method(self._surfaces[path], path, tuple(sorted(methods)))
            self._endpoints.routes.add(path, {**methods, "*": refuse})
        for path, surface in ((_V1_PATHS, Surface.V1), (_ALL_PATHS, Surface.SITE)):
            self._endpoints.routes.add(path, {"*": self._endpoints.unknown_path(surface)})
        app[ENDPOINTS] = app[SERVED] = self._endpoints
