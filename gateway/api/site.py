"""The probes, the metrics, the OpenAPI document and the documentation. Only the metrics may need a key."""

import re
from asyncio import to_thread
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from gateway.api.conditions import entity_tag, none_match
from gateway.api.docs_site import MEDIA_TYPES, DocsSite
from gateway.api.documented_errors import ANY_CALL, Errors
from gateway.api.pipeline import Endpoints
from gateway.api.responses import json_response, raw_json_response
from gateway.api.route import Route, Success
from gateway.domain.errors import GatewayError, NotFound, Overloaded, PermissionDenied, StoreUnavailable
from gateway.domain.values import Permission
from gateway.http.access_log import Surface
from gateway.http.mounting import mounted
from gateway.http.problems import problem_response
from gateway.ports.context import RequestContext
from gateway.telemetry.metrics import Metrics

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The content security policy of every page and file."""


class Probes:
    """Liveness, readiness and metrics. Readiness never depends on a provider: if one is down, the others must stay
    reachable. It does not depend on whether the store responds either, only on whether its schema is too new."""

    def __init__(self, metrics: Metrics, endpoints: Endpoints) -> None:
        self._metrics = metrics
        self._endpoints = endpoints

    async def live(self, _request: web.Request, ctx: RequestContext) -> web.Response:
        return json_response({"status": "ok"}, ctx)

    async def ready(self, _request: web.Request, ctx: RequestContext) -> web.Response:
        if self._endpoints.in_flight.draining:
            raise Overloaded("The gateway is shutting down.")
        if (outdated := self._endpoints.outdated()) is not None:
            raise StoreUnavailable(f"The store cannot be used: {outdated}.")
        return json_response({"status": "ready"}, ctx)

    async def metrics(self, _request: web.Request, _ctx: RequestContext) -> web.Response:
        return web.Response(
            body=await self._metrics.exposition(), headers={hdrs.CONTENT_TYPE: self._metrics.content_type}
        )


class Site:
    """The OpenAPI document and the documentation. Pages are rendered in threads, once."""

    def __init__(self, openapi: Callable[[], bytes], docs: DocsSite | None = None) -> None:
        self._openapi = openapi
        self._docs = docs or DocsSite(openapi=lambda: msgspec.json.decode(openapi()))

    async def openapi(self, _request: web.Request, _ctx: RequestContext) -> web.Response:
        root, base = b'"servers":[{"url":"/"}]', mounted("/").encode()
        return raw_json_response(self._openapi().replace(root, root.replace(b"/", base)))

    async def docs(self, request: web.Request, _ctx: RequestContext) -> web.Response:
        return file_response(request, *await to_thread(self._docs.page, "index"))

    async def docs_page(self, request: web.Request, _ctx: RequestContext) -> web.Response:
        return file_response(request, *await to_thread(self._docs.page, request.match_info["page"]))

    async def docs_error(self, request: web.Request, _ctx: RequestContext) -> web.Response:
        return file_response(request, *await to_thread(self._docs.error, request.match_info["code"]))

    async def docs_asset(self, request: web.Request, _ctx: RequestContext) -> web.Response:
        return file_response(request, *await to_thread(self._docs.asset, request.match_info["name"]))

    def failed(self, error: GatewayError, request: web.Request, request_id: str) -> web.Response:
        """An error as a page where a browser asks, else as a problem."""
        response = problem_response(error, request_id)
        if "text/html" in request.headers.get(hdrs.ACCEPT, ""):
            response.body, response.headers[hdrs.CONTENT_TYPE], _ = self._docs.failure(error)
            response.headers[hdrs.CONTENT_SECURITY_POLICY] = POLICY
        response.headers.add(hdrs.VARY, hdrs.ACCEPT)
        return response


def file_response(request: web.Request, body: bytes, content_type: str, packed: bytes = b"") -> web.Response:
    """A page or file, which browsers keep and ask about by its tag. ``packed`` is its body in gzip, if there is one."""
    headers = {
        hdrs.CONTENT_TYPE: content_type,
        hdrs.CONTENT_SECURITY_POLICY: _policy(body) if content_type == MEDIA_TYPES[".svg"] else POLICY,
        hdrs.ETAG: entity_tag(body),
        hdrs.CACHE_CONTROL: "no-cache",
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
    }
    if not none_match(request.headers.get(hdrs.IF_NONE_MATCH), headers[hdrs.ETAG]):
        return web.Response(status=304, headers=headers)
    if packed and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        body, headers[hdrs.CONTENT_ENCODING] = packed, "gzip"
    return web.Response(body=body, headers=headers)


def _policy(picture: bytes) -> str:
    """The policy of a picture that is shown on its own: it allows the styles inside, by their hashes."""
    styles = re.findall(rb"<style>(.*?)</style>", picture, re.DOTALL)
    hashes = "".join(f" 'sha256-{b64encode(sha256(style).digest()).decode()}'" for style in styles)
    return POLICY.replace("style-src 'self'", f"style-src 'self'{hashes}")


def site_route(
    path: str,
    operation_id: str,
    summary: str,
    handler: Callable[[Any, web.Request, RequestContext], Awaitable[web.Response]],
    *media_types: str,
    aliases: tuple[str, ...] = (),
    errors: Errors = (),
    permission: Permission | None = None,
    status: int = 200,
) -> Route:
    """A call of the site. Without ``media_types`` its response is JSON, or has no body if ``status`` is not 200."""
    types = media_types or (("application/json",) if status == 200 else ())
    return Route(
        method="GET",
        path=path,
        operation_id=operation_id,
        permission=permission,
        summary=summary,
        handler=handler,
        successes={status: Success(summary, media_types=types)},
        aliases=aliases,
        errors=errors,
        surface=Surface.SITE,
        secured=permission is not None,
        tag="site",
    )


PROBE_ROUTES: Final = (
    site_route("/livez", "getLiveness", "The process responds", Probes.live, aliases=("/healthz",)),
    site_route(
        "/readyz", "getReadiness", "The gateway accepts requests", Probes.ready, errors=(Overloaded, StoreUnavailable)
    ),
    site_route(
        "/metrics",
        "getMetrics",
        "Metrics in the Prometheus text format; no key is needed at a loopback address or at admin.listen",
        Probes.metrics,
        "text/plain",
        errors=(*ANY_CALL, PermissionDenied),
        permission=Permission.ADMIN,
    ),
)
OPEN_PROBE_ROUTES: Final = tuple(replace(route, permission=None, secured=False) for route in PROBE_ROUTES)
"""Those of a listener that only operators reach: a loopback address, or ``admin.listen``."""

SITE_ROUTES: Final = (
    site_route("/openapi.json", "getOpenapi", "This document", Site.openapi),
    site_route("/docs", "getDocs", "The documentation", Site.docs, "text/html", aliases=("/docs/",)),
    site_route(
        "/docs/assets/{name}",
        "getDocsAsset",
        "A file of the pages",
        Site.docs_asset,
        *MEDIA_TYPES.values(),
        errors=(NotFound,),
    ),
    site_route(
        "/docs/errors/{code}", "getDocsError", "An error code", Site.docs_error, "text/html", errors=(NotFound,)
    ),
    site_route(
        "/docs/{page}",
        "getDocsPage",
        "A page of the documentation",
        Site.docs_page,
        "text/html",
        aliases=("/docs/{page}/",),
        errors=(NotFound,),
    ),
)
