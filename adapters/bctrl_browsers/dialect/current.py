"""The dialect of the current era: ``/bctrl/v1/browsers``, for ``bctrl`` 0.3.0. Responses are the provider's own."""

from typing import Final

import msgspec

from adapters.bctrl_browsers.dialect.bodies import (
    Query,
    check_headers,
    check_update,
    made_up_name,
    native_create,
    read_object,
    read_query,
    refuse_members,
    require_allowed_update,
    secrets_of,
    space_named,
    wait_of,
)
from adapters.bctrl_browsers.dialect.forwarding import Calls, adapter_of, below, shown
from adapters.bctrl_browsers.native import marked, marks_in
from adapters.bctrl_browsers.options import Option
from gateway.domain.validation import optional, validate
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectAnswer, DialectGateway, DialectRequest, DialectTarget

ERA: Final = "browsers"

_LIST_QUERY: Final = ("cursor", "order", "limit", "q", "name", "location", "status")


class StopBody(Option):
    discard_state: bool = optional(False)


class CurrentEra:
    def __init__(self, gateway: DialectGateway) -> None:
        self._calls = Calls(gateway, ERA)

    async def create(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Create a browser and request its first run. Without a name the gateway makes one."""
        check_headers(request, versioned=True)
        query, body = read_query(request, "wait"), read_object(request)
        target = self._calls.target(space_named(request, query, body), ctx)
        wait = adapter_of(target).settings.longest_wait(Operation.CREATE, wait_of(query))
        name = made_up_name("browser", self._calls.key_for(target, request, ctx))
        create = native_create(body, wait=wait, made_up_name=name)
        raw, target = await self._calls.create(target, create, request, ctx)
        return DialectAnswer(201, shown(raw, target))

    async def list_all(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Return a page of browsers. Only the last page may be empty."""
        check_headers(request, versioned=True)
        query = read_query(request, "spaceId", *_LIST_QUERY)
        target = self._calls.target(space_named(request, query), ctx)
        forwarded = [(name, value) for name, value in request.query if name != "spaceId"]
        answer = await self._calls.page(target, ctx, forwarded, lambda page: not page.runtimes)
        return DialectAnswer(200, shown(answer.body, target))

    async def get(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Read a browser by id or name."""
        return await self._forward(Operation.GET, request, ctx, may_wait=True)

    async def update(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Change the configuration of the next run. The provider replaces metadata as a whole, so the marks are
        read first and added to it; the change is then sent to the id that was read."""
        body = read_object(request)
        check_update(body)
        require_allowed_update(body, ctx)
        _, target, named = self._target(request, ctx)
        if "name" in body:
            body["name"] = self._calls.view(target, ctx).name_at_provider(body["name"])
        browser = None
        if "metadata" in body:
            seen = await self._calls.locate(target, named, ctx)
            body, browser = marked(body, marks_in(seen.raw)), seen.runtimes[0].provider_id
        raw = msgspec.json.encode(body)
        return await self._forward(
            Operation.REPLACE_CONFIG, request, ctx, browser=browser, body=raw, secrets=secrets_of(body)
        )

    async def delete(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        refuse_members(request)
        return await self._forward(Operation.DELETE, request, ctx)

    async def start(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Request a run. For a limited caller the browser is read first."""
        refuse_members(request)
        browser = None
        if ctx.principal.prepares_starts:
            _, target, named = self._target(request, ctx, "wait")
            runtime = (await self._calls.locate(target, named, ctx)).runtimes[0]
            await self._calls.gateway.begin_instance(target.adapter, runtime, ctx)
            browser = runtime.provider_id
        return await self._forward(
            Operation.START, request, ctx, browser=browser, verb="/start", body=b"{}", may_wait=True
        )

    async def stop(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        body = read_object(request)
        validate(StopBody, body)
        raw = msgspec.json.encode(body)
        return await self._forward(Operation.STOP, request, ctx, verb="/stop", body=raw, may_wait=True)

    async def revoke(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Replace the credentials of the connections."""
        refuse_members(request)
        return await self._forward(Operation.CONNECT, request, ctx, verb="/connections/revoke")

    async def _forward(
        self,
        operation: Operation,
        request: DialectRequest,
        ctx: RequestContext,
        *,
        browser: str | None = None,
        verb: str = "",
        body: bytes | None = None,
        may_wait: bool = False,
        secrets: list[str] | None = None,
    ) -> DialectAnswer:
        query, target, named = self._target(request, ctx, *(["wait"] if may_wait else []))
        wait = wait_of(query)
        if browser is None:
            browser = named
            if self._calls.view(target, ctx).partial:
                located = await self._calls.locate(target, browser, ctx)
                if operation is Operation.GET and not wait:
                    return DialectAnswer(200, shown(located.body, target))
                browser = located.runtimes[0].provider_id
        answer = await self._calls.send(
            operation,
            target,
            ctx,
            method="GET" if request.method == "HEAD" else request.method,
            path=below(browser, verb),
            wait=wait,
            body=body,
            key=None if operation is Operation.GET else self._calls.key_for(target, request, ctx),
            secrets=secrets or (),
        )
        return DialectAnswer(200, shown(answer.body, target))

    def _target(
        self, request: DialectRequest, ctx: RequestContext, *parameters: str
    ) -> tuple[Query, DialectTarget, str]:
        """The query of a call on one browser, the target where the browser is, and its name in a path there."""
        check_headers(request, versioned=True)
        query = read_query(request, "spaceId", *parameters)
        target = self._calls.target(space_named(request, query), ctx)
        return query, *self._calls.moved(target, request.parameters["id"], ctx)
