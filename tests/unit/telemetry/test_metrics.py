"""The exposition of the metrics: the process itself is in it, and no series is only a time of creation."""

from pathlib import Path

import pytest

from gateway.telemetry.metrics import Metrics


def test_process_metrics_are_those_of_this_process() -> None:
    sample = Metrics().registry.get_sample_value
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    assert sample("process_open_fds") == pytest.approx(descriptors, abs=3)
    assert (sample("process_resident_memory_bytes") or 0) > 1_000_000
    assert (sample("process_cpu_seconds_total") or 0) > 0
    assert (sample("process_start_time_seconds") or 0) > 0


async def test_no_series_is_a_time_of_creation() -> None:
    metrics = Metrics()
    metrics.wrong_keys.inc()
    metrics.upstream_retries.labels("one", "timeout").inc()
    metrics.requests.labels("v1", "getMe", 200, "", "").inc()
    metrics.request_seconds.labels("v1", "getMe").observe(0.1)
    exposed = (await metrics.exposition()).decode()
    assert "rtgw_wrong_keys_total 1.0" in exposed
    assert "_created" not in exposed
