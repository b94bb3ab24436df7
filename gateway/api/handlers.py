"""The handlers of ``/v1``: from a request to a use case, and from its result to a response."""

from collections.abc import Callable

from aiohttp import hdrs, web
from msgspec import UNSET

from gateway.api.cache.cache import EncodedResponse, Key, ReadCache
from gateway.api.cache.control import respond, respond_cached
from gateway.api.conditions import if_match, matches, none_match
from gateway.api.idempotency import REPLAYED, idempotency_key
from gateway.api.queries import parse_intent_query, parse_list_query, parse_wait
from gateway.api.responses import as_json, json_response, raw_json_response, tagged, without
from gateway.api.waiting import Answer, WaitingCalls, encoded, patience_of
from gateway.domain.errors import GatewayError, NotFound
from gateway.domain.pages import Incomplete, Page
from gateway.domain.requests import (
    AssignOwner,
    InstallCapability,
    KeepaliveRequest,
    NoOptions,
    ReplaceConfig,
    ResolveIntent,
    StartRequest,
    StopRequest,
    UpdateCapability,
)
from gateway.domain.runtime import ConfigDocument, Runtime
from gateway.domain.values import Permission
from gateway.http.bodies import BodyReader
from gateway.http.mounting import mounted
from gateway.http.problems import problem_document
from gateway.http.public_errors import shown_error
from gateway.ports.context import RequestContext
from gateway.services import Services
from gateway.services.access.me import me_of

_MAX_BINDING_ID = 200


class Handlers:
    """Every handler takes the request and its context, returns a success, and raises :class:`GatewayError`."""

    def __init__(self, services: Services, bodies: BodyReader, reads: ReadCache | None, waiting: WaitingCalls) -> None:
        self._waiting = waiting
        self._services = services
        self._bodies = bodies
        self._reads = reads

    async def create(self, request: web.Request, ctx: RequestContext) -> web.Response:
        key, patience = idempotency_key(request.headers), patience_of(request)
        wanted = await self._bodies.read_create(request)

        async def create() -> Answer:
            ensured = await self._services.create.create(wanted, ctx, key)
            runtime = ensured.created.runtime
            ctx.provider, ctx.scope, ctx.runtime_id = runtime.provider, runtime.scope, runtime.id
            ctx.changes = {"kind": runtime.kind, "name": runtime.name}
            headers: dict[str, str] = {REPLAYED: "true"} if ensured.replayed else {}
            if runtime.created is not True:
                return Answer(runtime, headers=headers)
            headers[hdrs.LOCATION] = mounted(f"/v1/runtimes/{ctx.principal.shown_id(runtime.id)}")
            return Answer(runtime, 201, headers)

        return await self._waiting.answer(request, ctx, patience, Permission.CREATE, create)

    async def list(self, request: web.Request, ctx: RequestContext) -> web.Response:
        raw = request.rel_url.raw_query_string

        async def read() -> EncodedResponse:
            query = parse_list_query(raw)
            page = await self._services.listing.page(query, ctx)
            missing = [incomplete(name, error, ctx) for name, error in page.failures]
            warnings = list(page.warnings) or UNSET
            items = [without(row, query.without) for row in page.items] if query.without else page.items
            shown = Page(items=items, next_cursor=page.next_cursor, incomplete=missing, warnings=warnings)
            body = as_json(shown, ctx.principal)
            etag = None if missing else f'"{self._services.sealer.tag(body)}"'
            return EncodedResponse(body, etag, page.providers, whole=not missing)

        reads = self._reads
        if reads is None or "cursor=" in raw:
            return respond(await read(), request)
        return await respond_cached(reads, Key(ctx.principal.reader, query=raw), read, request, ctx)

    async def get(self, request: web.Request, ctx: RequestContext) -> web.Response:
        lifecycle, reads = self._services.lifecycle, self._reads
        if seconds := parse_wait(request.rel_url.raw_query_string):
            return await self._waiting.changed(request, ctx, seconds)
        if reads is None:
            return respond(encoded(await lifecycle.get(_id(request), ctx), ctx), request)
        resolved = lifecycle.resolve(_id(request), ctx)

        async def read() -> EncodedResponse:
            return encoded(await lifecycle.read(resolved, ctx), ctx)

        return await respond_cached(
            reads, Key(ctx.principal.reader, resolved.provider.name, resolved.ref), read, request, ctx
        )

    async def delete(self, request: web.Request, ctx: RequestContext) -> web.Response:
        await self._services.lifecycle.delete(_id(request), ctx)
        return web.Response(status=204)

    async def start(self, request: web.Request, ctx: RequestContext) -> web.Response:
        patience = patience_of(request)
        options = await self._bodies.read(request, StartRequest)

        async def start() -> Answer:
            return Answer(await self._services.lifecycle.start(_id(request), options, ctx))

        return await self._waiting.answer(request, ctx, patience, Permission.LIFECYCLE, start)

    async def pause(self, request: web.Request, ctx: RequestContext) -> web.Response:
        await self._bodies.read(request, NoOptions)
        return _runtime(await self._services.lifecycle.pause(_id(request), ctx), ctx)

    async def resume(self, request: web.Request, ctx: RequestContext) -> web.Response:
        await self._bodies.read(request, NoOptions)
        return _runtime(await self._services.lifecycle.resume(_id(request), ctx), ctx)

    async def stop(self, request: web.Request, ctx: RequestContext) -> web.Response:
        options = await self._bodies.read(request, StopRequest)
        condition = _precondition(request, ctx)
        return _runtime(await self._services.lifecycle.stop(_id(request), options, ctx, precondition=condition), ctx)

    async def reset(self, request: web.Request, ctx: RequestContext) -> web.Response:
        await self._bodies.read(request, NoOptions)
        condition = _precondition(request, ctx)
        return _runtime(await self._services.lifecycle.reset(_id(request), ctx, precondition=condition), ctx)

    async def keepalive(self, request: web.Request, ctx: RequestContext) -> web.Response:
        options = await self._bodies.read(request, KeepaliveRequest)
        return json_response(await self._services.lifecycle.keepalive(_id(request), options, ctx), ctx)

    async def get_config(self, request: web.Request, ctx: RequestContext) -> web.Response:
        document, etag = await self._services.config.get(_id(request), ctx)
        if none_match(request.headers.get(hdrs.IF_NONE_MATCH), etag):
            return _config(document, etag, ctx)
        return web.Response(status=304, headers={hdrs.ETAG: etag})

    async def replace_config(self, request: web.Request, ctx: RequestContext) -> web.Response:
        condition = if_match(request.headers.get(hdrs.IF_MATCH))
        replacement = await self._bodies.read(request, ReplaceConfig)
        return _config(*await self._services.config.replace(_id(request), replacement, condition, ctx), ctx)

    async def list_capabilities(self, request: web.Request, ctx: RequestContext) -> web.Response:
        return json_response(await self._services.capabilities.list(_id(request), ctx), ctx)

    async def install_capability(self, request: web.Request, ctx: RequestContext) -> web.Response:
        wanted = await self._bodies.read(request, InstallCapability)
        return json_response(await self._services.capabilities.install(_id(request), wanted, ctx), ctx, status=201)

    async def update_capability(self, request: web.Request, ctx: RequestContext) -> web.Response:
        binding_id = _binding_id(request)
        change = await self._bodies.read(request, UpdateCapability)
        return json_response(await self._services.capabilities.update(_id(request), binding_id, change, ctx), ctx)

    async def remove_capability(self, request: web.Request, ctx: RequestContext) -> web.Response:
        await self._services.capabilities.remove(_id(request), _binding_id(request), ctx)
        return web.Response(status=204)

    async def resolved_capabilities(self, request: web.Request, ctx: RequestContext) -> web.Response:
        return json_response(await self._services.capabilities.resolved(_id(request), ctx), ctx)

    async def list_intents(self, request: web.Request, ctx: RequestContext) -> web.Response:
        query = parse_intent_query(request.rel_url.raw_query_string)
        return json_response(await self._services.intents.list(query, ctx), ctx)

    async def get_intent(self, request: web.Request, ctx: RequestContext) -> web.Response:
        return json_response(await self._services.intents.get(_id(request), ctx), ctx)

    async def resolve_intent(self, request: web.Request, ctx: RequestContext) -> web.Response:
        decision = await self._bodies.read(request, ResolveIntent)
        return json_response(await self._services.intents.resolve(_id(request), decision, ctx), ctx)

    async def assign_owner(self, request: web.Request, ctx: RequestContext) -> web.Response:
        wanted = await self._bodies.read(request, AssignOwner)
        return _runtime(await self._services.owners.assign(_id(request), wanted, ctx), ctx)

    async def me(self, _request: web.Request, ctx: RequestContext) -> web.Response:
        return json_response(await me_of(ctx, self._services.quotas), ctx)

    async def list_providers(self, _request: web.Request, ctx: RequestContext) -> web.Response:
        return json_response(self._services.providers.all(ctx), ctx)

    async def get_provider(self, request: web.Request, ctx: RequestContext) -> web.Response:
        name = request.match_info["name"]
        view = self._services.providers.one(name, ctx)
        ctx.provider = view.name
        return json_response(view, ctx)

    async def get_provider_history(self, request: web.Request, ctx: RequestContext) -> web.Response:
        view = self._services.providers.history(request.match_info["name"], ctx)
        ctx.provider = view.provider
        return json_response(view, ctx)


def _id(request: web.Request) -> str:
    return request.match_info["id"]


def _precondition(request: web.Request, ctx: RequestContext) -> Callable[[Runtime], bool] | None:
    """A check that a runtime still matches ``If-Match``: by its entity tag, which changes with every billed second, or
    by the id of its instance. None without this header."""
    condition = if_match(request.headers.get(hdrs.IF_MATCH))
    if condition is None:
        return None

    def holds(runtime: Runtime) -> bool:
        instance = runtime.instance_id
        return matches(condition, tagged(runtime, ctx.principal)[1]) or (
            instance is not None and matches(condition, f'"{instance}"')
        )

    return holds


def _binding_id(request: web.Request) -> str:
    binding_id = request.match_info["binding_id"]
    if len(binding_id) > _MAX_BINDING_ID or not binding_id.isprintable():
        raise NotFound("There is no capability binding of this id.")
    return binding_id


def _runtime(runtime: Runtime, ctx: RequestContext) -> web.Response:
    return raw_json_response(tagged(runtime, ctx.principal)[0])


def _config(document: ConfigDocument, etag: str, ctx: RequestContext) -> web.Response:
    return json_response(document, ctx, headers={hdrs.ETAG: etag})


def incomplete(name: str, error: GatewayError, ctx: RequestContext) -> Incomplete:
    """A provider that is missing from a list, as the caller sees it."""
    return Incomplete(provider=name, problem=problem_document(shown_error(error, ctx.principal), ctx.request_id))
