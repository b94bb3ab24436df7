"""Serves the dialects: the providers' own APIs, each at a prefix, with their own error format."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from gateway.api.native import NativeCalls, NativeTarget, parse_target
from gateway.api.pipeline import Endpoints
from gateway.domain.access import Principal
from gateway.domain.errors import (
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    StateConflict,
    Unauthenticated,
)
from gateway.domain.ownership import without_suffixes
from gateway.domain.values import Permission
from gateway.http.access_log import UNMATCHED
from gateway.http.bodies import BodyReader, refuse_deep, refuse_wide_json, require_json
from gateway.http.headers import is_websocket
from gateway.http.mounting import mounted
from gateway.http.routing import AiohttpHandler, RouteTable
from gateway.ports.context import RequestContext
from gateway.ports.dialect import JSON, Dialect, DialectAnswer, DialectRequest, DialectRoute
from gateway.ports.native import WEBSOCKET
from gateway.ports.transport import path_segment

FORWARD: Final = "forward"
"""The operation of requests that a dialect forwards."""

_T = TypeVar("_T")

_LOOKED_UP: Final = 3
"""How often a request may look up a runtime that moves."""

_MAX_QUERY_FIELDS: Final = 100
_CALLER: Final = web.RequestKey("caller", Principal)


def register_dialects(
    dialects: Iterable[Dialect], endpoints: Endpoints, bodies: BodyReader, native: NativeCalls
) -> None:
    """Add the routes of all dialects. Below each prefix, other requests are forwarded where the settings say so, and
    else get errors in the dialect's format."""
    by_prefix: dict[str, list[Dialect]] = defaultdict(list)
    for dialect in dialects:
        by_prefix[dialect.prefix].append(dialect)
    for prefix, sharing in by_prefix.items():
        _Prefix(prefix, sharing, endpoints, bodies, native).register(endpoints.routes)


class _Prefix:
    """All dialects of one prefix."""

    def __init__(
        self, prefix: str, dialects: Sequence[Dialect], endpoints: Endpoints, bodies: BodyReader, native: NativeCalls
    ) -> None:
        self._native = native
        self._audit = endpoints.audit(f"{prefix}.{FORWARD}")
        self._templates = {tuple(route.path.split("/")[1:]) for dialect in dialects for route in dialect.routes}
        self._prefix = prefix
        self._dialects = dialects
        self._fallback = next(dialect for dialect in dialects if dialect.fallback)
        self._endpoints = endpoints
        self._bodies = bodies

    def register(self, routes: RouteTable) -> None:
        methods: dict[str, dict[str, AiohttpHandler]] = defaultdict(dict)
        for dialect in self._dialects:
            for route in dialect.routes:
                handler = self._endpoints.bind_raw(
                    self._prefix,
                    route.operation,
                    f"/{self._prefix}{route.path}",
                    partial(self._serve, dialect, route),
                    self._failed,
                    permission=route.permission,
                )
                methods[route.path][route.method] = handler
                if route.method == "GET":
                    methods[route.path]["HEAD"] = handler
        for path, handlers in methods.items():
            whole = f"/{self._prefix}{path}"
            routes.add(whole, {**handlers, "*": self._refusing(whole, tuple(sorted(handlers)))})
        refuse = self._refusing(UNMATCHED, ())
        forward = self._endpoints.bind_raw(
            self._prefix,
            FORWARD,
            f"/{self._prefix}/{{path}}",
            self._forward,
            self._failed,
            permission=Permission.NATIVE,
            bounded=False,
        )

        async def other(request: web.Request) -> web.StreamResponse:
            return await (refuse if self._forwarded(request) is None else forward)(request)

        routes.add(f"/{self._prefix}", {"*": refuse})
        routes.add(f"/{self._prefix}/{{path:.*}}", {"*": other})

    def _forwarded(self, request: web.Request) -> NativeTarget | None:
        """The target of a request that the settings forward. A path of a route, spelled in any way, is none."""
        try:
            target = parse_target(request.raw_path, dialect=True)
        except GatewayError:
            return None
        segments = target.segments[:-1] if target.segments[-1:] == ("",) else target.segments
        method, readings = WEBSOCKET if is_websocket(request) else request.method, [segments]
        if any("/" in segment for segment in segments):
            if not self._fallback.slashes.allow(method, segments):
                return None
            readings.append(tuple("/".join(segments).split("/")))  # of a server that decodes the path first
        for reading in readings:
            is_route = any(_matches(template, reading) for template in self._templates)
            if is_route or not self._fallback.gateway.forwards(self._prefix, method, reading):
                return None
        return target

    async def _forward(self, request: web.Request, ctx: RequestContext) -> web.StreamResponse:
        """Forward a request to the provider that serves it, if it concerns nothing that the caller may not see."""
        target = self._forwarded(request)
        if target is None:  # the settings have changed since
            raise NotFound("There is no such path.")
        request[_CALLER] = ctx.principal
        path = self._below(request)
        owner = next((d for d in self._dialects if path.startswith(d.families)), self._fallback)
        asked = DialectRequest(request.method, path, {}, _query(request), request.headers, b"")
        segments = [one for one in target.segments if one]
        found = await _repeated(lambda: owner.forwarded(segments, asked, ctx), ctx)
        if not found.of_runtime:
            ctx.principal.require_native()
        query = target.query if found.query is None else f"?{found.query}" if found.query else ""
        settings = found.adapter.settings
        outgoing = "/".join((settings.path_prefix, *map(path_segment, found.segments))) + query
        base = mounted(f"/{self._prefix}") + ("" if settings.path_prefix else next(iter(settings.own_paths), ""))
        return await self._native.forward_to(request, ctx, found.adapter.name, outgoing, base, self._audit)

    def _refusing(self, path: str, allowed: tuple[str, ...]) -> AiohttpHandler:
        async def refuse(request: web.Request, _ctx: RequestContext) -> web.StreamResponse:
            if allowed:
                detail = f"{request.method} does not work here; it takes {', '.join(allowed)}."
                raise MethodNotAllowed(detail, allowed=allowed)
            raise NotFound("There is no such path.")

        return self._endpoints.bind_raw(self._prefix, UNMATCHED, path, refuse, self._failed, permission=None)

    async def _serve(
        self, dialect: Dialect, route: DialectRoute, request: web.Request, ctx: RequestContext
    ) -> web.StreamResponse:
        query = _query(request)
        request[_CALLER] = ctx.principal
        body = await self._bodies.read_raw(request)
        if body:
            require_json(request.headers, suffixes=False)
        refuse_deep(body)
        refuse_wide_json(body)
        asked = DialectRequest(
            method=request.method,
            path=self._below(request),
            parameters=request.match_info,
            query=query,
            headers=request.headers,
            body=body,
        )
        answer = await _repeated(lambda: route.handler(dialect, asked, ctx), ctx)
        if answer.body is not None and ctx.renamed:
            answer = replace(answer, body=_with_first_ids(answer.body, ctx.renamed))
        if answer.body is not None and Permission.CONNECT not in ctx.principal.permissions:
            answer = replace(answer, body=dialect.without_connections(answer.body))
        return _response(answer, ctx.principal)

    def _failed(self, error: GatewayError, request: web.Request, request_id: str) -> web.Response:
        path = self._below(request)
        owner = next((d for d in self._dialects if path.startswith(d.families)), self._fallback)
        response = _response(owner.failure(error, path, request.headers, request_id), request.get(_CALLER))
        if isinstance(error, Unauthenticated):
            response.headers.setdefault("WWW-Authenticate", "Bearer")
        if isinstance(error, MethodNotAllowed):
            response.headers.setdefault("Allow", ", ".join(error.allowed))
        return response

    def _below(self, request: web.Request) -> str:
        return request.path.removeprefix(f"/{self._prefix}")


async def _repeated(work: Callable[[], Awaitable[_T]], ctx: RequestContext) -> _T:
    """The result of looking up a runtime and of what follows, again if it moved meanwhile: the providers' own clients
    do not repeat a request for that. Nothing was done then. Raises :class:`StateConflict` when it moves on and on."""
    for _ in range(_LOOKED_UP - 1):
        try:
            return await work()
        except StateConflict:
            if not ctx.moved_meanwhile:
                raise
            ctx.moved_meanwhile, ctx.moves_known, ctx.runtime_id = False, None, None
    return await work()


def _query(request: web.Request) -> list[tuple[str, str]]:
    raw = request.rel_url.raw_query_string
    try:
        return parse_qsl(raw, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS, errors="strict")
    except ValueError as exc:
        raise InvalidRequest("The query of the URL cannot be read.") from exc


def _with_first_ids(body: bytes, renamed: Mapping[str, str]) -> bytes:
    """The JSON of a response with the ids that its runtimes had first, where a string is one of their present ids."""
    for present, first in renamed.items():
        body = body.replace(msgspec.json.encode(present), msgspec.json.encode(first))
    return body


def _matches(template: Sequence[str], segments: Sequence[str]) -> bool:
    return len(template) == len(segments) and all(
        part.startswith("{") or part == segment for part, segment in zip(template, segments, strict=True)
    )


def _response(answer: DialectAnswer, caller: Principal | None) -> web.Response:
    """The response. A caller that sees only its own runtimes gets names without owners' suffixes, also in errors. For
    all others a name is the address that the provider knows."""
    body = answer.body
    if body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    if caller is not None and caller.own_only:
        body = without_suffixes(body.decode(errors="surrogateescape")).encode(errors="surrogateescape")
    return web.Response(status=answer.status, body=body, headers=answer.headers, content_type=JSON)
