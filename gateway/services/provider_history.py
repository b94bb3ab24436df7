"""The last hour of each provider by minute, as one gateway process observed it (docs/api.md#providers).

Each minute is the difference between two readings of the counters of the metrics, so it adds no work to a call.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal

import msgspec

from gateway.domain.runtime import Model
from gateway.domain.values import TRAITS, WorkClass
from gateway.ports.clock import Clock
from gateway.services.fleet import Fleet, Provider
from gateway.services.intents.records import rfc3339
from gateway.telemetry.metrics import Metrics

MINUTES: Final = 60

_CLASSES: Final = {operation.value: traits.work for operation, traits in TRAITS.items()}
_REJECTED: Final = frozenset({"401", "403", "408", "429"})
"""Statuses below 500 that count as failures: the provider refuses the gateway's credentials or rate, or timed out."""


class ClassMinute(Model, frozen=True, kw_only=True):
    """The calls of one class of work in a minute. ``failures`` counts those without a useful response by HTTP status,
    or by the reason why there was none. ``p50`` and ``p95`` are durations in seconds, interpolated between the bounds
    of the histogram; null without calls. ``breaker`` is its state at the end of the minute."""

    calls: int
    failures: dict[str, int]
    p50: float | None
    p95: float | None
    breaker: Literal["closed", "open", "half_open"]


class ProviderMinute(Model, frozen=True, kw_only=True):
    """One minute, from ``at`` on (RFC 3339). A class of work without calls and with a closed breaker is left out."""

    at: str
    classes: dict[str, ClassMinute]


class ProviderHistoryView(Model, frozen=True, kw_only=True):
    """The last hour by minute: whole minutes and the present one, oldest first, since the start of the process that
    ``observed_by`` names."""

    object: Literal["provider_history"] = "provider_history"
    provider: str
    items: list[ProviderMinute]
    observed_by: str


class Reading(msgspec.Struct):
    """The sums of one class of work: calls by outcome, and by bucket of their duration."""

    outcomes: dict[str, int]
    buckets: list[int]


class ProviderHistory:
    """Reads the counters once a minute, and keeps the differences."""

    def __init__(self, fleet: Fleet, metrics: Metrics, clock: Clock) -> None:
        self._fleet = fleet
        self._metrics = metrics
        self._clock = clock
        self._last: dict[tuple[str, WorkClass], Reading] = {}
        self._minutes: dict[str, deque[ProviderMinute]] = {}
        self._began = clock.now() // 60 * 60

    async def keep(self) -> None:
        """Close every minute when it is over, until the task is cancelled."""
        while True:
            while (left := self._began + 60 - self._clock.now()) > 0:  # a sleep may end slightly early
                await self._clock.sleep(left)
            self.close_minute()

    def close_minute(self) -> None:
        """Begin a new minute. Providers that the gateway does not have any longer are forgotten."""
        current = self._readings()
        self._minutes = {
            provider.name: self._minutes.get(provider.name, deque(maxlen=MINUTES)) for provider in self._fleet
        }
        for provider in self._fleet:
            self._minutes[provider.name].append(self._since_last(provider, current))
        self._last, self._began = current, self._clock.now() // 60 * 60

    def of(self, provider: Provider) -> list[ProviderMinute]:
        """The whole minutes of a provider and the present one, oldest first."""
        return [*self._minutes.get(provider.name, ()), self._since_last(provider, self._readings())]

    def _readings(self) -> dict[tuple[str, WorkClass], Reading]:
        found: dict[tuple[str, WorkClass], Reading] = {}

        def reading(provider: str, operation: str) -> Reading | None:
            work = _CLASSES.get(operation)
            empty = Reading({}, [0] * (len(self._metrics.upstream_seconds.bounds) + 1))
            return None if work is None else found.setdefault((provider, work), empty)

        for (provider, operation, outcome), count in self._metrics.upstream_requests.items():
            if (sums := reading(provider, operation)) is not None:
                sums.outcomes[outcome] = sums.outcomes.get(outcome, 0) + count
        for (provider, operation), counts in self._metrics.upstream_seconds.items():
            if (sums := reading(provider, operation)) is not None:
                sums.buckets = [sum(pair) for pair in zip(sums.buckets, counts, strict=True)]
        return found

    def _since_last(self, provider: Provider, current: Mapping[tuple[str, WorkClass], Reading]) -> ProviderMinute:
        status, classes = provider.adapter.transport.status(), {}
        for work in WorkClass:
            breaker = status[work].breaker if work in status else "closed"
            now, before = current.get((provider.name, work)), self._last.get((provider.name, work))
            outcomes, buckets = ({}, []) if now is None else _difference(now, before)
            if outcomes or breaker != "closed":
                bounds = self._metrics.upstream_seconds.bounds
                classes[work.value] = ClassMinute(
                    calls=sum(outcomes.values()),
                    failures={outcome: count for outcome, count in outcomes.items() if _is_failure(outcome)},
                    p50=_quantile(bounds, buckets, 0.5),
                    p95=_quantile(bounds, buckets, 0.95),
                    breaker=breaker,
                )
        return ProviderMinute(at=rfc3339(self._began), classes=classes)


def _difference(now: Reading, before: Reading | None) -> tuple[dict[str, int], Sequence[int]]:
    if before is None:
        return now.outcomes, now.buckets
    counts = {outcome: count - before.outcomes.get(outcome, 0) for outcome, count in now.outcomes.items()}
    buckets = [count - old for count, old in zip(now.buckets, before.buckets, strict=True)]
    return {outcome: count for outcome, count in counts.items() if count}, buckets


def _is_failure(outcome: str) -> bool:
    return not outcome.isdigit() or outcome >= "500" or outcome in _REJECTED


def _quantile(bounds: Sequence[float], buckets: Sequence[int], share: float) -> float | None:
    """The duration that this share of the calls did not exceed, in seconds; above the last bound, that bound."""
    sums = list(accumulate(buckets))
    if not sums or sums[-1] == 0:
        return None
    wanted = sums[-1] * share
    at = next(index for index, total in enumerate(sums) if total >= wanted)
    if at == len(bounds):
        return bounds[-1]
    low = bounds[at - 1] if at else 0.0
    inside = (wanted - (sums[at] - buckets[at])) / buckets[at]
    return round(low + (bounds[at] - low) * inside, 6)
