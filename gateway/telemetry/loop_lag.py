"""How late the event loop runs: the first sign of too much work for one process."""

from typing import Final

from gateway.ports.clock import Clock
from gateway.telemetry.metrics import Metrics

_EVERY_SECONDS: Final = 0.5


async def measure_loop_lag(metrics: Metrics, clock: Clock) -> None:
    """Measure for as long as the task lives."""
    while True:
        due = clock.monotonic() + _EVERY_SECONDS
        await clock.sleep(_EVERY_SECONDS)
        metrics.event_loop_lag.set(max(0.0, clock.monotonic() - due))
