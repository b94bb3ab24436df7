"""The gateway's addresses in the responses of dialects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain.access import Principal
from gateway.domain.runtime import Connection, Runtime
from gateway.ports.data_plane import AddressIssuer
from gateway.services.data_plane.service import DataPlane

LASTS: Final = 86_400
"""Seconds for which these addresses are valid."""


@dataclass(frozen=True, slots=True, repr=False)
class Issuer(AddressIssuer):
    """Issues addresses of the runtimes of an ``adapter`` that :class:`SupportsDataPlane` to one principal."""

    plane: DataPlane
    adapter: Any
    principal: Principal

    @property
    def public_url(self) -> str:  # type: ignore[override] # a read-only member of the protocol
        return self.plane.public_url

    def issue(self, runtime: Runtime, protocol: str) -> Connection:
        instance, issued = self.adapter.instance_of(runtime), self.adapter.data_protocols[protocol]
        return self.plane.issue(issued, self.plane.shown_id(runtime), instance, self.principal, LASTS)

    def keep(self, runtime: Runtime, connections: Sequence[Connection]) -> None:
        self.plane.endpoints.keep(self.plane.shown_id(runtime), self.adapter.instance_of(runtime), connections)

    async def revoke(self, runtime: Runtime) -> None:
        runtime_id = self.plane.shown_id(runtime)
        self.plane.endpoints.forget(runtime_id)
        await self.plane.make_void(runtime_id, "")
