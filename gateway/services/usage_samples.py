"""Samples of what providers have, for metrics: only from lists of all runtimes of a provider that were read to their
ends. They come from the requests of callers, and from a slow sweep on one replica for all, if it is switched on.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.domain.errors import StoreUnavailable
from gateway.domain.pages import ListFilter
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet, Provider
from gateway.services.listing import ListQuery, ListService
from gateway.services.participants import Participant
from gateway.services.usage import Tally
from gateway.telemetry.signals import UsageSignals

ROLE: Final = "usage"
"""The name of the role that one replica has: it sweeps for all."""

SWEEP: Final = "usage-sweep"
"""The request id of the sweep's calls, at providers and in logs."""

PAUSE: Final = 0.2
"""Seconds between two pages of a sweep."""

_FRESH: Final = 5.0  # seconds; a list that comes earlier after a sample is not counted


@dataclass(eq=False, repr=False)
class UsageSamples:
    """Takes samples of providers with a fixed scope. Of an open one, no list has everything."""

    _fleet: Fleet
    _listing: ListService
    _observer: UsageSignals
    _taken: dict[str, float] = field(default_factory=dict, init=False)

    def listed(self, provider: Provider, rows: Sequence[Runtime]) -> None:
        """A list of a caller had all runtimes of a provider."""
        if self._age(provider) >= _FRESH:
            self.take(provider, Tally.of(rows), self._fleet.clock.now())

    def take(self, provider: Provider, tally: Tally, at: float) -> None:
        """All runtimes of a provider were counted; the count began ``at`` this time, in seconds since the epoch."""
        if provider.pinned_scope is not None and self._fleet.get(provider.name) is provider:
            self._taken[provider.name] = self._fleet.clock.monotonic()
            self._observer.sampled(provider.name, tally.counts, tally.credits if tally.priced else {}, tally.priced, at)

    async def run(self, every: float, lead: Callable[[str, float], Awaitable[bool]]) -> None:
        """Sweep once in ``every`` seconds, until cancelled, if this process has the role: without the store, none."""
        while True:
            try:
                if await lead(ROLE, 2 * every):
                    await self.sweep(every)
            except StoreUnavailable:
                pass  # the store's own monitor reports it
            except Exception as error:  # noqa: BLE001 (reported; the loop must not end)
                self._observer.failed(error)
            await self._fleet.clock.sleep(every)

    async def sweep(self, every: float) -> None:
        """Count the runtimes of one provider after the other, those without a sample of the last ``every`` seconds."""
        for provider in list(self._fleet):
            if provider.pinned_scope is not None and self._age(provider) >= every:
                await self._count(provider, every)

    async def _count(self, provider: Provider, within: float) -> None:
        clock, tally = self._fleet.clock, Tally()

        async def take(participant: Participant) -> None:
            for runtime in participant.items:
                tally.add(runtime)
            await clock.sleep(PAUSE)

        query, at = ListQuery(filter=ListFilter(), providers=frozenset({provider.name})), clock.now()
        with RequestContext(request_id=SWEEP) as ctx:
            read = await self._listing.read_whole(query, ctx, take, clock.monotonic() + within)
        if all(each.failure is None and each.progress.done for each in read):
            self.take(provider, tally, at)

    def _age(self, provider: Provider) -> float:
        return self._fleet.clock.monotonic() - self._taken.get(provider.name, float("-inf"))
