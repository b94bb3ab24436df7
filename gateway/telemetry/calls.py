"""Log lines and metrics of calls to providers, beside their outcome."""

from typing import Final

from gateway.domain.operations import Operation
from gateway.ports.transport import Call
from gateway.telemetry.logs import Event, Logger, log_bug
from gateway.telemetry.metrics import Metrics

_MOST_LOGGED: Final = 10


class CallSignals:
    """Reports unreadable rows and bugs. Log lines contain ids, metrics never; neither has data of a row."""

    def __init__(self, metrics: Metrics, logger: Logger) -> None:
        self._metrics = metrics
        self._logger = logger

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
