"""The gateway's own histogram exposes the same values as the histogram of the client library."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from gateway.telemetry.fast_histogram import FastHistogram

BOUNDS = (0.001, 0.01, 0.5, 240)
LABELS = ["surface", "operation"]


def lines(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.sampled_from(BOUNDS) | st.floats(min_value=0, max_value=1e6), max_size=20))
def test_buckets_equal_those_of_the_client_library(seconds: Sequence[float]) -> None:
    own, theirs = CollectorRegistry(), CollectorRegistry()
    durations = FastHistogram("rtgw_seconds", "How long.", LABELS, BOUNDS, own)
    histogram = Histogram("rtgw_seconds", "How long.", LABELS, buckets=BOUNDS, registry=theirs)
    for number, duration in enumerate(seconds):
        durations.labels("api", f"operation-{number % 2}").observe(duration)
        histogram.labels("api", f"operation-{number % 2}").observe(duration)
    assert lines(own) == lines(theirs)


def test_duplicate_name_is_refused() -> None:
    registry = CollectorRegistry()
    FastHistogram("rtgw_seconds", "How long.", LABELS, BOUNDS, registry)
    with pytest.raises(ValueError, match="Duplicated"):
        FastHistogram("rtgw_seconds", "How long.", LABELS, BOUNDS, registry)


def test_wrong_number_of_label_values_is_refused() -> None:
    durations = FastHistogram("rtgw_seconds", "How long.", LABELS, BOUNDS, CollectorRegistry())
    with pytest.raises(ValueError, match="surface, operation"):
        durations.labels("api")
