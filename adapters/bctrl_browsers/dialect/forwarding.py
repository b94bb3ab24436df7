"""Shared by both eras of the dialect: find the target that serves a space, and forward calls to it."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote, urlencode

import msgspec

from adapters.bctrl_browsers import wire
from adapters.bctrl_browsers.adapter import BctrlBrowsersAdapter
from adapters.bctrl_browsers.calls import MAX_LIMIT, Query
from adapters.bctrl_browsers.dialect.bodies import (
    NATIVE_CODE,
    check_headers,
    idempotency_key,
    space_named,
    with_own_addresses,
)
from adapters.bctrl_browsers.native import NativeAnswer, NativeCreate
from adapters.bctrl_browsers.settings import DEFAULT_SPACE
from gateway.domain.errors import InvalidRequest, NotFound, ProviderBadResponse
from gateway.domain.ids import RuntimeRef
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectGateway, DialectRequest, DialectTarget, Forwarded, View
from gateway.ports.dialect_lists import DialectList, Parts
from gateway.ports.transport import path_segment

PREFIX: Final = "bctrl"
MAX_EMPTY_PAGES: Final = 50

_PARTS: Final = ("pages", "computer", "fetch", "files", "recording", "runs")
_ACCOUNT: Final = ("spaces", "runs", "proxies", "browser", "files", "usage", "auth", "account")
PRESETS: Final = {
    "reads": [f"GET /v1/{name}/**" for name in _ACCOUNT] + [f"GET /v1/browsers/*/{part}/**" for part in _PARTS],
    "browsing": [
        *(f"* /v1/browsers/*/{part}/**" for part in _PARTS),
        *(f"GET /v1/{name}/**" for name in _ACCOUNT),
        *("POST /v1/spaces", "POST /v1/proxies", "POST /v1/browser/extensions/**"),
    ],
}
"""What users of the clients need daily beside the routes, by the name of the preset."""

_RAW: Final = msgspec.json.Decoder(dict[str, Any])


def below(browser: str, verb: str = "") -> str:
    """The path of a browser, by id or name, below ``/browsers``."""
    return f"/{path_segment(browser)}{verb}"


class Calls:
    """Calls to the providers of the browser API, for the requests of one era."""

    def __init__(self, gateway: DialectGateway, era: str) -> None:
        self.gateway = gateway
        self._era = era

    def target(self, space: str | None, ctx: RequestContext) -> DialectTarget:
        """The target that serves a space. None is the same as ``default``: the route for ``default``, or a provider
        that is pinned to it or open, else the space of the first provider. Raises :class:`NotFound`."""
        api = BctrlBrowsersAdapter.api
        try:
            return self.gateway.target(ctx, PREFIX, api, space or DEFAULT_SPACE, self._era)
        except NotFound as exc:
            adapters = self.gateway.adapters(ctx, api)
            if space in {None, DEFAULT_SPACE} and adapters and adapters[0].settings.scope is not None:
                return self.gateway.target(ctx, PREFIX, api, adapters[0].settings.scope, self._era)
            raise NotFound(exc.detail, extra={NATIVE_CODE: "space.not_found"}) from exc

    def all_targets(self, ctx: RequestContext) -> Iterator[DialectTarget]:
        """Every space that a call without a space can mean: the default one first, then all that are served by name."""
        seen: set[tuple[str, str]] = set()
        for space in (
            None,
            *(known.asked_scope for known in self.gateway.targets(ctx, PREFIX, BctrlBrowsersAdapter.api)),
        ):
            try:
                target = self.target(space, ctx)
            except NotFound:
                continue
            key = (target.adapter.name, target.scope)
            if key not in seen:
                seen.add(key)
                yield target

    async def forwarded(self, segments: Sequence[str], request: DialectRequest, ctx: RequestContext) -> Forwarded:
        """Where a request goes that no route serves. A browser in the path is read first, so that one of another owner
        or space does not exist; a space in the path or the query is the one at the provider."""
        check_headers(request, versioned=True)
        sent = list(segments[1:])
        family, named = (*sent, "", "")[:2]
        in_query = space_named(request, {"spaceId": [value for name, value in request.query if name == "spaceId"]})
        target = self.target(named if family == "spaces" and named else in_query, ctx)
        of_runtime = family == "browsers" and bool(named)
        if of_runtime:
            target, named = self.moved(target, named, ctx)
        ctx.scope = target.scope
        if of_runtime:
            sent[1] = (await self.locate(target, named, ctx)).runtimes[0].provider_id
        elif family == "spaces" and named:
            sent[1] = target.scope
        query = [(name, value) for name, value in request.query if name != "spaceId"]
        if of_runtime or in_query is not None:
            query.append(("spaceId", target.scope))
        return Forwarded(target.adapter, sent, urlencode(query), of_runtime)

    def view(self, target: DialectTarget, ctx: RequestContext) -> View:
        """What the caller sees of the target's browsers."""
        return self.gateway.view(target.adapter, ctx)

    def moved(
        self, target: DialectTarget, named: str, ctx: RequestContext, *, by_name: bool = True
    ) -> tuple[DialectTarget, str]:
        """Where the browser is now that a path names by its id or name, and its name in a path there."""
        names = self.view(target, ctx).addresses(named) if by_name else ()
        found = self.gateway.moved(target, "browser", named, names, ctx)
        if found is None:
            return target, named
        if found.target.adapter.api != BctrlBrowsersAdapter.api:
            raise NotFound("The runtime is not one of this API any longer.", extra={NATIVE_CODE: "browser.not_found"})
        return found.target, found.ref.provider_id

    async def locate(self, target: DialectTarget, browser: str, ctx: RequestContext) -> NativeAnswer:
        """Read a browser by its id or name. Raises :class:`NotFound` also for one that the caller may not see."""
        view = self.view(target, ctx)
        if not view.partial:
            return await self.send(Operation.GET, target, ctx, path=below(browser))
        view.require_current()
        names = view.addresses(browser)
        for address in dict.fromkeys((browser, *names)):
            try:
                answer = await self.send(Operation.GET, target, ctx, path=below(address))
            except NotFound:
                continue
            found = answer.runtimes[0]
            if (found.provider_id == browser or found.name in names) and view.sees(found):
                return answer
        ctx.runtime_id = None
        raise NotFound("There is no browser of this id or name.", extra={NATIVE_CODE: "browser.not_found"})

    async def create(
        self, target: DialectTarget, create: NativeCreate, request: DialectRequest, ctx: RequestContext
    ) -> tuple[bytes, DialectTarget]:
        """Create at a target with the request's idempotency key. Returns the browser's JSON, and where it is."""
        made = await self.gateway.create(target, create, ctx, idempotency_key=idempotency_key(request))
        found = self.gateway.moved(target, "browser", "", [made.runtime.name or ""], ctx)
        target = target if found is None else found.target
        self.gateway.here(target.adapter, made.runtime.provider_id, ctx)
        if made.native is not None:
            return self._shown(NativeAnswer(made.native, [made.runtime]), target, ctx).body, target
        read = await self.send(Operation.GET, target, ctx, path=below(made.runtime.provider_id))
        return read.body, target

    def key_for(self, target: DialectTarget, request: DialectRequest, ctx: RequestContext) -> str | None:
        """The idempotency key for the provider; None if the request has none."""
        key = idempotency_key(request)
        return None if key is None else self.gateway.provider_key(target, ctx, key)

    async def send(
        self,
        operation: Operation,
        target: DialectTarget,
        ctx: RequestContext,
        *,
        method: str = "GET",
        path: str = "",
        query: Sequence[tuple[str, str]] = (),
        wait: int = 0,
        body: bytes | None = None,
        key: str | None = None,
        secrets: Sequence[str] = (),
    ) -> NativeAnswer:
        """Forward one call. ``wait`` (seconds) is shortened to fit the deadline of the operation."""
        adapter = adapter_of(target)
        ctx.scope = target.scope
        limited = Operation.CONNECT if operation is Operation.GET and wait else operation
        wait = adapter.settings.longest_wait(limited, wait)
        if wait:
            query = [*query, ("wait", str(wait))]
        async with self.gateway.call_scope(adapter, limited, ctx, secrets) as call:
            if path:
                named = unquote(path.split("/")[1])
                await self.gateway.admit_write(RuntimeRef(target.scope, named), named, call)
            answer = await adapter.native(
                operation, target.scope, call, method=method, below=path, query=query, body=body, idempotency_key=key
            )
            for one in answer.runtimes:
                if not self.gateway.here(adapter, one.provider_id, ctx):
                    raise NotFound("There is no such browser.", extra={NATIVE_CODE: "browser.not_found"})
            if operation is not Operation.LIST and answer.runtimes:
                ctx.runtime_id, ctx.state = answer.runtimes[0].id, answer.runtimes[0].state
        if operation is Operation.CONNECT:
            issuer = self.gateway.issuer(adapter, ctx)
            if issuer is not None:
                await issuer.revoke(answer.runtimes[0])
        return self._shown(answer, target, ctx)

    def _shown(self, answer: NativeAnswer, target: DialectTarget, ctx: RequestContext) -> NativeAnswer:
        """With a data plane, the answer with the gateway's addresses."""
        issuer = self.gateway.issuer(target.adapter, ctx)
        if issuer is None or not answer.runtimes:
            return answer
        return replace(answer, body=with_own_addresses(answer.body, answer.runtimes, issuer))

    async def page(
        self,
        target: DialectTarget,
        ctx: RequestContext,
        query: Sequence[tuple[str, str]],
        is_empty: Callable[[NativeAnswer], bool],
    ) -> NativeAnswer:
        """The first page at or after the query's cursor that is not empty, or the last page.

        Rows that the caller may not see are left out, and make no page empty: it is filled until the deadline. Browsers
        that have moved away follow those of the target. Raises
        :class:`ProviderBadResponse` when :data:`MAX_EMPTY_PAGES` pages in a row are empty, and for a list that would
        never end.
        """
        parts = await Parts.of(self.gateway, target, "browser", query, ctx)
        while (page := await self._part(parts, ctx, is_empty)) is None:
            parts.advance()
        return page

    async def _part(
        self, parts: Parts, ctx: RequestContext, is_empty: Callable[[NativeAnswer], bool]
    ) -> NativeAnswer | None:
        """A page of one part of a list; None if there is nothing more in it, and another one follows."""
        target, query = parts.target, parts.query
        adapter, view = adapter_of(target), self.view(target, ctx)
        ctx.scope = target.scope
        names: Sequence[str] | None = None
        if view.partial:
            query, names = _by_native_name(query, view)
        try:
            listing = DialectList(adapter.name, query, MAX_LIMIT, view)
        except InvalidRequest as error:
            error.extra[NATIVE_CODE] = "pagination.cursor_invalid"
            raise
        async with self.gateway.call_scope(adapter, Operation.LIST, ctx) as call:
            for _ in itertools.count() if view.partial or parts.several else range(MAX_EMPTY_PAGES):
                answer = await adapter.native(Operation.LIST, target.scope, call, query=listing.query)
                await parts.know_moves()
                found = answer.runtimes
                visible = [
                    parts.shows(one.provider_id, one.name) and view.sees(one) and (names is None or one.name in names)
                    for one in found
                ]
                taken = listing.take([one.provider_id for one in found], answer.next_cursor, visible)
                page = NativeAnswer(
                    listing.body(answer.body, taken, rows=wire.ROWS, cursor=wire.CURSOR, more=wire.MORE),
                    [found[position] for position in taken],
                    listing.next_cursor,
                )
                empty = is_empty(page)
                if listing.next_cursor is None and empty and not parts.is_last:
                    return None
                if listing.next_cursor is None or not empty:
                    body = parts.linked(page.body, page.next_cursor, cursor=wire.CURSOR, more=wire.MORE)
                    page = replace(page, body=body, next_cursor=parts.cursor(page.next_cursor))
                    return self._shown(page, target, ctx)
        detail = f"The list had nothing on {MAX_EMPTY_PAGES} pages in a row; use a narrower filter, or continue later."
        raise ProviderBadResponse(detail, provider=target.adapter.name)


def _by_native_name(query: Query, view: View) -> tuple[Query, Sequence[str] | None]:
    """The query with the name at the provider, if only one is possible, and all names that match it; None for a query
    without a name."""
    wanted = dict(query).get("name")
    if wanted is None:
        return query, None
    names = view.addresses(wanted)
    others = [(key, value) for key, value in query if key != "name"]
    return [*others, ("name", names[0])] if len(names) == 1 else others, names


def adapter_of(target: DialectTarget) -> BctrlBrowsersAdapter:
    assert isinstance(target.adapter, BctrlBrowsersAdapter)  # noqa: S101 (targets are looked up by the API's name)
    return target.adapter


def shown(body: bytes, target: DialectTarget) -> bytes:
    """A response unchanged, except that a space which the settings map to another one is shown as the caller named
    it."""
    if target.asked_scope in {target.scope, DEFAULT_SPACE}:
        return body
    return msgspec.json.encode(document(body, target))


def document(body: bytes, target: DialectTarget) -> dict[str, Any]:
    """The same as parsed JSON."""
    parsed = _RAW.decode(body)
    if target.asked_scope not in {target.scope, DEFAULT_SPACE}:
        for row in (parsed, *parsed.get("data", ())):
            for part in (row, row.get("currentRun") or {}):
                if part.get("spaceId") == target.scope:
                    part["spaceId"] = target.asked_scope
    return parsed
