"""A replica of the simulated world that runs the gateway's own use cases."""

from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from pydantic import SecretStr

from gateway.domain.access import Principal
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest
from gateway.domain.validation import validate
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created
from gateway.services.fleet import Fleet
from gateway.services.intents import (
    CreateCommand,
    CreateContext,
    IntentService,
    PayloadSealer,
    Reconciler,
    TargetResolver,
    document_of,
)
from gateway.services.provider_choice import Target
from gateway.settings import CreatesSettings
from gateway.storage.sealing import Keyring
from tests.faults.simulator.scenarios import LEASE_MARGIN, SEND_WITHIN, WAIT_OUT, Client
from tests.faults.simulator.world import Material
from tests.unit.services.fakes import NullSignals

RULES: Final = CreatesSettings(
    wait_out=WAIT_OUT, join_wait=0.05, send_within=SEND_WITHIN, lease_margin=LEASE_MARGIN, settle_every=11.0
)


class _CachedDigests(Keyring):
    """Computes each digest once: a run has few different requests, and compares them often."""

    def digest(self, operation: str, document: Mapping[str, Any], version: str) -> bytes:
        return self._digest(operation, msgspec.json.encode(document), version)

    @lru_cache  # noqa: B019 (there is one instance)
    def _digest(self, operation: str, document: bytes, version: str) -> bytes:
        return super().digest(operation, msgspec.json.decode(document), version)


SEALER: Final = _CachedDigests([SecretStr(b64encode(bytes(range(32))).decode())])


@lru_cache
def request_of(kind: str, name: str) -> CreateRequest:
    """A create request that contains only kind and name."""
    return validate(CREATE_REQUESTS[kind], {"kind": kind, "name": name})


class IntentGateway:
    """The intent service and the reconciler of one process."""

    def __init__(self, material: Material) -> None:
        fleet = Fleet(material.adapters, material.clock)
        self._all = [Target(provider, "home") for provider in fleet]
        self._kind = min(material.adapters[0].kinds)
        parts = CreateContext(
            fleet=fleet,
            store=material.store,
            targets=TargetResolver(fleet, SEALER, material.store),
            payloads=PayloadSealer(SEALER),
            clock=material.clock,
            rules=RULES,
            observer=NullSignals(),
        )
        self._intents = IntentService(parts)
        self._reconciler = Reconciler(parts)

    async def create(self, client: Client) -> Created:
        request = request_of(self._kind, client.name)
        wanted = CreateCommand(
            request=request,
            document=document_of(request),
            key=client.key,
            operation=Operation.CREATE,
            judged=True,
            name_is_new=False,
            pinned=len(self._all) > 1,
            choose=self._targets,
            finish=_unchanged,
        )
        return (await self._intents.ensure(wanted, RequestContext("request", Principal(client.principal)))).created

    async def settle(self) -> None:
        await self._reconciler.run()

    async def drain(self) -> None:
        await self._intents.drain()

    async def _targets(self) -> list[Target]:
        return list(self._all)


async def _unchanged(_target: Target, created: Created) -> Created:
    return created
