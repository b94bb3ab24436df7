"""Where the connections to a runtime lead: read from the provider, and kept while the instance runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from cachetools import LRUCache

from gateway.domain.errors import (
    NotFound,
    ProviderBadResponse,
    ProviderFailure,
    RuntimeGone,
    RuntimeReplaced,
    StateConflict,
)
from gateway.domain.lifecycle import Verb
from gateway.domain.operations import Operation
from gateway.domain.runtime import Connection, Runtime
from gateway.domain.values import State
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import DataProtocol, Endpoint, SupportsDataPlane
from gateway.ports.transport import Call
from gateway.services.access.visibility import read_visible
from gateway.services.fleet import Fleet, ResolvedRuntime
from gateway.services.verb_rules import refuse_unless_possible

CHECKED_EVERY: Final = 15.0
"""Seconds for which an endpoint is used before the provider is asked whether the instance still runs."""

_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Reached:
    """A running instance and its connections, as they were at ``read_at`` of the monotonic clock."""

    instance: str | None
    connections: Sequence[Connection]
    read_at: float


class Endpoints:
    """The connections of running instances, by the runtimes' ids. The latest that were used are kept in memory."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._known: LRUCache[str, Reached] = LRUCache(_MOST)

    def forget(self, runtime_id: str) -> None:
        """Ask the provider before the next use. What only a start returns is kept, and used if the same instance still
        runs."""
        known = self._known.get(runtime_id)
        if known is not None:
            self._known[runtime_id] = replace(known, read_at=float("-inf"))

    async def reach(self, resolved: ResolvedRuntime, runtime_id: str, ctx: RequestContext) -> Reached:
        """Read the runtime, and its connections. Raises :class:`StateConflict` unless it is running, and what a read
        raises."""
        provider, ref = resolved
        adapter: Any = provider.adapter
        async with self._fleet.call_scope(provider, Operation.CONNECT, ctx, runtime=ref) as call:
            runtime = await read_visible(self._fleet.owners, provider, ref, ctx, call)
            refuse_unless_possible(runtime, Verb.CONNECT)
            return await self._connections(adapter, resolved, runtime_id, runtime, call)

    async def endpoint(
        self, resolved: ResolvedRuntime, runtime_id: str, instance: str | None, protocol: str, ctx: RequestContext
    ) -> tuple[DataProtocol, Endpoint]:
        """The endpoint of one protocol of an instance.

        Raises :class:`RuntimeGone` if the runtime was deleted or runs as another instance, :class:`StateConflict` if it
        does not run, and what a read raises.
        """
        known = self._known.get(runtime_id)
        if known is None or known.instance != instance or known.read_at + CHECKED_EVERY <= self._clock.monotonic():
            known = await self._read_again(resolved, runtime_id, instance, ctx)
        found = next((one for one in known.connections if one.protocol == protocol), None)
        spoken = _protocols(resolved).get(protocol)
        if found is None or spoken is None:
            raise RuntimeGone(f"The runtime has no connection for {protocol} any longer.", provider=ctx.provider)
        try:
            return spoken, spoken.endpoint(found)
        except ValueError as exc:
            raise _unusable(resolved.provider.name, protocol) from exc

    async def _read_again(
        self, resolved: ResolvedRuntime, runtime_id: str, instance: str | None, ctx: RequestContext
    ) -> Reached:
        provider, ref = resolved
        adapter = provider.adapter
        try:
            async with self._fleet.call_scope(provider, Operation.CONNECT, ctx, runtime=ref) as call:
                runtime = await adapter.get(ref, call)
                if runtime.state is State.RUNNING and adapter.instance_of(runtime) == instance:
                    return await self._connections(adapter, resolved, runtime_id, runtime, call)
        except (NotFound, RuntimeReplaced) as gone:
            raise RuntimeGone("The runtime was deleted.", provider=provider.name) from gone
        if runtime.state is State.RUNNING:
            raise RuntimeGone(
                "The runtime was restarted: this address leads to an instance that has ended.", provider=provider.name
            )
        refuse_unless_possible(runtime, Verb.CONNECT)
        raise StateConflict("The runtime does not run.", provider=provider.name)

    async def _connections(
        self, adapter: Any, resolved: ResolvedRuntime, runtime_id: str, runtime: Runtime, call: Call
    ) -> Reached:
        """The connections of a runtime that was read just before, and runs."""
        instance, now = adapter.instance_of(runtime), self._clock.monotonic()
        known = self._known.get(runtime_id)
        once = any(protocol.credential_once for protocol in _protocols(resolved).values())
        if not (once and known is not None and known.instance == instance):
            known = Reached(instance, list(await adapter.connections(resolved.ref, call)), now)
        reached = self._known[runtime_id] = replace(known, read_at=now)
        return reached


def _protocols(resolved: ResolvedRuntime) -> Any:
    adapter = resolved.provider.adapter
    return adapter.data_protocols if isinstance(adapter, SupportsDataPlane) else {}


def _unusable(provider: str, protocol: str) -> ProviderBadResponse:
    return ProviderBadResponse(
        f"The provider {provider} returned a {protocol} address that cannot be used.", failure=ProviderFailure(provider)
    )
