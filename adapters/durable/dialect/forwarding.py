"""Forwarding by the durable dialect: an operation is sent to an account with the gateway's credentials, and the
provider's own JSON is returned after it has been checked to be JSON. Also lists of runtimes, and those that moved."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec

from adapters.durable import wire
from adapters.durable.adapter import DurableAdapter
from adapters.durable.calls import MAX_LIMIT
from adapters.durable.data_plane import RuntimeServer
from adapters.durable.mapping import unmarked
from gateway.domain.errors import NotFound, ProviderBadResponse, ValidationFailed
from gateway.domain.ids import RuntimeRef
from gateway.domain.values import Operation, is_uuid
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectAnswer, DialectGateway, DialectTarget, View
from gateway.ports.dialect_lists import DialectList, Parts
from gateway.ports.provider import ProviderAdapter
from gateway.ports.rows import PageRead, read_page
from gateway.ports.transport import Call, UpstreamResponse

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw])

API: Final = DurableAdapter.api
PROLONGING: Final = frozenset({Operation.START, Operation.RESUME, Operation.KEEPALIVE})


def durable(adapter: ProviderAdapter[Any]) -> DurableAdapter:
    return cast("DurableAdapter", adapter)


def accounts(gateway: DialectGateway, ctx: RequestContext) -> Sequence[DurableAdapter]:
    """All providers of this API that the caller may use, sorted by ``order`` of the settings."""
    return [durable(adapter) for adapter in gateway.adapters(ctx, API)]


def target_of(gateway: DialectGateway, prefix: str, org: str, workspace: str, ctx: RequestContext) -> DialectTarget:
    """The provider that serves a workspace. Raises :class:`NotFound` when none does."""
    target = gateway.target(ctx, prefix, API, f"{org}/{workspace}")
    ctx.scope = target.scope
    return target


def json_response(document: Any) -> DialectAnswer:
    """A 200 response with a document that the gateway built itself."""
    return DialectAnswer(200, msgspec.json.encode(document))


async def read(
    adapter: DurableAdapter, path: str, call: Call, *, decode: Callable[[bytes], Any] = wire.any_object.decode
) -> tuple[DialectAnswer, Any]:
    """The response of a ``GET``, unchanged and decoded. Raises as the adapter's calls do."""
    response = await adapter.calls.send(Operation.GET, "GET", path, call)
    return DialectAnswer(response.status, response.body), adapter.calls.decoded(Operation.GET, response, decode)


async def read_alone(
    gateway: DialectGateway,
    adapter: DurableAdapter,
    path: str,
    ctx: RequestContext,
    *,
    decode: Callable[[bytes], Any] = wire.any_object.decode,
) -> tuple[DialectAnswer, Any]:
    """The same as a call of its own. Raises also as :meth:`DialectGateway.call_scope`."""
    async with gateway.call_scope(adapter, Operation.GET, ctx) as call:
        return await read(adapter, path, call, decode=decode)


def shown(
    gateway: DialectGateway,
    target: DialectTarget,
    runtime: dict[str, Any],
    body: bytes,
    ctx: RequestContext,
    token: str | None = None,
) -> bytes:
    """The JSON of a runtime as callers receive it. With a data plane, its address is the gateway's, and so is the
    ``token`` of a start; the time at which the gateway ends its instance is ``expires_at`` of the instance, where the
    provider shows a later one or none."""
    adapter = durable(target.adapter)
    body = _with_end(gateway, adapter, target.scope, runtime, body)
    issuer = gateway.issuer(adapter, ctx)
    if issuer is None:
        return body
    members = _MEMBERS.decode(body)
    own: dict[str, Any] = {"sandbox_token": token} if "sandbox_token" in members else {}
    instance = runtime.get("instance")
    if isinstance(instance, dict) and instance.get("sandbox_url") is not None:
        own["instance"] = {**_MEMBERS.decode(members["instance"]), "sandbox_url": issuer.public_url}
    return msgspec.json.encode({**members, **own}) if own else body


def issued_token(
    gateway: DialectGateway, target: DialectTarget, ref: RuntimeRef, response: UpstreamResponse, ctx: RequestContext
) -> str | None:
    """The gateway's token in place of the one in the response to a start, which is kept for the data plane."""
    adapter = durable(target.adapter)
    issuer = gateway.issuer(adapter, ctx)
    if issuer is None:
        return None
    runtime, connections = adapter.started(Operation.START, ref, response)
    if not connections:
        return None
    issuer.keep(runtime, connections)
    return issuer.issue(runtime, RuntimeServer.name).token


def _with_end(
    gateway: DialectGateway, adapter: DurableAdapter, scope: str, runtime: dict[str, Any], body: bytes
) -> bytes:
    runtime_id, instance = runtime.get("id"), runtime.get("instance")
    if not isinstance(runtime_id, str) or not isinstance(instance, dict):
        return body
    try:
        end = gateway.planned_end(adapter, runtime_id.lower(), lambda: adapter.calls.read_runtime(body, scope)[1])
    except (ValueError, RecursionError):  # a row that the model cannot read is passed on
        return body
    if end is None:
        return body
    members = _MEMBERS.decode(body)
    ended = {**_MEMBERS.decode(members["instance"]), "expires_at": end}
    return msgspec.json.encode({**members, "instance": ended})


def shown_page(
    gateway: DialectGateway, target: DialectTarget, runtimes: Sequence[dict[str, Any]], body: bytes, ctx: RequestContext
) -> bytes:
    adapter = target.adapter
    if not gateway.plans_ends(adapter) and gateway.issuer(adapter, ctx) is None:
        return body
    page = _MEMBERS.decode(body)
    rows = zip(runtimes, _ROWS.decode(page[wire.ROWS]), strict=True)
    found = [msgspec.Raw(shown(gateway, target, runtime, bytes(row), ctx)) for runtime, row in rows]
    return msgspec.json.encode({**page, wire.ROWS: found})


async def keep_lifetime(
    gateway: DialectGateway,
    operation: Operation,
    adapter: DurableAdapter,
    ref: RuntimeRef,
    extend_seconds: int,
    ctx: RequestContext,
    call: Call,
) -> None:
    """Before an operation of :data:`PROLONGING` of a limited caller: take the place and plan the end of the instance,
    or raise :class:`PermissionDenied` for a keepalive beyond it."""
    runtime = await adapter.get(ref, call)
    if operation is Operation.KEEPALIVE:
        await gateway.require_keepalive(runtime, extend_seconds, ctx)
    else:
        await gateway.begin_instance(adapter, runtime, ctx)


async def find(
    adapter: DurableAdapter, scope: str, key_or_id: str, view: View, call: Call
) -> tuple[RuntimeRef, str | None]:
    """The runtime that a path names by its UUID or its key; of several with this key, the account's own. With its key
    at the provider, if it was read.

    Raises :class:`NotFound` for a key that no runtime has, and for a runtime that the caller may not see.
    """
    view.require_current()
    if not is_uuid(key_or_id):
        for address in view.addresses(key_or_id):
            for runtime in await adapter.find(scope, address, call):
                if view.sees(runtime):
                    return adapter.reference(runtime), runtime.name
        raise NotFound("Runtime not found")
    ref = RuntimeRef(scope, key_or_id.lower())
    if view.partial:
        try:
            runtime = await adapter.get(ref, call)
        except NotFound as error:
            raise NotFound("Runtime not found") from error
        if not view.sees(runtime):
            raise NotFound("Runtime not found")
        return ref, runtime.name
    return ref, None


async def project_key(adapter: DurableAdapter, scope: str, project: str | None, call: Call) -> str:
    """The key of a project, or without one of the workspace's default project, chosen as the provider's client does:
    the one marked ``is_default`` or with the key ``default``, else the first.

    Raises :class:`ValidationFailed` for a workspace without projects and :class:`ProviderBadResponse` for a project
    without a key.
    """
    if project is not None:
        _, chosen = await read(adapter, adapter.calls.workspace_path(scope, "projects", project), call)
    else:
        path = adapter.calls.workspace_path(scope, "projects")
        _, known = await read(adapter, path, call, decode=wire.any_objects.decode)
        if not known:
            raise ValidationFailed.at("#/project", "The workspace has no project; name one.", code="required")
        default = (one for one in known if one.get("is_default") or one.get("key") == "default")
        chosen = next(default, known[0])
    key = chosen.get("key")
    if not isinstance(key, str) or not key:
        detail = f"The provider {adapter.name} returned a project without a key."
        raise ProviderBadResponse(detail, provider=adapter.name)
    return key


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
