"""The gateway's own counter exposes the same values as the counter of the client library."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest

from gateway.telemetry.fast_histogram import FastCounter

LABELS = ["operation", "status"]


def lines(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(
    st.lists(
        st.tuples(st.sampled_from(["get", "li\nst", 'cr"eate']), st.sampled_from([200, 404, "timeout"])), max_size=20
    )
)
def test_counts_equal_those_of_the_client_library(counted: Sequence[tuple[str, object]]) -> None:
    own, theirs = CollectorRegistry(), CollectorRegistry()
    counts = FastCounter("rtgw_requests", "How many.", LABELS, own)
    counter = Counter("rtgw_requests", "How many.", LABELS, registry=theirs)
    for operation, status in counted:
        counts.labels(operation, status).inc()
        counter.labels(operation, status).inc()
    assert lines(own) == lines(theirs)


def test_duplicate_name_is_refused() -> None:
    registry = CollectorRegistry()
    FastCounter("rtgw_requests", "How many.", LABELS, registry)
    with pytest.raises(ValueError, match="Duplicated"):
        FastCounter("rtgw_requests", "How many.", LABELS, registry)


def test_wrong_number_of_label_values_is_refused() -> None:
    counts = FastCounter("rtgw_requests", "How many.", LABELS, CollectorRegistry())
    with pytest.raises(ValueError, match="operation, status"):
        counts.labels("get")
