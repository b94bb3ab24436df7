"""Counts and logs every upstream attempt of the transport it wraps."""

from dataclasses import replace

from gateway.ports.transport import Call, Transport, UpstreamRequest, UpstreamResponse
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics


class ObservedTransport(Transport):
    """Wraps the transport of one provider. It changes nothing about what is sent or answered."""

    def __init__(self, inner: Transport, provider: str, metrics: Metrics, logger: Logger) -> None:
        self._inner = inner
        self._provider = provider
        self._metrics = metrics
        self._logger = logger

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        # Calls for one request may run side by side and share a list: only this send's own attempts count here.
        own = replace(call, attempts=[])
        response: UpstreamResponse | None = None
        try:
            response = await self._inner.send(request, own)
        finally:
            call.attempts += own.attempts
            for attempt in own.attempts:
                operation = str(attempt.operation)
                self._metrics.upstream_requests.labels(self._provider, operation, attempt.outcome).inc()
                self._metrics.upstream_seconds.labels(self._provider, operation).observe(attempt.seconds)
                self._logger.info(
                    Event.UPSTREAM,
                    request_id=call.request_id,
                    provider=self._provider,
                    operation=operation,
                    method=request.method,
                    outcome=attempt.outcome,
                    phase=attempt.phase.label,
                    duration_ms=round(attempt.seconds * 1000, 3),
                    provider_request_id=response.headers.get("X-Request-ID") if response is not None else None,
                )
        return response

    async def close(self) -> None:
        await self._inner.close()
