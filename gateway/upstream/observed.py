"""Counts and logs every upstream attempt of the transport it wraps."""

from functools import cache
from typing import Final

from gateway.ports.transport import Call, Phase, Transport, UpstreamRequest, UpstreamResponse
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.wrapping import WrappingTransport

_LABELS: Final = {phase: phase.label for phase in Phase}


class ObservedTransport(WrappingTransport):
    """Wraps the transport of one provider. It changes nothing about what is sent or answered."""

    def __init__(self, inner: Transport, provider: str, metrics: Metrics, logger: Logger) -> None:
        super().__init__(inner)
        self._provider = provider
        # Labels are bounded, and looking them up anew costs as much as counting.
        self._requests = cache(metrics.upstream_requests.labels)
        self._seconds = cache(metrics.upstream_seconds.labels)
        self._logger = logger

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        # Calls for one request may run side by side and share a list: only this send's own attempts count here.
        own = Call(call.deadline, call.request_id, call.traceparent)
        response: UpstreamResponse | None = None
        try:
            response = await self.inner.send(request, own)
        finally:
            call.attempts += own.attempts
            call.provider_date = own.provider_date or call.provider_date
            for attempt in own.attempts:
                self._requests(self._provider, attempt.operation, attempt.outcome).inc()
                self._seconds(self._provider, attempt.operation).observe(attempt.seconds)
                self._logger.info(
                    Event.UPSTREAM,
                    request_id=call.request_id,
                    provider=self._provider,
                    operation=attempt.operation,
                    method=request.method,
                    outcome=attempt.outcome,
                    phase=_LABELS[attempt.phase],
                    duration_ms=round(attempt.seconds * 1000, 3),
                    provider_request_id=response.headers.get("X-Request-ID") if response is not None else None,
                )
        return response
