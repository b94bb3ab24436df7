"""A histogram and a counter for a single thread: an observation is a binary search and two additions, a count is one
addition, without the client library's lock and checks."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Series:
    """The observations of one set of labels. Only the thread of the event loop may add to them."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Add one observation, in seconds."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds


class FastHistogram(Collector):
    """A histogram of seconds. ``bounds`` are the inclusive upper bounds of its buckets, in ascending order."""

    def __init__(
        self, name: str, help_: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._help, self._labels, self.bounds = name, help_, labels, bounds
        self._words = [*map(floatToGoString, bounds), "+Inf"]
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """Return the series of these label values, given in the order of the labels.

        Raises ``ValueError`` for another number of values.
        """
        if len(values) != len(self._labels):
            raise ValueError(f"{self._name} has the labels {', '.join(self._labels)}")
        return self._series.setdefault(tuple(map(str, values)), Series(self.bounds))

    def items(self) -> Iterator[tuple[tuple[str, ...], Sequence[int]]]:
        """The label values of each series, with the number of its observations in each bucket."""
        return ((values, series.counts) for values, series in self._series.items())

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._help, labels=self._labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        for values, series in self._series.items():
            family.add_metric(values, list(zip(self._words, accumulate(series.counts), strict=True)), series.total)
        yield family


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
