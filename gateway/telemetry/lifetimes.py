"""Metrics and log lines of instances that reach their maximum lifetime."""

from collections.abc import Callable
from typing import Any

from gateway.ports.ends import PlannedEnd
from gateway.telemetry.logs import Event, Logger, log_bug
from gateway.telemetry.metrics import Metrics


class LifetimeSignals:
    """Reports what happens to planned ends."""

    def __init__(self, metrics: Metrics, logger: Logger, audit: Callable[[PlannedEnd, str, str], None]) -> None:
        """``audit`` is called with each end, the id of the runtime and the verb."""
        self._audit = audit
        self._metrics = metrics
        self._logger = logger

    def ended(self, end: PlannedEnd, runtime_id: str, verb: str) -> None:
        self._metrics.lifetime_ends.labels(end.provider, "ended").inc()
        self._logger.info(Event.LIFETIME_ENDED, runtime_id=runtime_id, verb=verb, **_fields(end))
        self._audit(end, runtime_id, verb)

    def not_ended(self, end: PlannedEnd, reason: str) -> None:
        """An instance that is due could not be ended; it is tried again."""
        self._metrics.lifetime_ends.labels(end.provider, "failed").inc()
        self._logger.warning(Event.LIFETIME_NOT_ENDED, reason=reason, overdue_seconds=-end.due_in, **_fields(end))

    def overdue(self, seconds: float) -> None:
        """For how long the oldest planned end has been due; 0 without one."""
        self._metrics.lifetime_overdue.set(seconds)

    def failed(self, error: Exception) -> None:
        log_bug(self._logger, error, detail="lifetimes were not checked")


def _fields(end: PlannedEnd) -> dict[str, Any]:
    return {
        "principal": end.principal,
        "provider": end.provider,
        "scope": end.scope,
        "name": end.name,
        "provider_runtime_id": end.runtime_id,
    }
