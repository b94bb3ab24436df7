"""A counter for a single thread: counting is one addition, without the lock and the checks of the client library."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


@dataclass(slots=True, eq=False, repr=False)
class Count:
    """The count of one set of labels. Only the thread of the event loop may increase it."""

    value: int = 0

    def inc(self) -> None:
        self.value += 1


class FastCounter(Collector):
    def __init__(self, name: str, help_: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._help, self._labels = name, help_, labels
        self._counts: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: object) -> Count:
        """Return the count of these label values, given in the order of the labels.

        Raises ``ValueError`` for another number of values.
        """
        if len(values) != len(self._labels):
            raise ValueError(f"{self._name} has the labels {', '.join(self._labels)}")
        return self._counts.setdefault(tuple(map(str, values)), Count())

    def items(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """The label values of each series, with its count."""
        return ((values, count.value) for values, count in self._counts.items())

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._help, labels=self._labels)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric(values, count.value)
        yield family
