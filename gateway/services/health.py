"""Asking the providers how they are, without anybody's request: do they answer, and take the gateway's credentials?"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from gateway.domain.errors import GatewayError, StoreUnavailable
from gateway.domain.operations import Operation
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet, Health, Provider

ROLE: Final = "health"
"""The name under which replicas agree who probes."""

PROBER: Final = "health-probe"
"""The request id that providers and logs see of probes."""

Lead = Callable[[str, float], Awaitable[bool]]
"""Whether this process has a duty (by name) for so many seconds."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How a provider took one probe. ``error`` None: it answered, and takes the credentials."""

    provider: str
    seconds: float
    error: GatewayError | None


class HealthService:
    """Probes providers; what they answer is seen in their health as that of any call. ``timeout`` in seconds."""

    def __init__(self, fleet: Fleet, *, timeout: float, lead: Lead | None = None) -> None:
        """``lead`` says which replica probes on the beat; without it every one does."""
        self.timeout = timeout
        self._fleet = fleet
        self._lead = lead

    async def check(self, provider: Provider) -> Checked:
        """Ask one provider now. No failure of it is raised."""
        clock = self._fleet.clock
        began = clock.monotonic()
        error = None
        with RequestContext(request_id=PROBER, principal="") as ctx:
            try:
                async with self._fleet.call_scope(
                    provider, Operation.LIST, ctx, at_most=self.timeout, probing=True
                ) as call:
                    await provider.adapter.check_credentials(call)
            except GatewayError as exc:
                error = exc
        return Checked(provider.name, clock.monotonic() - began, error)

    async def check_all(self, providers: Iterable[Provider] | None = None) -> list[Checked]:
        """Ask all of ``providers`` (of the fleet, if left out) side by side."""
        return list(await asyncio.gather(*map(self.check, self._fleet if providers is None else providers)))

    async def probe_round(self, seconds: float) -> None:
        """Ask all, unless another replica has the duty; it has it for two beats of ``seconds``, so that one late beat
        loses it to nobody. While the store cannot say who has it, every replica asks. And every one asks those that it
        saw failing itself: without requests it would tell so for ever."""
        try:
            leads = self._lead is None or await self._lead(ROLE, 2 * seconds)
        except StoreUnavailable:
            leads = True
        await self.check_all([provider for provider in self._fleet if leads or _looks_bad(provider.health)])


def _looks_bad(health: Health) -> bool:
    return health.failing or health.credentials_ok is False
