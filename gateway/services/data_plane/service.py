"""The use cases of the data plane: addresses of the gateway for runtimes, and where they lead."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.domain import errors
from gateway.domain.access import Principal
from gateway.domain.ids import RuntimeRef
from gateway.domain.requests import ConnectRequest
from gateway.domain.runtime import Connection, Connections, DataConnection, DataConnections, Runtime
from gateway.domain.values import Feature, Operation, Permission, State
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import DataProtocol, Endpoint, PublicAddress, RevocationStore
from gateway.ports.moves import Relocation
from gateway.services.access.visibility import require_visible
from gateway.services.data_plane.endpoints import Endpoints, protocols_of
from gateway.services.data_plane.grants import Grant, Grants
from gateway.services.data_plane.open_connections import OpenConnections
from gateway.services.fleet import Fleet, Provider, ResolvedRuntime
from gateway.services.intents.records import rfc3339
from gateway.services.verb_rules import wanted_connections

_WEBSOCKETS: Final = frozenset({"cdp"})
"""Protocols whose address is that of a WebSocket."""


@dataclass(frozen=True, slots=True)
class Destination:
    """What an address of the data plane leads to."""

    provider: Provider
    grant: Grant
    protocol: DataProtocol
    endpoint: Endpoint


class DataPlane:
    """Gives callers addresses of the gateway for their runtimes. ``public_url`` is the URL of the data plane's listener
    as clients see it, without a slash at its end; it is set when the listener's port is known."""

    def __init__(
        self, fleet: Fleet, grants: Grants, endpoints: Endpoints, store: RevocationStore, public_url: str
    ) -> None:
        self.grants = grants
        self.endpoints = endpoints
        self.open = OpenConnections()
        self.quotas = fleet.quotas
        self._fleet = fleet
        self._store = store
        self.public_url = public_url

    async def connections(self, runtime_id: str, options: ConnectRequest, ctx: RequestContext) -> Connections:
        """The gateway's addresses of a running runtime, valid for ``options.ttl`` seconds, of the protocols that the
        data plane forwards. Raises as :func:`wanted_connections`."""
        resolved = self._fleet.resolve(runtime_id, ctx)
        runtime_id, provider = ctx.runtime_id or "", resolved.provider
        provider.require(Feature.CONNECTIONS, "connections")
        known = protocols_of(resolved)
        if not known:
            raise errors.UnsupportedFeature(f"The data plane does not lead to runtimes of {provider.name}.")
        reached = await self.endpoints.reach(resolved, runtime_id, ctx)
        offered = [one for one in reached.connections if one.protocol in known]
        items: list[Connection] = []
        for each in wanted_connections(provider.name, offered, options):
            protocol = known[each.protocol]
            items.append(self.issue(protocol, runtime_id, reached.instance, ctx.principal, options.ttl))
        return Connections(items=items)

    def issue(
        self, protocol: DataProtocol, runtime_id: str, instance: str | None, principal: Principal, ttl: float
    ) -> Connection:
        """The gateway's address of an instance for a caller that may connect. Raises as :meth:`Grants.make`."""
        name: Any = protocol.name
        credential = self.endpoints.credential(runtime_id, instance, name) if protocol.credential_once else None
        grant = self.grants.make(runtime_id, instance, name, principal, ttl, credential)
        token = self.grants.token(grant)
        end = rfc3339(grant.expires_at)
        if protocol.at_root:
            return Connection(protocol=name, url=self.public_url, token=token, expires_at=end)
        address = self.address(grant.protocol, token)
        is_socket = grant.protocol in _WEBSOCKETS
        return Connection(
            protocol=name,
            url=address.websocket if is_socket else address.http,
            http_url=address.http if is_socket else None,
            expires_at=end,
        )

    def address(self, protocol: str, token: str) -> PublicAddress:
        """The gateway's address for a token."""
        return PublicAddress(f"{self.public_url}/{protocol}/{token}")

    def sibling(self, grant: Grant, protocol: str) -> PublicAddress:
        """The gateway's address of the same instance for another protocol, as long as the grant is valid."""
        return self.address(protocol, self.grants.token(msgspec.structs.replace(grant, protocol=protocol)))

    async def revoke(self, runtime_id: str, principal: str | None, ctx: RequestContext) -> None:
        """Make the addresses void that the caller has of a runtime, or ``principal`` (with ``admin``; empty: all
        principals), and close their connections. This replica does it at once, others a few seconds later."""
        others = principal not in {None, ctx.principal.name}
        if others and Permission.ADMIN not in ctx.principal.permissions:
            raise errors.PermissionDenied("Only admin revokes the connections of others.")
        runtime_id = await self._visible(runtime_id, Operation.CONNECT, ctx)
        await self.make_void(runtime_id, ctx.principal.name if principal is None else principal)

    async def make_void(self, runtime_id: str, principal: str = "") -> None:
        """Revoke the addresses that a principal (empty: all) has of a runtime. Raises :class:`StoreUnavailable`."""
        revocation = await self._store.revoke(runtime_id, principal)
        self.grants.directory.note(revocation)
        self.end_revoked()

    def end_revoked(self) -> None:
        """End the connections whose grants are void by now."""
        self.open.revoke(self._is_void)

    def _is_void(self, grant: Grant) -> bool:
        try:
            self.grants.require(grant)
        except (errors.PermissionDenied, errors.StoreUnavailable) as error:
            return isinstance(error, errors.PermissionDenied)
        return False

    async def list_open(self, runtime_id: str, ctx: RequestContext) -> DataConnections:
        """The connections to a runtime that are open in this process: the caller's, or with ``admin`` all."""
        runtime_id, principal = await self._visible(runtime_id, Operation.GET, ctx), ctx.principal
        shown = [
            one
            for one in self.open.of(runtime_id)
            if one.grant.principal == principal.name or Permission.ADMIN in principal.permissions
        ]
        return DataConnections(
            items=[
                DataConnection(
                    protocol=one.grant.protocol,
                    principal=one.grant.principal,
                    opened_at=rfc3339(one.opened_at),
                    last_used_at=rfc3339(one.last_used_at),
                    bytes_in=one.bytes_in,
                    bytes_out=one.bytes_out,
                )
                for one in shown
            ]
        )

    async def _visible(self, runtime_id: str, operation: Operation, ctx: RequestContext) -> str:
        """The id that a runtime had first. Raises as a read does for one that the caller may not see."""
        provider, ref = self._fleet.resolve(runtime_id, ctx)
        async with self._fleet.call_scope(provider, operation, ctx, only_reads=True) as call:
            await require_visible(self._fleet.owners, provider, ref, ctx, call)
        return ctx.runtime_id or ""

    async def has_stopped(self, grant: Grant, ctx: RequestContext) -> bool:
        """Ask the provider whether the instance of a grant has ended regularly; False also if it has failed.

        A move ends instances of runtimes that are at another place by then: their connections end for that reason."""
        if self._fleet.moves.active and self._fleet.refresh_moves is not None:
            with suppress(errors.StoreUnavailable):
                await self._fleet.refresh_moves()
        self.endpoints.forget(grant.runtime_id)
        try:
            resolved, protocol = self.resolve(grant, ctx)
            await self.open_destination(resolved, protocol, grant, ctx)
        except errors.RuntimeGone:
            return True
        except errors.StateConflict as conflict:
            return conflict.extra.get("state") != State.FAILED
        return False

    def written(self, provider: str, ref: RuntimeRef | None) -> Iterable[str]:
        """A runtime at a provider was changed, or with None an unknown one. Returns the ids of the runtimes with open
        connections that this may concern."""
        known = self.open.runtimes(lambda runtime_id: self._fleet.is_at(provider, runtime_id))
        runtime_id = self.runtime_id(provider, ref)
        if runtime_id is None:
            return known
        self.endpoints.written(runtime_id)
        return [runtime_id] if runtime_id in known else []

    def runtime_id(self, provider: str, ref: RuntimeRef | None) -> str | None:
        """The id that a runtime had first; None for an unknown one, and without its provider."""
        found = self._fleet.get(provider)
        if ref is None or found is None:
            return None
        return self._fleet.first_id(found.adapter, ref)

    async def end_stopped(self, runtime_id: str, ctx: RequestContext) -> None:
        """End the connections to the instances of a runtime that do not run any longer. Each instance is asked about
        once, whatever the protocols of its connections."""
        stopped: dict[str | None, bool] = {}
        for connection in self.open.of(runtime_id):
            instance = connection.grant.instance
            if instance not in stopped:
                stopped[instance] = await self.has_stopped(connection.grant, ctx)
            if stopped[instance]:
                connection.runtime_ended()

    def present(self, grant: Grant) -> Grant:
        """A grant as it was read from a token, for the instance that continues its own if the runtime has moved. No
        I/O."""
        if not (moves := self._fleet.moves):
            return grant
        first = moves.first_id(grant.runtime_id)
        instance = moves.instance(first, grant.instance)
        if (first, instance) == (grant.runtime_id, grant.instance):
            return grant
        return msgspec.structs.replace(grant, runtime_id=first, instance=instance, credential=None)

    def relocated(self, news: Iterable[Relocation]) -> None:
        """Runtimes have moved: end their connections, which lead to where they were."""
        for row in news:
            self.endpoints.relocated(row.runtime_id)
            for connection in self.open.of(row.runtime_id):
                connection.relocated()

    def shown_id(self, runtime: Runtime) -> str:
        """The id that a runtime had first, for one as its provider returned it."""
        return self._fleet.moves.shown_id(runtime)

    def resolve(self, grant: Grant, ctx: RequestContext) -> tuple[ResolvedRuntime, DataProtocol]:
        """The runtime and the protocol of a valid grant. No I/O. Raises :class:`PermissionDenied` and
        :class:`RuntimeGone`."""
        try:
            resolved = self._fleet.resolve(ctx.principal.shown_id(grant.runtime_id), ctx)
        except errors.NotFound as exc:
            raise errors.PermissionDenied("The runtime of this address is not yours any longer.") from exc
        protocol = protocols_of(resolved).get(grant.protocol)
        if protocol is None:
            raise errors.RuntimeGone(
                "The runtime's provider does not have this protocol any longer.", provider=ctx.provider
            )
        return resolved, protocol

    async def open_destination(
        self, resolved: ResolvedRuntime, protocol: DataProtocol, grant: Grant, ctx: RequestContext
    ) -> Destination:
        """Where a valid grant leads now. Raises as :meth:`Endpoints.endpoint`."""
        endpoint = await self.endpoints.endpoint(resolved, grant, protocol, ctx)
        return Destination(resolved.provider, grant, protocol, endpoint)

    async def socket_path(
        self, destination: Destination, ctx: RequestContext, fetch: Callable[[str, RequestContext], Awaitable[Any]]
    ) -> str:
        """The path of the WebSocket that the bare address stands for. ``fetch`` reads a document of the runtime's
        server. Raises :class:`ProviderBadResponse` if that names none."""
        endpoint, protocol = destination.endpoint, destination.protocol
        if endpoint.socket_path is not None:
            return endpoint.socket_path
        discovery = protocol.discovery()
        if discovery is None:
            return ""
        address = protocol.discovered(await fetch(discovery, ctx))
        path = endpoint.path_of(address) if address is not None else None
        if path is None:
            raise errors.ProviderBadResponse(
                "The runtime's server names no WebSocket of its own.",
                failure=errors.ProviderFailure(destination.provider.name),
            )
        return path
