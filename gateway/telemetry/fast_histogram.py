"""A histogram for a single thread: an observation is a binary search and two additions, without the client library's
lock."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
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
