"""The gateway's own use cases as a replica of the simulated world runs them."""

from base64 import b64encode
from functools import lru_cache
from typing import Final

from pydantic import SecretStr

from gateway.domain.operations import Operation
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest
from gateway.domain.validation import validate
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
from gateway.services.routing import Target
from gateway.settings import CreatesSettings
from gateway.storage.sealing import Keyring
from tests.faults.simulator.world import LEASE_MARGIN, SEND_WITHIN, WAIT_OUT, Ask, Material

RULES: Final = CreatesSettings(
    wait_out=WAIT_OUT, join_wait=0.5, send_within=SEND_WITHIN, lease_margin=LEASE_MARGIN, settle_every=11.0
)
_SEALER: Final = Keyring([SecretStr(b64encode(bytes(range(32))).decode())])


@lru_cache
def request_of(kind: str, name: str) -> CreateRequest:
    """A create that names nothing but its name."""
    return validate(CREATE_REQUESTS[kind], {"kind": kind, "name": name})


class IntentGateway:
    """Intents, and the reconciler, in one process."""

    def __init__(self, made: Material) -> None:
        fleet = Fleet(made.adapters, made.clock)
        self._all = [Target(provider, "home") for provider in fleet]
        self._kind = min(made.adapters[0].kinds)
        parts = CreateContext(
            fleet=fleet,
            store=made.store,
            targets=TargetResolver(fleet, _SEALER),
            payloads=PayloadSealer(_SEALER),
            clock=made.clock,
            rules=RULES,
        )
        self._intents = IntentService(parts)
        self._reconciler = Reconciler(parts)

    async def create(self, ask: Ask) -> Created:
        request = request_of(self._kind, ask.name)
        wanted = CreateCommand(
            request=request,
            document=document_of(request),
            key=ask.key,
            operation=Operation.CREATE,
            judged=True,
            name_is_new=False,
            pinned=len(self._all) > 1,
            choose=self._targets,
            finish=_as_it_is,
        )
        return (await self._intents.ensure(wanted, RequestContext("request", ask.principal))).created

    async def settle(self) -> None:
        await self._reconciler.run()

    async def drain(self) -> None:
        await self._intents.drain()

    async def _targets(self) -> list[Target]:
        return list(self._all)


async def _as_it_is(_target: Target, created: Created) -> Created:
    return created
