"""Metrics and log lines of limits."""

from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics


class LimitSignals:
    """Reports what happens to limits."""

    def __init__(self, metrics: Metrics, logger: Logger) -> None:
        self._metrics = metrics
        self._logger = logger

    def refused(self, limit: str) -> None:
        """A request was refused."""
        self._metrics.limit_refusals.labels(limit).inc()

    def shared(self, reason: str | None) -> None:
        """The storage can be reached again (None), or not any more, for this reason."""
        self._metrics.limits_shared.set(reason is None)
        if reason is None:
            self._logger.info(Event.LIMITS_STORAGE_UP)
        else:
            self._logger.warning(Event.LIMITS_STORAGE_DOWN, reason=reason)

    def counted_alone(self) -> None:
        """A request was counted in this process only, although there is a storage."""
        self._metrics.limits_counted_alone.inc()
