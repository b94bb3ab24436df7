"""The agent capabilities bound to a durable runtime (seed 003)."""

from typing import Any

from gateway.domain.features import Feature
from gateway.domain.ids import RuntimeRef
from gateway.domain.operations import Operation
from gateway.domain.requests import InstallCapability, UpdateCapability
from gateway.domain.runtime import CapabilityBinding, CapabilityBindings, ResolvedCapabilities
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet, Provider


class CapabilityService:
    """Lists, installs, changes and removes bindings."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def list(self, runtime_id: str, ctx: RequestContext) -> CapabilityBindings:
        """All bindings of a runtime."""
        provider, adapter, ref = self._locate(runtime_id, ctx)
        async with self._fleet.calling(provider, Operation.LIST_CAPABILITIES, ctx) as call:
            return CapabilityBindings(items=list(await adapter.list_capabilities(ref, call)))

    async def install(self, runtime_id: str, request: InstallCapability, ctx: RequestContext) -> CapabilityBinding:
        """Install a capability."""
        provider, adapter, ref = self._locate(runtime_id, ctx)
        async with self._fleet.calling(provider, Operation.INSTALL_CAPABILITY, ctx) as call:
            binding: CapabilityBinding = await adapter.install_capability(ref, request, call)
            return binding

    async def update(
        self, runtime_id: str, binding_id: str, request: UpdateCapability, ctx: RequestContext
    ) -> CapabilityBinding:
        """Change one thing of a binding."""
        provider, adapter, ref = self._locate(runtime_id, ctx)
        async with self._fleet.calling(provider, Operation.UPDATE_CAPABILITY, ctx) as call:
            binding: CapabilityBinding = await adapter.update_capability(ref, binding_id, request, call)
            return binding

    async def remove(self, runtime_id: str, binding_id: str, ctx: RequestContext) -> None:
        """Uninstall. Raises :class:`NotFound` when it is not there."""
        provider, adapter, ref = self._locate(runtime_id, ctx)
        async with self._fleet.calling(provider, Operation.REMOVE_CAPABILITY, ctx) as call:
            await adapter.remove_capability(ref, binding_id, call)

    async def resolved(self, runtime_id: str, ctx: RequestContext) -> ResolvedCapabilities:
        """What the enabled bindings resolve to."""
        provider, adapter, ref = self._locate(runtime_id, ctx)
        async with self._fleet.calling(provider, Operation.RESOLVE_CAPABILITIES, ctx) as call:
            resolved: ResolvedCapabilities = await adapter.resolved_capabilities(ref, call)
            return resolved

    def _locate(self, runtime_id: str, ctx: RequestContext) -> tuple[Provider, Any, RuntimeRef]:
        provider, ref = self._fleet.locate(runtime_id, ctx)
        provider.require(Feature.CAPABILITY_BINDINGS, "capability bindings")
        return provider, provider.adapter, ref
