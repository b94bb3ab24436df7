"""Where the connections to a runtime lead: read from the provider, and kept while the instance runs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, Final

from cachetools import LRUCache, TTLCache

from gateway.domain import errors
from gateway.domain.lifecycle import Verb, actions_of
from gateway.domain.runtime import Connection
from gateway.domain.values import Operation, State
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import DataProtocol, Endpoint, SupportsDataPlane
from gateway.ports.transport import Call
from gateway.services.access.visibility import read_visible
from gateway.services.data_plane.grants import Grant
from gateway.services.fleet import Fleet, ResolvedRuntime
from gateway.services.verb_rules import refuse_unless_possible

CHECKED_EVERY: Final = 15.0
"""Seconds for which an endpoint is used before the provider is asked whether the instance still runs."""

STARTS_WITHIN: Final = 30.0
"""Seconds after an instance was first seen in which its server may not accept connections yet."""

_MOST: Final = 10_000

Key = tuple[str, str | None]
"""A runtime's id, and its instance."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A running instance and its connections, as they were at ``read_at`` of the monotonic clock. ``seen_at`` is when
    this process first read the instance."""

    instance: str | None
    connections: Sequence[Connection]
    read_at: float
    seen_at: float


class Endpoints:
    """The connections of running instances, by the runtimes' ids. The latest that were used are kept in memory."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._known: LRUCache[str, Reached] = LRUCache(_MOST)
        self._gone: TTLCache[Key, str] = TTLCache(_MOST, CHECKED_EVERY, clock.monotonic)
        self._asking: dict[Key, asyncio.Task[Reached]] = {}
        self._written: TTLCache[str, float] = TTLCache(_MOST, CHECKED_EVERY, clock.monotonic)

    def written(self, runtime_id: str) -> None:
        """The runtime was changed: nothing is used that was read before, or is being read."""
        self._written[runtime_id] = self._clock.monotonic()
        self.forget(runtime_id)
        for key in [key for key in self._asking if key[0] == runtime_id]:
            del self._asking[key]

    def forget(self, runtime_id: str) -> None:
        """Ask the provider before the next use. What only a start returns is kept, and used if the same instance still
        runs."""
        known = self._known.get(runtime_id)
        if known is not None:
            self._known[runtime_id] = replace(known, read_at=-inf)

    def relocated(self, runtime_id: str) -> None:
        """Forget what is known of a runtime that is at another place now."""
        self._known.pop(runtime_id, None)
        for key in [key for key in self._gone if key[0] == runtime_id]:
            del self._gone[key]

    def keep(self, runtime_id: str, instance: str | None, connections: Sequence[Connection]) -> None:
        """Keep the connections in a response to a start."""
        now = self._clock.monotonic()
        self._known[runtime_id] = Reached(instance, connections, now, now)

    def credential(self, runtime_id: str, instance: str | None, protocol: str) -> tuple[str, str] | None:
        """The URL and the token of an instance's connection, if they are known."""
        found = self._of_instance(runtime_id, instance)
        return next(((one.url, one.token) for one in found if one.protocol == protocol and one.token), None)

    def is_starting(self, runtime_id: str) -> bool:
        """Whether the server of the instance that was read last may not accept connections yet."""
        known = self._known.get(runtime_id)
        return known is not None and self._clock.monotonic() < known.seen_at + STARTS_WITHIN

    async def reach(self, resolved: ResolvedRuntime, runtime_id: str, ctx: RequestContext) -> Reached:
        """Read the runtime, and its connections. Raises :class:`StateConflict` unless it is running, and what a read
        raises."""
        provider, ref = resolved
        adapter: Any = provider.adapter
        began = self._clock.monotonic()
        async with self._fleet.call_scope(provider, Operation.CONNECT, ctx, runtime=ref) as call:
            runtime = await read_visible(self._fleet.owners, provider, ref, ctx, call)
            refuse_unless_possible(runtime, Verb.CONNECT)
            instance = adapter.instance_of(runtime)
            once = any(protocol.credential_once for protocol in protocols_of(resolved).values())
            found = self._of_instance(runtime_id, instance) if once else None
            return self._read(runtime_id, instance, found or list(await adapter.connections(ref, call)), began)

    async def endpoint(
        self, resolved: ResolvedRuntime, grant: Grant, protocol: DataProtocol, ctx: RequestContext
    ) -> Endpoint:
        """The endpoint of a grant, whose protocol is ``protocol``. Nothing is sent that could start the runtime, except
        with a token from before a move.

        Raises :class:`RuntimeGone` if the runtime was deleted or runs as another instance, :class:`StateConflict` if it
        does not run, and what a read raises.
        """
        known, key = self._known.get(grant.runtime_id), (grant.runtime_id, grant.instance)
        if (
            known is None
            or known.instance != grant.instance
            or known.read_at + CHECKED_EVERY <= self._clock.monotonic()
        ):
            if (gone := self._gone.get(key)) is not None:
                raise errors.RuntimeGone(gone, provider=resolved.provider.name)
            known = await self._read_shared(resolved, grant, protocol, ctx)
        found = next((one for one in known.connections if one.protocol == protocol.name), None)
        if found is None:
            raise errors.RuntimeGone(
                f"The runtime has no connection for {protocol.name} any longer.", provider=ctx.provider
            )
        try:
            return protocol.endpoint(found)
        except ValueError as exc:
            raise _unusable(resolved.provider.name, protocol.name) from exc

    async def _read_shared(
        self, resolved: ResolvedRuntime, grant: Grant, protocol: DataProtocol, ctx: RequestContext
    ) -> Reached:
        """What :meth:`_read_again` returns or raises. Requests that ask while another one does share its answer: many
        connections may lose their provider, and come back, at once."""
        key = grant.runtime_id, grant.instance
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._read_again(resolved, grant, protocol, ctx))
            asking.add_done_callback(partial(self._answered, key))
        return await asyncio.shield(asking)

    def _answered(self, key: Key, asking: "asyncio.Task[Reached]") -> None:
        if self._asking.get(key) is asking:
            del self._asking[key]
        if not asking.cancelled() and isinstance(error := asking.exception(), errors.RuntimeGone):
            self._gone[key] = error.detail

    async def _read_again(
        self, resolved: ResolvedRuntime, grant: Grant, protocol: DataProtocol, ctx: RequestContext
    ) -> Reached:
        provider, ref = resolved
        adapter: Any = provider.adapter
        began = self._clock.monotonic()
        try:
            async with self._fleet.call_scope(provider, Operation.CONNECT, ctx, only_reads=True) as call:
                runtime = await adapter.get(ref, call)
                if runtime.state is State.RUNNING and adapter.instance_of(runtime) == grant.instance:
                    found = await self._connections(resolved, grant, protocol, call)
                    return self._read(grant.runtime_id, grant.instance, found, began)
        except (errors.NotFound, errors.RuntimeReplaced) as gone:
            raise errors.RuntimeGone("The runtime was deleted.", provider=provider.name) from gone
        if runtime.state is State.RUNNING:
            raise errors.RuntimeGone(
                "The runtime was restarted: this address leads to an instance that has ended.", provider=provider.name
            )
        actions = actions_of(runtime)
        verbs = [verb.value for verb in (Verb.START, Verb.RESUME) if verb in actions and actions[verb].allowed]
        how = f"call {' or '.join(verbs)} first" if verbs else "it cannot be started now"
        raise errors.StateConflict(
            f"The runtime is {runtime.state.value}; {how}.",
            provider=provider.name,
            extra={"state": runtime.state.value},
        )

    async def _connections(
        self, resolved: ResolvedRuntime, grant: Grant, protocol: DataProtocol, call: Call
    ) -> Sequence[Connection]:
        """The connections of a runtime that was read just before, and runs as the instance of the grant."""
        adapter: Any = resolved.provider.adapter
        if not protocol.credential_once:
            return list(await adapter.connections(resolved.ref, call))
        name: Any = protocol.name
        known = self._of_instance(grant.runtime_id, grant.instance)
        if not known and grant.credential is not None:
            url, token = grant.credential
            return [Connection(protocol=name, url=url, token=token)]
        if not known and self._fleet.moves.of_target(resolved.provider.name, resolved.ref.provider_id) is not None:
            return list(await adapter.connections(resolved.ref, call))  # its token was made where it was before
        return known

    def _of_instance(self, runtime_id: str, instance: str | None) -> Sequence[Connection]:
        known = self._known.get(runtime_id)
        return () if known is None or known.instance != instance else known.connections

    def _read(self, runtime_id: str, instance: str | None, connections: Sequence[Connection], began: float) -> Reached:
        """The runtime runs, as a read shows that began then. Where it was changed meanwhile, the next use asks."""
        now, known = self._clock.monotonic(), self._known.get(runtime_id)
        seen_at = known.seen_at if known is not None and known.instance == instance else now
        read_at = began if self._written.get(runtime_id, -inf) <= began else -inf
        reached = self._known[runtime_id] = Reached(instance, connections, read_at, seen_at)
        return reached


def protocols_of(resolved: ResolvedRuntime) -> Mapping[str, DataProtocol]:
    """The protocols of a runtime that the data plane forwards, by name."""
    adapter = resolved.provider.adapter
    return adapter.data_protocols if isinstance(adapter, SupportsDataPlane) else {}


def _unusable(provider: str, protocol: str) -> errors.ProviderBadResponse:
    return errors.ProviderBadResponse(
        f"The provider {provider} returned a {protocol} address that cannot be used.",
        failure=errors.ProviderFailure(provider),
    )
