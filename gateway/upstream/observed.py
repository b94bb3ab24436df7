"""Counts and logs every upstream attempt of the transport it wraps."""

from functools import cache, partial
from typing import Final

from multidict import istr

from gateway.ports.transport import Call, Phase, Transport, UpstreamRequest, UpstreamResponse
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.wrapping import WrappingTransport

_REQUEST_ID: Final = istr("X-Request-ID")
_LABELS: Final = {phase: phase.label for phase in Phase}


class ObservedTransport(WrappingTransport):
    """Wraps the transport of one provider, which adds one attempt to the call as it ends. It changes nothing about what
    is sent or answered."""

    def __init__(self, inner: Transport, provider: str, metrics: Metrics, logger: Logger) -> None:
        super().__init__(inner)
        # Labels are bounded, and looking them up anew costs as much as counting.
        self._requests = cache(partial(metrics.upstream_requests.labels, provider))
        self._seconds = cache(partial(metrics.upstream_seconds.labels, provider))
        self._logger = logger.bind(provider=provider)

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        response: UpstreamResponse | None = None
        try:
            response = await self.inner.send(request, call)
        finally:
            # Calls that run side by side may share the list, but none had a turn since the last one was added.
            attempt = call.attempts[-1]
            self._requests(attempt.operation, attempt.outcome).inc()
            self._seconds(attempt.operation).observe(attempt.seconds)
            self._logger.info(
                Event.UPSTREAM,
                operation=attempt.operation,
                method=request.method,
                outcome=attempt.outcome,
                phase=_LABELS[attempt.phase],
                duration_ms=round(attempt.seconds * 1000, 3),
                provider_request_id=response.headers.get(_REQUEST_ID) if response is not None else None,
            )
        return response
