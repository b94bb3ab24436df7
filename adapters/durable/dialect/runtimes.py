"""The list of runtimes of the durable dialect, and where the runtimes are that have moved."""

import itertools
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.durable import wire
from adapters.durable.adapter import DurableAdapter
from adapters.durable.dialect.forwarding import durable, shown_page
from adapters.durable.listing import MAX_LIMIT
from adapters.durable.mapping import unmarked
from gateway.domain.values import Operation, is_uuid
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectAnswer, DialectGateway, DialectTarget, View
from gateway.ports.dialect_lists import DialectList, Parts
from gateway.ports.rows import PageRead, read_page
from gateway.ports.transport import Call

EMPTY_PAGES: Final = 20
"""Upper bound on consecutive empty pages read for one request. The client treats an empty page as the end of a list,
so empty pages with a cursor are not passed on."""


def moved(gateway: DialectGateway, target: DialectTarget, named: str, ctx: RequestContext) -> tuple[DialectTarget, str]:
    """Where the runtime is now that a path names by its UUID or its key, and its name in a path there."""
    is_id = is_uuid(named)
    names: Sequence[str] = () if is_id else gateway.view(target.adapter, ctx).addresses(named)
    found = gateway.moved(target, "durable", named.lower() if is_id else "", names, ctx)
    if found is None:
        return target, named
    ctx.scope = found.target.scope
    return found.target, found.ref.provider_id


async def list_part(gateway: DialectGateway, parts: Parts, ctx: RequestContext) -> DialectAnswer | None:
    """A page of one part of a list; None if there is nothing more in it, and another one follows."""
    target = parts.target
    adapter = durable(target.adapter)
    view = gateway.view(adapter, ctx)
    listing = DialectList(adapter.name, parts.query, MAX_LIMIT, view)
    async with gateway.call_scope(adapter, Operation.LIST, ctx) as call:
        path = adapter.calls.runtimes_path(target.scope)
        for _ in itertools.count() if view.partial or parts.several else range(EMPTY_PAGES):
            response = await adapter.calls.send(Operation.LIST, "GET", path, call, query=listing.query)
            page = adapter.calls.decoded(Operation.LIST, response, lambda body: _any_page(body, call))
            await parts.know_moves()
            ids = [_text(row, "id") for row in page.items]
            visible = [
                parts.shows(row_id, _text(row, "key")) and _sees(adapter, target.scope, row, view)
                for row_id, row in zip(ids, page.items, strict=True)
            ]
            taken = listing.take(ids, page.frame or None, visible)
            if taken or listing.next_cursor is None:
                if not taken and not parts.is_last:
                    return None
                body = listing.body(page.body, taken, rows=wire.ROWS, cursor=wire.CURSOR)
                body = parts.linked(body, listing.next_cursor, cursor=wire.CURSOR)
                rows = [page.items[position] for position in taken]
                return DialectAnswer(response.status, shown_page(gateway, target, rows, unmarked(body), ctx))
        raise adapter.calls.bad_response(response, f"returned {EMPTY_PAGES} empty pages in a row")


def _any_page(body: bytes, call: Call) -> PageRead[str | None, dict[str, Any]]:
    def whole(body: bytes) -> tuple[str | None, list[dict[str, Any]]]:
        page = wire.any_page.decode(body)
        return page.next_cursor, page.items

    return read_page(body, call, member=wire.ROWS, name=wire.NAME, whole=whole, row=wire.any_object.decode)


def _text(row: dict[str, Any], name: str) -> str | None:
    found = row.get(name)
    return found if isinstance(found, str) else None


def _sees(adapter: DurableAdapter, scope: str, row: dict[str, Any], view: View) -> bool:
    """Whether the caller may see the runtime of a row. Without a partial view also of one that is not readable."""
    if not view.partial:
        return True
    try:
        return view.sees(adapter.calls.read_runtime(msgspec.json.encode(row), scope)[1])
    except (ValueError, RecursionError):
        return False
