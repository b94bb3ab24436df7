"""The agent capabilities bound to a durable runtime (seed 003).

After a change whose answer was lost, the list of the bindings tells what became of it. Only an install is sent again,
once, when the list shows that it is missing.
"""

from collections.abc import Sequence
from typing import Any

from gateway.domain.errors import AlreadyExists, GatewayError, NotFound, RuntimeReplaced
from gateway.domain.features import Feature
from gateway.domain.ids import RuntimeRef
from gateway.domain.operations import Operation
from gateway.domain.requests import InstallCapability, UpdateCapability
from gateway.domain.runtime import CapabilityBinding, CapabilityBindings, ResolvedCapabilities
from gateway.ports.context import RequestContext
from gateway.ports.transport import Call
from gateway.services.fleet import Fleet, Provider
from gateway.services.lost_responses import earlier_attempt_ambiguous, is_ambiguous, verify_after


class CapabilityService:
    """Lists, installs, changes and removes bindings."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def list(self, runtime_id: str, ctx: RequestContext) -> CapabilityBindings:
        """All bindings of a runtime."""
        provider, adapter, ref = self._locate(runtime_id, ctx)
        async with self._fleet.call_scope(provider, Operation.LIST_CAPABILITIES, ctx) as call:
            return CapabilityBindings(items=list(await adapter.list_capabilities(ref, call)))

    async def install(self, runtime_id: str, request: InstallCapability, ctx: RequestContext) -> CapabilityBinding:
        """Install a capability. Raises :class:`AlreadyExists` when it was installed before."""
        provider, adapter, ref = self._locate(runtime_id, ctx)
        clock = self._fleet.clock
        until = clock.monotonic() + provider.adapter.settings.deadline(Operation.INSTALL_CAPABILITY)
        once_more = True
        while True:
            left = until - clock.monotonic()
            try:
                async with self._fleet.call_scope(
                    provider, Operation.INSTALL_CAPABILITY, ctx, runtime=ref, at_most=left
                ) as call:
                    made: CapabilityBinding = await adapter.install_capability(ref, request, call)
                    return made
            except GatewayError as error:
                # An install that was sent again, here or below, is refused because of the one before.
                repeated = isinstance(error, AlreadyExists) and earlier_attempt_ambiguous(
                    ctx.attempts, Operation.INSTALL_CAPABILITY
                )
                if not (repeated or is_ambiguous(error)):
                    raise
                bindings = await self._look_after(error, provider, ref, ctx, until)
                found = next((binding for binding in bindings if binding.name == request.name), None)
                if found is not None and (not request.sent("version") or found.version == request.version):
                    return found
                if found is not None or not once_more or clock.monotonic() >= until:
                    raise
                once_more = False

    async def update(
        self, runtime_id: str, binding_id: str, request: UpdateCapability, ctx: RequestContext
    ) -> CapabilityBinding:
        """Change one thing of a binding."""
        provider, adapter, ref = self._locate(runtime_id, ctx)
        try:
            async with self._fleet.call_scope(provider, Operation.UPDATE_CAPABILITY, ctx, runtime=ref) as call:
                changed: CapabilityBinding = await adapter.update_capability(ref, binding_id, request, call)
                return changed
        except GatewayError as error:
            if not is_ambiguous(error):
                raise
            for binding in await self._look_after(error, provider, ref, ctx, call.deadline):
                if binding.id == binding_id and _shows(binding, request):
                    return binding
            raise

    async def remove(self, runtime_id: str, binding_id: str, ctx: RequestContext) -> None:
        """Uninstall. Raises :class:`NotFound` when it is not there."""
        provider, adapter, ref = self._locate(runtime_id, ctx)
        try:
            async with self._fleet.call_scope(provider, Operation.REMOVE_CAPABILITY, ctx, runtime=ref) as call:
                await adapter.remove_capability(ref, binding_id, call)
        except NotFound:
            if not earlier_attempt_ambiguous(call.attempts, Operation.REMOVE_CAPABILITY):
                raise
        except GatewayError as error:
            if not is_ambiguous(error):
                raise
            bindings = await self._look_after(error, provider, ref, ctx, call.deadline)
            if any(binding.id == binding_id for binding in bindings):
                raise

    async def resolved(self, runtime_id: str, ctx: RequestContext) -> ResolvedCapabilities:
        """What the enabled bindings resolve to."""
        provider, adapter, ref = self._locate(runtime_id, ctx)
        async with self._fleet.call_scope(provider, Operation.RESOLVE_CAPABILITIES, ctx) as call:
            resolved: ResolvedCapabilities = await adapter.resolved_capabilities(ref, call)
            return resolved

    def _locate(self, runtime_id: str, ctx: RequestContext) -> tuple[Provider, Any, RuntimeRef]:
        provider, ref = self._fleet.resolve(runtime_id, ctx)
        provider.require(Feature.CAPABILITY_BINDINGS, "capability bindings")
        return provider, provider.adapter, ref

    async def _look_after(
        self, error: GatewayError, provider: Provider, ref: RuntimeRef, ctx: RequestContext, until: float
    ) -> Sequence[CapabilityBinding]:
        adapter: Any = provider.adapter

        async def bindings(call: Call) -> Sequence[CapabilityBinding]:
            listed: Sequence[CapabilityBinding] = await adapter.list_capabilities(ref, call)
            return listed

        try:
            return await verify_after(error, self._fleet, provider, Operation.LIST_CAPABILITIES, ctx, until, bindings)
        except (NotFound, RuntimeReplaced) as gone:
            raise error from gone


def _shows(binding: CapabilityBinding, change: UpdateCapability) -> bool:
    if change.sent("enabled"):
        return binding.enabled == change.enabled
    if change.sent("version"):
        return binding.version == change.version
    flags = binding.flags or {}
    return all(flags.get(name) is value for name, value in change.flags.items())
