"""The agent capabilities that are bound to a durable runtime.

If the response to a change is lost, the list of bindings shows whether the change happened. Only an install is sent
again, once, if the list shows that the binding is missing.
"""

from collections.abc import Awaitable, Sequence

from gateway.domain.errors import AlreadyExists, GatewayError, NotFound, RuntimeReplaced
from gateway.domain.ids import RuntimeRef
from gateway.domain.requests import InstallCapability, UpdateCapability
from gateway.domain.runtime import CapabilityBinding, CapabilityBindings, ResolvedCapabilities
from gateway.domain.values import Feature, Operation
from gateway.ports.context import RequestContext
from gateway.ports.provider import SupportsCapabilityBindings
from gateway.ports.transport import Call
from gateway.services.access.visibility import require_visible
from gateway.services.fleet import Fleet, Provider
from gateway.services.lost_verb_responses import earlier_attempt_ambiguous, is_ambiguous, verify_after


class CapabilityService:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def list(self, runtime_id: str, ctx: RequestContext) -> CapabilityBindings:
        """All bindings of a runtime. Raises :class:`UnsupportedFeature` if its provider has no capability bindings, as
        all methods here do."""
        provider, adapter, ref = self._resolve(runtime_id, ctx)
        async with self._fleet.call_scope(provider, Operation.LIST_CAPABILITIES, ctx) as call:
            await require_visible(self._fleet.owners, provider, ref, ctx, call)
            return CapabilityBindings(items=list(await adapter.list_capabilities(ref, call)))

    async def install(self, runtime_id: str, request: InstallCapability, ctx: RequestContext) -> CapabilityBinding:
        """Install a capability. Raises :class:`AlreadyExists` if it was installed before."""
        provider, adapter, ref = self._resolve(runtime_id, ctx)
        clock = self._fleet.clock
        until = clock.monotonic() + provider.adapter.settings.deadline(Operation.INSTALL_CAPABILITY)
        may_send_again = True
        while True:
            left = until - clock.monotonic()
            try:
                async with self._fleet.call_scope(
                    provider, Operation.INSTALL_CAPABILITY, ctx, runtime=ref, at_most=left
                ) as call:
                    await require_visible(self._fleet.owners, provider, ref, ctx, call)
                    return await adapter.install_capability(ref, request, call)
            except GatewayError as error:
                # An install that was sent twice, here or by the retry policy, is refused because of the first one.
                repeated = isinstance(error, AlreadyExists) and earlier_attempt_ambiguous(
                    ctx.attempts, Operation.INSTALL_CAPABILITY
                )
                if not (repeated or is_ambiguous(error)):
                    raise
                bindings = await self._bindings_after(error, provider, ref, ctx, until)
                found = next((binding for binding in bindings if binding.name == request.name), None)
                if found is not None and (not request.sent("version") or found.version == request.version):
                    return found
                if found is not None or not may_send_again or clock.monotonic() >= until:
                    raise
                may_send_again = False

    async def update(
        self, runtime_id: str, binding_id: str, request: UpdateCapability, ctx: RequestContext
    ) -> CapabilityBinding:
        """Change one property of a binding. Raises :class:`NotFound` if it does not exist."""
        provider, adapter, ref = self._resolve(runtime_id, ctx)
        try:
            async with self._fleet.call_scope(provider, Operation.UPDATE_CAPABILITY, ctx, runtime=ref) as call:
                await require_visible(self._fleet.owners, provider, ref, ctx, call)
                return await adapter.update_capability(ref, binding_id, request, call)
        except GatewayError as error:
            if not is_ambiguous(error):
                raise
            for binding in await self._bindings_after(error, provider, ref, ctx, call.deadline):
                if binding.id == binding_id and _shows(binding, request):
                    return binding
            raise

    async def remove(self, runtime_id: str, binding_id: str, ctx: RequestContext) -> None:
        """Uninstall a capability. Raises :class:`NotFound` if the binding does not exist."""
        provider, adapter, ref = self._resolve(runtime_id, ctx)
        try:
            async with self._fleet.call_scope(provider, Operation.REMOVE_CAPABILITY, ctx, runtime=ref) as call:
                await require_visible(self._fleet.owners, provider, ref, ctx, call)
                await adapter.remove_capability(ref, binding_id, call)
        except NotFound:
            if not earlier_attempt_ambiguous(call.attempts, Operation.REMOVE_CAPABILITY):
                raise
        except GatewayError as error:
            if not is_ambiguous(error):
                raise
            bindings = await self._bindings_after(error, provider, ref, ctx, call.deadline)
            if any(binding.id == binding_id for binding in bindings):
                raise

    async def resolved(self, runtime_id: str, ctx: RequestContext) -> ResolvedCapabilities:
        provider, adapter, ref = self._resolve(runtime_id, ctx)
        async with self._fleet.call_scope(provider, Operation.RESOLVE_CAPABILITIES, ctx) as call:
            await require_visible(self._fleet.owners, provider, ref, ctx, call)
            return await adapter.resolved_capabilities(ref, call)

    def _resolve(self, runtime_id: str, ctx: RequestContext) -> tuple[Provider, SupportsCapabilityBindings, RuntimeRef]:
        provider, ref = self._fleet.resolve(runtime_id, ctx)
        return provider, provider.require(Feature.CAPABILITY_BINDINGS, "capability bindings"), ref

    async def _bindings_after(
        self, error: GatewayError, provider: Provider, ref: RuntimeRef, ctx: RequestContext, until: float
    ) -> Sequence[CapabilityBinding]:
        """The bindings after a change that ended in ``error``. Raises ``error`` if they cannot be read."""
        adapter: SupportsCapabilityBindings = provider.require(Feature.CAPABILITY_BINDINGS, "capability bindings")

        def bindings(call: Call) -> Awaitable[Sequence[CapabilityBinding]]:
            return adapter.list_capabilities(ref, call)

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
