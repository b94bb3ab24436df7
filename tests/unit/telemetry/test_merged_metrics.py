"""The metrics of several workers as one text."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.merged_metrics import NOTHING, MergedMetrics, snapshot
from gateway.telemetry.metrics import Metrics


async def values(*workers: Metrics, gone: bytes = NOTHING) -> dict[str, float]:
    """What one of the workers exposes, by the name, and the values of the labels in the order of their names."""

    async def snapshots() -> list[bytes]:
        return [gone, *(snapshot(worker.registry) for worker in workers)]

    asked = workers[0]
    asked.snapshots = snapshots
    text = (await asked.exposition()).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        "|".join([sample.name, *map(sample.labels.__getitem__, sorted(sample.labels))]): sample.value
        for sample in samples
    }


async def test_counters_and_histograms_are_added_up_by_their_labels() -> None:
    one, two = Metrics(), Metrics()
    for metrics, seconds in ((one, 0.004), (two, 0.004), (two, 3.0)):
        metrics.requests.labels("v1", "getMe", 200, "", "").inc()
        metrics.request_seconds.labels("v1", "getMe").observe(seconds)
    two.requests.labels("v1", "getMe", 503, "overloaded", "gateway").inc()
    two.wrong_keys.inc()
    found = await values(one, two)
    assert found["rtgw_requests_total||getMe||200|v1"] == 3
    assert found["rtgw_requests_total|overloaded|getMe|gateway|503|v1"] == 1
    assert found["rtgw_request_duration_seconds_bucket|0.005|getMe|v1"] == 2
    assert found["rtgw_request_duration_seconds_bucket|+Inf|getMe|v1"] == 3
    assert found["rtgw_request_duration_seconds_sum|getMe|v1"] == pytest.approx(3.008)
    assert found["rtgw_wrong_keys_total"] == 1


async def test_gauges_are_added_up_or_the_worst_value_is_shown() -> None:
    one, two = Metrics(), Metrics()
    for metrics, number in ((one, 1), (two, 3)):
        metrics.requests_in_flight.set(number)
        metrics.bulkhead_limit.labels("main", "read").set(24)
        metrics.store_up.set(number == 1)
        metrics.intents_open.labels("parked").set(5)
        metrics.event_loop_lag.set(number)
        metrics.breaker_state.labels("main", "read", "open").set(number == 3)
        metrics.reload_successful.set(number == 3)
    found = await values(one, two)
    assert found["rtgw_requests_in_flight"] == 4
    assert found["rtgw_bulkhead_limit|read|main"] == 48
    assert found["rtgw_store_up"] == 0
    assert found["rtgw_intents_open|parked"] == 5
    assert found["rtgw_event_loop_lag_seconds"] == 3
    assert found["rtgw_breaker_state|read|main|open"] == 1
    assert found["rtgw_config_last_reload_successful"] == 0
    build = [value for name, value in found.items() if name.startswith("rtgw_build_info")]
    assert build == [1]


async def test_what_ended_workers_have_counted_stays_and_their_gauges_do_not() -> None:
    ended, running = Metrics(), Metrics()
    ended.wrong_keys.inc()
    ended.request_seconds.labels("v1", "getMe").observe(1)
    ended.connections.set(7)
    gone = NOTHING
    for _ in range(2):
        gone = snapshot(MergedMetrics([gone, snapshot(ended.registry)]), gauges=False)
    found = await values(running, gone=gone)
    assert found["rtgw_wrong_keys_total"] == 2
    assert found["rtgw_request_duration_seconds_count|getMe|v1"] == 2
    assert found["rtgw_connections"] == 0


async def test_text_of_one_worker_is_the_same_as_without_workers() -> None:
    metrics = Metrics()
    metrics.requests.labels("v1", "getMe", 200, "", "").inc()
    metrics.request_seconds.labels("v1", "getMe").observe(0.3)
    alone = [line for line in (await metrics.exposition()).decode().splitlines() if "process_" not in line]

    async def snapshots() -> list[bytes]:
        return [snapshot(metrics.registry)]

    metrics.snapshots = snapshots
    assert [line for line in (await metrics.exposition()).decode().splitlines() if "process_" not in line] == alone


async def test_samples_of_a_provider_are_those_of_the_worker_with_the_newest_one() -> None:
    one, two, three = Metrics(), Metrics(), Metrics()
    for metrics, provider, at, states in (
        (one, "main", 100, {"running": 5}),
        (two, "main", 200, {"paused": 2, "running": 3}),
        (one, "other", 300, {"idle": 1}),
        (two, "other", 250, {"idle": 9, "failed": 1}),
    ):
        for state, count in states.items():
            metrics.runtimes.labels(provider, "durable", state).set(count)
        metrics.runtimes_priced.labels(provider).set(len(states))
        metrics.runtimes_sampled.labels(provider).set(at)
    found = {name: value for name, value in (await values(three, one, two)).items() if name.startswith("rtgw_runtimes")}
    assert found == {
        "rtgw_runtimes|durable|main|paused": 2,
        "rtgw_runtimes|durable|main|running": 3,
        "rtgw_runtimes|durable|other|idle": 1,
        "rtgw_runtimes_priced|main": 2,
        "rtgw_runtimes_priced|other": 1,
        "rtgw_runtimes_sample_timestamp_seconds|main": 200,
        "rtgw_runtimes_sample_timestamp_seconds|other": 300,
    }
