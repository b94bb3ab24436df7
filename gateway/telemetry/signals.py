"""What use cases report, as log lines and metrics. Log lines contain ids and codes, never what a runtime holds."""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import msgspec

from gateway.domain.access import Principal
from gateway.domain.errors import StoreUnavailable
from gateway.domain.intents import UNSETTLED, Intent, IntentState
from gateway.domain.values import Operation
from gateway.ports.audit import AuditEvent
from gateway.ports.moves import StoredItem, StoredMove
from gateway.ports.places import PlannedEnd
from gateway.ports.store import Counts, DecisionRecord
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
        self._logger.line(logging.INFO, Event.AUDIT, msgspec.structs.asdict(event))

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


class UsageSignals(Signals):
    """Reports samples of what providers have."""

    def __init__(self, metrics: Metrics, logger: Logger) -> None:
        super().__init__(metrics, logger)
        self._seen: dict[str, set[tuple[str, str]]] = {}

    def sampled(
        self, provider: str, counts: Mapping[tuple[str, str], int], costs: Mapping[str, int], priced: int, at: float
    ) -> None:
        """All runtimes of a provider were counted by kind and state. ``costs`` are those of the ``priced`` ones; none
        of them are shown if there are no such runtimes. What is no longer there is shown as 0."""
        seen = self._seen.setdefault(provider, set())
        seen.update(counts)
        for kind, state in seen:
            self._metrics.runtimes.labels(provider, kind, state).set(counts.get((kind, state), 0))
        self._metrics.runtimes_credits.remove_by_labels({"provider": provider})
        for name, amount in costs.items():
            self._metrics.runtimes_credits.labels(provider, name.removesuffix("_credits")).set(amount)
        self._metrics.runtimes_priced.labels(provider).set(priced)
        self._metrics.runtimes_sampled.labels(provider).set(at)

    def failed(self, error: Exception) -> None:
        log_bug(self._logger, error, detail="runtimes were not counted")


def _fields(end: PlannedEnd) -> dict[str, Any]:
    return {
        "principal": end.principal,
        "provider": end.provider,
        "scope": end.scope,
        "name": end.name,
        "provider_runtime_id": end.runtime_id,
    }


class CreateSignals(Signals):
    """Reports the state of the store, and what happens to intents."""

    def store_up(self, down_for: float | None) -> None:
        """The store is available: for the first time (None), or again after ``down_for`` seconds."""
        self._metrics.store_up.set(1)
        if down_for is not None:
            self._logger.info(Event.STORE_UP, down_seconds=round(down_for, 1))

    def store_down(self, reason: str, cause: str | None) -> None:
        """The store is not available, or not yet. ``cause`` is the error of the database or the operating system."""
        self._metrics.store_up.set(0)
        self._logger.error(Event.STORE_DOWN, reason=reason, cause=cause)

    def counted(self, counts: Counts) -> None:
        for state in UNSETTLED:
            self._metrics.intents_open.labels(state).set(counts.unsettled.get(state, 0))
        self._metrics.intent_oldest_age.set(counts.oldest_age)
        self._metrics.intents_surplus.set(counts.surplus)

    def decided(self, decision: DecisionRecord) -> None:
        """An operator decided about an intent since the last check."""
        self._logger.info(
            Event.OPERATOR_DECISION,
            intent_id=decision.intent_id,
            operator=decision.operator,
            decision=decision.decision,
            provider_runtime_id=decision.runtime_id,
            note=decision.note,
        )

    def settled(self, intent: Intent, *, late: bool) -> None:
        """An intent was settled. ``late``: not by the response to the create itself."""
        done_late = late and intent.state is IntentState.DONE
        self._metrics.intents_settled.labels("done_late" if done_late else intent.state).inc()
        if done_late:
            self._log(intent, Event.INTENT_DONE_LATE, self._logger.info)

    def unknown(self, intent: Intent) -> None:
        """The attempts are over, and nothing is proven."""
        self._log(intent, Event.INTENT_UNKNOWN, self._logger.warning)

    def misanswered(self, intent: Intent, answered_id: str) -> None:
        """The provider answered a create with the runtime ``answered_id`` of another name or scope."""
        self._log(intent, Event.MISANSWERED_CREATE, self._logger.error, answered_runtime_id=answered_id)

    def parked(self, intent: Intent) -> None:
        """An operator has to decide."""
        self._log(intent, Event.INTENT_PARKED, self._logger.error)

    def surplus(self, intent: Intent, runtime_id: str) -> None:
        """A second runtime of the create was found. The gateway does not stop it."""
        self._log(intent, Event.SURPLUS_RUNTIME, self._logger.error, surplus_runtime_id=runtime_id)

    def not_written(self, intent_id: str, error: StoreUnavailable) -> None:
        """A result could not be written; it will be found out again."""
        self._logger.warning(Event.INTENT_NOT_WRITTEN, intent_id=intent_id, reason=str(error))

    def failed(self, error: Exception) -> None:
        log_bug(self._logger, error, detail="a create was not settled")

    def _log(self, intent: Intent, event: Event, write: Callable[..., Any], **more: str) -> None:
        write(
            event,
            intent_id=intent.id,
            principal=intent.principal,
            provider=intent.provider,
            scope=intent.scope,
            kind=intent.kind,
            name=intent.name,
            reason=intent.reason,
            provider_runtime_id=intent.runtime_id,
            **more,
        )


class MoveSignals:
    """Reports how moves and their items change."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def changed(self, move: StoredMove) -> None:
        """The mover has changed the state of a move."""
        self._logger.info(Event.MOVE_CHANGED, move=move.id, state=move.state.value)

    def item(self, item: StoredItem, problem: str | None) -> None:
        """A runtime was switched, or brought back, or could not be. ``problem`` is the code of the error."""
        log = self._logger.info if problem is None else self._logger.warning
        log(
            Event.RUNTIME_MOVED,
            move=item.move_id,
            runtime_id=item.runtime_id,
            state=item.state.value,
            target_id=item.target_runtime_id,
            code=problem,
        )

    def failed(self, error: Exception) -> None:
        """The work on a move ended because of a bug in the gateway."""
        log_bug(self._logger, error, detail="a move was interrupted")
