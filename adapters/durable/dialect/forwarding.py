"""Forwarding by the durable dialect: an operation is sent to an account with the gateway's credentials, and the
provider's own JSON is returned after it has been checked to be JSON."""

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec

from adapters.durable import wire
from adapters.durable.adapter import DurableAdapter
from gateway.domain.ids import RuntimeRef
from gateway.domain.operations import Operation
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectAnswer, DialectGateway, DialectTarget
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Call

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


async def keep_lifetime(
    gateway: DialectGateway,
    operation: Operation,
    adapter: DurableAdapter,
    ref: RuntimeRef,
    extend_seconds: int,
    ctx: RequestContext,
    call: Call,
) -> None:
    """Before an operation of :data:`PROLONGING` of a caller with a maximum lifetime: plan the end of the instance, or
    raise :class:`PermissionDenied` for a keepalive beyond it."""
    runtime = await adapter.get(ref, call)
    if operation is Operation.KEEPALIVE:
        await gateway.require_keepalive(runtime, extend_seconds, ctx)
    else:
        await gateway.begin_instance(adapter, runtime, ctx)
