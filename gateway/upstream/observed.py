"""Counts, times and logs the attempts at providers."""

import logging
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Final

from multidict import istr

from gateway.ports.redaction import MAX_REQUEST_ID, short_redacted
from gateway.ports.transport import Attempt, Phase
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics

_REQUEST_ID: Final = istr("X-Request-ID")
_LABELS: Final = {phase: phase.label for phase in Phase}


class AttemptLog:
    """Counts, times and logs the attempts at one provider."""

    def __init__(self, provider: str, metrics: Metrics, logger: Logger) -> None:
        # The labels have few values, and looking a series up again costs as much as counting.
        self._requests = cache(partial(metrics.upstream_requests.labels, provider))
        self._seconds = cache(partial(metrics.upstream_seconds.labels, provider))
        self._logger = logger.bind(provider=provider)

    def record(self, attempt: Attempt, method: str, headers: Mapping[str, str] | None, secrets: Sequence[str]) -> None:
        """Record one attempt. ``headers`` are those of the provider's response, None if there was none; ``secrets`` may
        be in them."""
        request_id = headers.get(_REQUEST_ID) if headers is not None else None
        self._requests(attempt.operation, attempt.outcome).inc()
        self._seconds(attempt.operation).observe(attempt.seconds)
        self._logger.line(
            logging.INFO,
            Event.UPSTREAM,
            {
                "operation": attempt.operation,
                "method": method,
                "outcome": attempt.outcome,
                "phase": _LABELS[attempt.phase],
                "duration_ms": round(attempt.seconds * 1000, 3),
                "provider_request_id": short_redacted(request_id, secrets, MAX_REQUEST_ID),
            },
        )
