"""Active health checks: whether the providers respond and accept the gateway's credentials."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from gateway.domain.errors import GatewayError, StoreUnavailable
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet, Health, Provider

ROLE: Final = "health"
"""The name of the role that one replica has: it probes for all."""

PROBER: Final = "health-probe"
"""The request id of probes, at providers and in logs."""

Lead = Callable[[str, float], Awaitable[bool]]
"""Takes or renews a role (by name) for a number of seconds. Returns whether this process has it; raises
:class:`StoreUnavailable`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of one probe. ``error`` None: the provider responded and accepts the credentials."""

    provider: str
    seconds: float
    error: GatewayError | None


class HealthService:
    """Probes providers. The results update their health, as those of all calls do. ``timeout`` is in seconds."""

    def __init__(self, fleet: Fleet, *, timeout: float, lead: Lead | None = None) -> None:
        """``lead`` decides which replica probes regularly; without it, every replica does."""
        self.timeout = timeout
        self._fleet = fleet
        self._lead = lead

    async def check(self, provider: Provider) -> Checked:
        """Probe one provider now. Its failures are returned, not raised."""
        clock = self._fleet.clock
        began = clock.monotonic()
        error = None
        with RequestContext(request_id=PROBER) as ctx:
            try:
                async with self._fleet.call_scope(
                    provider, Operation.LIST, ctx, at_most=self.timeout, probing=True
                ) as call:
                    await provider.adapter.check_credentials(call)
            except GatewayError as exc:
                error = exc
        return Checked(provider.name, clock.monotonic() - began, error)

    async def check_all(self, providers: Iterable[Provider] | None = None) -> list[Checked]:
        """Probe ``providers`` (by default the fleet) concurrently."""
        return list(await asyncio.gather(*map(self.check, self._fleet if providers is None else providers)))

    async def probe_round(self, seconds: float) -> None:
        """Probe all providers if this replica has the role. It takes the role for two intervals of ``seconds``, so that
        one late round does not lose it. While the store is unavailable, every replica probes.

        A replica without the role probes only the providers that it saw failing itself; otherwise, without requests, it
        would report them as failing forever."""
        try:
            leads = self._lead is None or await self._lead(ROLE, 2 * seconds)
        except StoreUnavailable:
            leads = True
        await self.check_all([provider for provider in self._fleet if leads or _looks_bad(provider.health)])


def _looks_bad(health: Health) -> bool:
    return health.failing or health.credentials_ok is False
