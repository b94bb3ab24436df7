"""Metrics and log lines of creates and their store."""

from collections.abc import Callable
from typing import Any

from gateway.domain.errors import StoreUnavailable
from gateway.domain.intents import UNSETTLED, Intent, IntentState
from gateway.ports.store import Counts, DecisionRecord
from gateway.telemetry.logs import Event, log_bug
from gateway.telemetry.signals import Signals


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
