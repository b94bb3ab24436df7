"""The metrics of several processes as one. Values are added up; of some gauges the worst one is shown."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec
from prometheus_client import Metric
from prometheus_client.registry import Collector

_OTHERS: Final[Mapping[str, Callable[[Iterable[float]], float]]] = {
    "rtgw_breaker_state": max,
    "rtgw_event_loop_lag_seconds": max,
    "rtgw_access_data_age_seconds": max,
    "rtgw_build_info": max,
    # All processes read these from the one store or the one folder.
    "rtgw_intents_open": max,
    "rtgw_intent_oldest_age_seconds": max,
    "rtgw_intents_surplus": max,
    "rtgw_lifetime_overdue_seconds": max,
    "rtgw_audit_journal_bytes": max,
    "rtgw_store_up": min,
    "rtgw_limits_storage_up": min,
    "rtgw_provider_credentials_ok": min,
    "rtgw_config_last_reload_successful": min,
    "rtgw_config_last_reload_success_timestamp_seconds": min,
    "process_start_time_seconds": min,
}
"""The gauges that are not added up."""

SAMPLED_AT: Final = "rtgw_runtimes_sample_timestamp_seconds"
_SAMPLES: Final = "rtgw_runtimes"
"""The gauges whose names begin so are samples of a provider: those of the process with the newest one are shown."""

NOTHING: Final = msgspec.msgpack.encode([])
"""A snapshot without metrics."""


class Family(NamedTuple):
    """One metric of a process: its samples by name and labels."""

    name: str
    help: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


def snapshot(registry: Collector, *, gauges: bool = True) -> bytes:
    """The current values of all metrics, or of all but gauges."""
    metrics = [one for one in registry.collect() if gauges or one.type != "gauge"]
    samples = [[(sample.name, sample.labels, sample.value) for sample in one.samples] for one in metrics]
    return msgspec.msgpack.encode(
        [Family(one.name, one.documentation, one.type, of) for one, of in zip(metrics, samples, strict=True)]
    )


class MergedMetrics(Collector):
    """Snapshots as one."""

    def __init__(self, snapshots: Iterable[bytes]) -> None:
        self._families: dict[str, Family] = {}
        self._values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], list[float]]] = {}
        decoded = [msgspec.msgpack.decode(content, type=list[Family]) for content in snapshots]
        newest: dict[str, tuple[float, int]] = {}
        for process, families in enumerate(decoded):
            for family in families:
                for _, labels, at in family.samples if family.name == SAMPLED_AT else ():
                    newest[labels["provider"]] = max(newest.get(labels["provider"], (at, process)), (at, process))
        for process, families in enumerate(decoded):
            for family in families:
                samples = family.samples
                if family.name.startswith(_SAMPLES):
                    samples = [one for one in samples if newest.get(one[1]["provider"], (0, process))[1] == process]
                self._add(family._replace(samples=samples))

    def _add(self, family: Family) -> None:
        found = self._values.setdefault(self._families.setdefault(family.name, family).name, {})
        for name, labels, value in family.samples:
            found.setdefault((name, tuple(labels.items())), []).append(value)

    def collect(self) -> Iterator[Metric]:
        for family in self._families.values():
            metric, combine = Metric(family.name, family.help, family.type), _OTHERS.get(family.name, sum)
            for (name, labels), values in self._values[family.name].items():
                metric.add_sample(name, dict(labels), combine(values))
            yield metric
