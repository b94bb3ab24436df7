"""How the long run over mixed requests is judged."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.soak import Sample, judged, queued

START = Sample(sent=0, memory=80, descriptors=20, tasks=20, objects={"builtins.dict": 2_000})
FLAT = Sample(sent=0, memory=105, descriptors=60, tasks=32, objects={"builtins.dict": 30_000})


def samples(**grows: Any) -> list[Sample]:
    """Twenty equal shares of a million requests: flat after the first, except what grows in each share."""
    made = [START]
    for number in range(1, 21):
        changes = {name: getattr(FLAT, name) + number * by for name, by in grows.items() if name != "objects"}
        objects = {"builtins.dict": 30_000 + number * grows.get("objects", 0)}
        made.append(replace(FLAT, sent=number * 50_000, objects=objects, **changes))
    return made


def test_growth_before_the_end_of_the_warm_up_is_flat() -> None:
    assert list(judged(samples())) == []


@pytest.mark.parametrize(
    ("grows", "expected"),
    [
        ({"memory": 1}, "memory, MiB: 110 → 122"),
        ({"descriptors": 4}, "descriptors: 78 → 130"),
        ({"tasks": 1}, "tasks: 36 → 50"),
        ({"objects": 5_000}, "objects of builtins.dict: 52,500 → 117,500"),
    ],
)
def test_growth_after_the_warm_up_is_named(grows: dict[str, int], expected: str) -> None:
    assert list(judged(samples(**grows))) == [expected]


def test_bounded_cache_that_fills_slowly_is_flat() -> None:
    assert list(judged(samples(objects=500))) == []


def test_queue_that_is_not_empty_is_named() -> None:
    metrics = (
        "# TYPE rtgw_waiting gauge\nrtgw_waiting 0.0\nrtgw_requests_in_flight 0.0\n"
        'rtgw_bulkhead_waiting{class="read",provider="durable"} 3.0\nrtgw_connections 5.0\n'
    )
    assert queued(metrics) == {'bulkhead_waiting{class="read",provider="durable"}': 3.0}
