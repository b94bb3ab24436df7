"""The use cases. They depend on the domain, the ports and the telemetry, and not on HTTP."""

from dataclasses import dataclass
from typing import Self

from gateway.ports.sealing import Sealer
from gateway.ports.whole_store import WholeStore
from gateway.services.access.assignments import OwnerService
from gateway.services.access.quotas import Quotas
from gateway.services.capabilities import CapabilityService
from gateway.services.config import ConfigService
from gateway.services.create import CreateService
from gateway.services.data_plane.service import DataPlane
from gateway.services.fleet import Fleet
from gateway.services.intents import IntentService
from gateway.services.intents.records import IntentRecords
from gateway.services.lifecycle import LifecycleService
from gateway.services.listing import ListService
from gateway.services.moves.context import MoverContext
from gateway.services.moves.control import MoveControl
from gateway.services.moves.exporting import ExportService
from gateway.services.moves.importing import ImportService
from gateway.services.moves.reading import KeptCreates, KeptReader, LiveReader
from gateway.services.moves.service import MoveService
from gateway.services.provider_choice import Router
from gateway.services.provider_history import ProviderHistory
from gateway.services.providers import ProviderService
from gateway.services.specs import SpecKeeper
from gateway.services.usage import UsageService
from gateway.services.waiting.hub import RuntimeHub


@dataclass(frozen=True, slots=True)
class Services:
    create: CreateService
    listing: ListService
    usage: UsageService
    lifecycle: LifecycleService
    config: ConfigService
    capabilities: CapabilityService
    providers: ProviderService
    intents: IntentRecords
    owners: OwnerService
    hub: RuntimeHub
    moves: MoveService
    move_control: MoveControl
    exports: ExportService
    imports: ImportService
    quotas: Quotas
    sealer: Sealer
    data_plane: DataPlane | None = None

    @classmethod
    def over(
        cls,
        fleet: Fleet,
        intents: IntentService,
        store: WholeStore,
        *,
        sealer: Sealer,
        specs: SpecKeeper | None = None,
        data_plane: DataPlane | None = None,
        history: ProviderHistory | None = None,
    ) -> Self:
        """The use cases of a fleet. ``intents`` carries out creates, ``store`` has assignments and moves. ``sealer``
        encrypts cursors and plans, and makes the entity tags of lists. ``specs`` stores what was sent in creates; with
        None, runtimes show only what the providers report. ``data_plane`` None: it is off. ``history`` keeps the last
        hour of the providers."""
        mover = MoverContext.over(fleet, intents, store, sealer=sealer, specs=specs, data_plane=data_plane)
        lifecycle, listing = LifecycleService(fleet, specs), ListService(fleet, specs, sealer)
        moves = MoveService(fleet, store, sealer)
        reader = KeptReader(LiveReader(fleet, specs), KeptCreates(store, sealer))
        return cls(
            create=CreateService(fleet, Router(fleet), intents, shows_what_was_sent=specs is not None),
            listing=listing,
            usage=UsageService(fleet, listing, specs),
            lifecycle=lifecycle,
            config=ConfigService(fleet, specs),
            capabilities=CapabilityService(fleet),
            providers=ProviderService(fleet, history),
            intents=intents.records,
            owners=OwnerService(fleet, lifecycle, store, data_plane),
            hub=RuntimeHub(fleet),
            moves=moves,
            move_control=MoveControl(mover, moves),
            exports=ExportService(fleet, listing, reader, sealer),
            imports=ImportService(fleet, store, sealer, moves),
            quotas=fleet.quotas,
            sealer=sealer,
            data_plane=data_plane,
        )
