"""Forwarding by the durable dialect: an operation is sent to an account with the gateway's credentials, and the
provider's own JSON is returned after it has been checked to be JSON."""

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec

from adapters.durable import wire
from adapters.durable.adapter import DurableAdapter
from adapters.durable.data_plane import RuntimeServer
from gateway.domain.errors import NotFound, ProviderBadResponse, ValidationFailed
from gateway.domain.ids import RuntimeRef
from gateway.domain.values import Operation, is_uuid
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectAnswer, DialectGateway, DialectTarget, View
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Call, UpstreamResponse

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw])

API: Final = DurableAdapter.api
PROLONGING: Final = frozenset({Operation.START, Operation.RESUME, Operation.KEEPALIVE})


def durable(adapter: ProviderAdapter[Any]) -> DurableAdapter:
    """An adapter of this API, cast to its own type."""
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
