"""How the durable dialect forwards: an operation goes to an account with the gateway's credentials, and the provider's
own JSON comes back, once it has been seen to be JSON."""

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec

from adapters.durable import wire
from adapters.durable.adapter import DurableAdapter
from gateway.domain.operations import Operation
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectAnswer, DialectGateway, DialectTarget
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Call

API: Final = DurableAdapter.api


def durable(adapter: ProviderAdapter[Any]) -> DurableAdapter:
    """An adapter of this API, as what it is."""
    return cast("DurableAdapter", adapter)


def accounts(gateway: DialectGateway) -> Sequence[DurableAdapter]:
    """All providers of this API, by their order in the settings."""
    return [durable(adapter) for adapter in gateway.adapters(API)]


def workspace(gateway: DialectGateway, prefix: str, org: str, name: str, ctx: RequestContext) -> DialectTarget:
    """Who serves a workspace. Raises :class:`NotFound` where nobody does."""
    target = gateway.target(prefix, API, f"{org}/{name}")
    ctx.scope = target.scope
    return target


def answered(document: Any, status: int = 200) -> DialectAnswer:
    """An answer of the gateway's own making."""
    return DialectAnswer(status, msgspec.json.encode(document))


async def read(
    adapter: DurableAdapter,
    path: str,
    call: Call,
    *,
    operation: Operation = Operation.GET,
    decode: Callable[[bytes], Any] = wire.any_object.decode,
) -> tuple[DialectAnswer, Any]:
    """What a ``GET`` answers, as it is and decoded. Raises as every call of the adapter."""
    response = await adapter.calls.send(operation, "GET", path, call)
    return DialectAnswer(response.status, response.body), adapter.calls.decoded(operation, response, decode)
