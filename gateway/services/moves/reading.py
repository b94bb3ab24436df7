"""What is known of a runtime at the source of a move: read from its provider, or kept of its create (docs/moves.md)."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from gateway.domain.base_urls import same_address
from gateway.domain.errors import (
    GatewayError,
    NotFound,
    ProviderBadResponse,
    ProviderCredentialsRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from gateway.domain.ids import RuntimeRef, format_runtime_id
from gateway.domain.intents import parts_of
from gateway.domain.ownership import suffix_in
from gateway.domain.runtime import CapabilityBinding, ConfigDocument, Runtime
from gateway.domain.values import Feature, Operation, State
from gateway.ports.context import RequestContext
from gateway.ports.moves import KeptCreateStore, StoredCreate
from gateway.ports.provider import ProviderAdapter
from gateway.ports.sealing import Cell, Sealer, Unreadable
from gateway.services import kept_configs
from gateway.services.fleet import Fleet, Provider
from gateway.services.intents.payloads import PayloadSealer
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


UNREACHABLE: Final = (ProviderUnavailable, ProviderTimeout, ProviderCredentialsRejected, ProviderBadResponse)
"""The errors of a source that cannot be asked: it is down, gone, or the account is closed."""

_PAGE: Final = 500


class ImportedCreate(msgspec.Struct, frozen=True, kw_only=True):
    """What an import knows of a runtime: the body of its create, its capabilities (None: unknown), and its state."""

    create: dict[str, Any]
    bindings: list[CapabilityBinding] | None = None
    state: State = State.UNKNOWN

    def __repr__(self) -> str:
        return "ImportedCreate()"


def cell_of_import(provider: str, runtime_id: str) -> Cell:
    return Cell("kept_creates", json.dumps([provider, runtime_id]), "request")


class KeptCreates:
    def __init__(self, store: KeptCreateStore, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self._payloads = PayloadSealer(sealer)

    async def of_source(
        self, provider: Provider, scope: str | None = None, after: str = ""
    ) -> AsyncIterator[SourceFacts]:
        """What is known of the runtimes that exist at a provider, in the order of their ids, above ``after``. One whose
        create cannot be read is left out. Raises :class:`StoreUnavailable`."""
        while page := await self._store.kept_creates(provider.name, scope=scope, after=after, limit=_PAGE):
            after = page[-1].runtime_id
            for stored in page:
                if (facts := self._facts(stored, provider.adapter)) is not None:
                    yield facts

    async def of_runtime(self, provider: Provider, ref: RuntimeRef, *, imported: bool = False) -> SourceFacts | None:
        """What is known of one runtime; ``imported``: only from an import. None if nothing is."""
        page = await self._store.kept_creates(provider.name, scope=ref.scope, only=ref.provider_id)
        found = [stored for stored in page if not (imported and stored.intent_id)]
        return self._facts(found[0], provider.adapter) if found else None

    def _facts(self, stored: StoredCreate, adapter: ProviderAdapter[Any]) -> SourceFacts | None:
        """None if the create was sent to another address than that of the provider today."""
        api, base_url, *_ = parts_of(stored.namespace)
        here = adapter.settings
        if (api, same_address(base_url, here.own_paths)) != (adapter.api, here.address):
            return None
        known = self._opened(stored)
        if known is None:
            return None
        create, config = dict(known.create), None
        if stored.config is not None:
            kept = kept_configs.opened(self._sealer, stored.config, stored.provider, stored.runtime_id)
            create.pop("config", None)
            create.pop("labels", None)  # they are in the config
            if kept.config is not None:
                config = ConfigDocument(config=kept.config, config_digest=kept.digest)
        runtime = _runtime(stored, create, known.state, adapter)
        return SourceFacts(runtime, config, known.bindings, kept=create, live=False)

    def _opened(self, stored: StoredCreate) -> ImportedCreate | None:
        if stored.intent_id:
            sent = self._payloads.unsealed_request(stored.intent_id, stored.request)
            return None if sent is None else ImportedCreate(create=msgspec.json.decode(sent.document))
        try:
            sealed = self._sealer.unseal(stored.request, cell_of_import(stored.provider, stored.runtime_id))
            return msgspec.json.decode(sealed, type=ImportedCreate)
        except (Unreadable, msgspec.MsgspecError):
            return None


def _runtime(stored: StoredCreate, create: Mapping[str, Any], state: State, adapter: ProviderAdapter[Any]) -> Runtime:
    ref = RuntimeRef(stored.scope, stored.runtime_id, stored.name)
    return Runtime(
        id=format_runtime_id(stored.provider, adapter.format_reference(ref)),
        kind=stored.kind,
        provider=stored.provider,
        scope=stored.scope,
        provider_id=stored.runtime_id,
        owner=(stored.principal or None) if suffix_in(stored.name) is None else None,
        name=stored.name,
        display_name=create.get("display_name"),
        description=create.get("description"),
        labels=create.get("labels"),
        state=state,
    )


class KeptReader:
    """Reads runtimes at their provider, and uses their kept creates for what it does not report, or if it cannot be
    asked. An imported create stands for a runtime that does not exist there any longer."""

    def __init__(self, live: SourceReader, kept: KeptCreates) -> None:
        self._live = live
        self._kept = kept

    async def read(
        self, provider: Provider, ref: RuntimeRef, ctx: RequestContext, listed: Runtime | None = None
    ) -> SourceFacts:
        """As :meth:`SourceReader.read`."""
        try:
            facts = await self._live.read(provider, ref, ctx, listed)
        except (*UNREACHABLE, NotFound) as error:
            return await self._instead(error, provider, ref)
        known = await self._kept.of_runtime(provider, ref)
        if known is None:
            return facts
        return SourceFacts(facts.runtime, facts.config, facts.bindings, facts.sent, known.kept)

    async def _instead(self, error: GatewayError, provider: Provider, ref: RuntimeRef) -> SourceFacts:
        known = await self._kept.of_runtime(provider, ref, imported=isinstance(error, NotFound))
        if known is None:
            raise error
        return known
