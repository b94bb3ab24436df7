"""Runtimes of which the gateway only presumes that it made them."""

from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.store import Store
from gateway.services.fleet import Provider
from gateway.services.intents import TargetResolver
from gateway.services.provider_choice import Target


class AdoptedRuntimes:
    """Knows from the intents which runtimes were adopted (docs/creates.md)."""

    def __init__(self, targets: TargetResolver, store: Store) -> None:
        self._targets = targets
        self._store = store

    async def is_adopted(self, provider: Provider, runtime: Runtime, ctx: RequestContext) -> bool:
        """Whether a runtime, as its provider names it, was adopted. Raises as a read there, and
        :class:`StoreUnavailable`."""
        if runtime.name is None:
            return False
        resolved = await self._targets.of(Target(provider, runtime.scope), ctx)
        intent = await self._store.by_name(resolved.namespace, runtime.kind, runtime.name, done=True)
        return intent is not None and intent.runtime_id == runtime.provider_id and intent.reason == "adopted"
