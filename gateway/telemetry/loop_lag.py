"""Measures the lag of the event loop, which is the first sign that one process has too much work."""

from typing import Final

from gateway.ports.clock import Clock
from gateway.telemetry.metrics import Metrics

_EVERY_SECONDS: Final = 0.5


async def measure_loop_lag(metrics: Metrics, clock: Clock) -> None:
    """Measure the lag every half second, until the task is cancelled."""
    while True:
        due = clock.monotonic() + _EVERY_SECONDS
        await clock.sleep(_EVERY_SECONDS)
        metrics.event_loop_lag.set(max(0.0, clock.monotonic() - due))
