"""What is known of a runtime at the source of a move: read from its provider, or from what was kept of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.domain.ids import RuntimeRef
from gateway.domain.runtime import CapabilityBinding, ConfigDocument, Runtime
from gateway.domain.values import Feature, Operation
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet, Provider
from gateway.services.sent_spec import Spec
from gateway.services.specs import SpecKeeper


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is known of a runtime, as its provider names it. ``config`` and ``bindings`` None: they are not known, or
    the provider has none. ``sent`` is what is shown of its create, ``kept`` the whole body of its create, with secrets;
    each None without one. ``live`` False: the provider could not be asked, so the runtime may have changed since.
    """

    runtime: Runtime
    config: ConfigDocument | None = None
    bindings: Sequence[CapabilityBinding] | None = None
    sent: Spec | None = None
    kept: Mapping[str, Any] | None = field(default=None, repr=False)
    live: bool = True


class SourceReader(Protocol):
    """Reads what is known of runtimes at a source."""

    async def read(
        self, provider: Provider, ref: RuntimeRef, ctx: RequestContext, listed: Runtime | None = None
    ) -> SourceFacts:
        """What is known of one runtime. ``listed`` is its row in a list that was just read, which need not be read
        again. Raises as any read at the provider does."""


class LiveReader:
    """Reads runtimes at their provider, and what the store has of their creates."""

    def __init__(self, fleet: Fleet, specs: SpecKeeper | None = None) -> None:
        self._fleet = fleet
        self._specs = specs or SpecKeeper(None, None, fleet.clock)

    async def read(
        self, provider: Provider, ref: RuntimeRef, ctx: RequestContext, listed: Runtime | None = None
    ) -> SourceFacts:
        adapter, runtime, config, bindings = provider.adapter, listed, None, None
        if runtime is None:
            async with self._fleet.call_scope(provider, Operation.GET, ctx) as call:
                runtime = await adapter.get(ref, call)
        if Feature.CONFIG in adapter.features:
            async with self._fleet.call_scope(provider, Operation.GET_CONFIG, ctx) as call:
                config = await provider.require(Feature.CONFIG, "config").get_config(ref, call)
        if Feature.CAPABILITY_BINDINGS in adapter.features:
            async with self._fleet.call_scope(provider, Operation.LIST_CAPABILITIES, ctx) as call:
                bindings = await provider.require(Feature.CAPABILITY_BINDINGS, "capabilities").list_capabilities(
                    ref, call
                )
        sent = await self._specs.spec(adapter, runtime)
        return SourceFacts(self._specs.fill(adapter, runtime), config, bindings, sent)
