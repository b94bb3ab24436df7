"""What use cases report, as log lines and metrics. Log lines contain ids, metrics never do."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import msgspec

from gateway.domain.access import Principal
from gateway.domain.operations import Operation
from gateway.ports.audit import AuditEvent
from gateway.ports.ends import PlannedEnd
from gateway.ports.transport import Call
from gateway.telemetry.logs import Event, Logger, log_bug
from gateway.telemetry.metrics import Metrics

_MOST_LOGGED: Final = 10


class Signals:
    """Base of the signals of each use case."""

    def __init__(self, metrics: Metrics, logger: Logger) -> None:
        self._metrics = metrics
        self._logger = logger


class CallSignals(Signals):
    """Reports unreadable rows and bugs. Log lines contain ids, metrics never; neither has data of a row."""

    def unreadable_rows(self, provider: str, operation: Operation, call: Call) -> None:
        """Log one line for all lists that the operation read, with the first ten rows, and count all rows."""
        self._metrics.unreadable_rows.labels(provider).inc(call.unreadable_count)
        self._logger.warning(
            Event.UNREADABLE_ROWS,
            request_id=call.request_id,
            provider=provider,
            operation=operation,
            count=call.unreadable_count,
            rows=[
                {"id": row.id, "pointer": row.pointer, "problem": row.problem, "cause": row.cause}
                for row in call.unreadable[:_MOST_LOGGED]
            ],
        )

    def unexpected_error(self, provider: str, operation: Operation, request_id: str, error: Exception) -> None:
        """An exception that is not a :class:`GatewayError` was raised: a bug of the gateway or of the adapter."""
        name = type(error).__name__
        log_bug(self._logger, error, request_id=request_id, provider=provider, operation=operation, error=name)


class AccessSignals(Signals):
    """Reports changes of keys and principals, fetches of key sets, and bugs in the background. Log lines contain names
    and ids, never the text of a key or token."""

    def __init__(self, metrics: Metrics, logger: Logger) -> None:
        super().__init__(metrics, logger)
        self._key_sets: dict[str, tuple[int | None, str | None]] = {}

    def changed(self, action: str, by: Principal, principal: str, key_id: str | None = None) -> None:
        """``by`` changed a key or principal."""
        self._logger.info(
            Event.ACCESS_CHANGED, action=action, by=by.name, by_key=by.key_id, principal=principal, key_id=key_id
        )

    def key_set_fetched(self, issuer: str, keys: int | None, problem: str | None) -> None:
        """A fetch has ended: ``keys`` of the issuer's keys are usable, or there was a problem. Logged if the result
        differs from the last one."""
        self._metrics.key_set_fetches.labels(issuer, "ok" if problem is None else "failed").inc()
        if self._key_sets.get(issuer) != (keys, problem):
            self._key_sets[issuer] = keys, problem
            log = self._logger.info if keys else self._logger.warning
            log(Event.KEY_SET, issuer=issuer, keys=keys, detail=problem)

    def moves_not_saved(self, error: OSError) -> None:
        """The file of relocations could not be written."""
        self._logger.error(Event.MOVES_NOT_SAVED, reason=error.strerror or str(error), path=error.filename)

    def failed(self, error: Exception) -> None:
        log_bug(self._logger, error, detail="access data was not read again")


class LimitSignals(Signals):
    """Reports what happens to limits."""

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


class AuditSignals(Signals):
    """Reports events of the audit trail, and what goes wrong with them."""

    def __init__(self, metrics: Metrics, logger: Logger) -> None:
        super().__init__(metrics, logger)
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


class LifetimeSignals(Signals):
    """Reports what happens to the planned ends of instances."""

    def __init__(self, metrics: Metrics, logger: Logger, audit: Callable[[PlannedEnd, str, str], None]) -> None:
        """``audit`` is called with each end, the id of the runtime and the verb."""
        super().__init__(metrics, logger)
        self._audit = audit

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
