"""The audit trail as log lines, and the metrics about it."""

from functools import cache

import msgspec

from gateway.ports.audit import AuditEvent
from gateway.telemetry.logs import Event, Logger, log_bug
from gateway.telemetry.metrics import Metrics


class AuditSignals:
    """Reports events, and what goes wrong with them."""

    def __init__(self, metrics: Metrics, logger: Logger) -> None:
        self._logger = logger
        self._recorded = cache(metrics.audit_events.labels)
        self._lost = metrics.dropped.labels("audit_event")

    def recorded(self, event: AuditEvent) -> None:
        self._recorded(event.outcome).inc()
        self._logger.info(Event.AUDIT, **msgspec.structs.asdict(event))

    def not_journaled(self, error: OSError) -> None:
        """The journal cannot be written any more; events are kept in memory."""
        self._logger.error(Event.AUDIT_JOURNAL_FAILED, reason=error.strerror or repr(error), path=error.filename)

    def lost(self, event_id: str) -> None:
        """An event will not be in the store: the journal cannot be written, and the memory for events is full. Or a
        whole line of the journal is unreadable, and so is its id."""
        self._lost.inc()
        self._logger.error(Event.AUDIT_EVENT_LOST, id=event_id)

    def failed(self, error: Exception) -> None:
        """Events were not moved because of a bug, or of a journal that cannot be read."""
        log_bug(self._logger, error, detail="audit events were not moved")
