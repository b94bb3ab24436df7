"""Forwards requests to one provider unchanged: with its credentials, never to another host, streaming both ways.

It has its own connections, so that streams that last for hours take none from the use cases' calls. There is no total
timeout; a request ends when no byte was sent or received for too long.
"""

from collections.abc import Callable
from typing import Final

from multidict import CIMultiDict, istr

from gateway.domain.errors import Overloaded
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.native import Rules
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Attempt
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.exchange import Exchange
from gateway.upstream.http1.origin import Origin
from gateway.upstream.observed import AttemptLog
from gateway.upstream.transport import USER_AGENT

NATIVE: Final = "native"
"""The operation of these requests in metrics and logs."""

_LONG: Final = 8  # characters
_REQUEST_ID: Final = istr("X-Request-ID")
_TRACEPARENT: Final = istr("traceparent")
_USER_AGENT: Final = istr("User-Agent")


class PassThrough:
    """The pass-through to one provider. ``rules`` are the allowed requests; ``calls`` is the number of requests in
    flight; ``credential_names`` are the headers that carry the provider's credentials; ``rate`` is that of the
    account, or None."""

    def __init__(self, settings: ProviderSettings, *, metrics: Metrics, logger: Logger, clock: Clock) -> None:
        self.name = settings.name
        self.limits = settings.native
        self.rate = settings.limits.rate
        self.rules = Rules(settings.native.allow)
        self.base_url = settings.base_url
        self._settings = settings
        self._credentials = settings.credential_headers()
        self.credential_names = frozenset(self._credentials)
        self._token = settings.token.get_secret_value()
        self._dropped = metrics.dropped.labels("native")
        self._log = AttemptLog(self.name, metrics, logger)
        self._clock = clock
        self.origin = Origin(settings, limit=settings.native.max_in_flight)
        self.calls = 0
        metrics.native_in_flight.labels(self.name).set_function(lambda: self.calls)
        metrics.native_in_flight_limit.labels(self.name).set(self.limits.max_in_flight)

    def exchange(self, ctx: RequestContext) -> Exchange:
        """The exchange of one request, to be sent to :attr:`origin`. It counts as in flight from now on, so it has to
        be entered at once.

        Raises :class:`Overloaded` when ``native.max_in_flight`` requests are in flight.
        """
        if self.calls >= self.limits.max_in_flight:
            self._dropped.inc()
            raise Overloaded(
                f"As many requests as providers.{self.name}.native.max_in_flight allows "
                f"({self.limits.max_in_flight}) are on their way to the provider {self.name}.",
                provider=self.name,
            )
        self.calls += 1
        return Exchange(
            self._finished(ctx, self._clock.monotonic()),
            self.origin.deadlines,
            caller=ctx.principal.name,
            until_response=self.limits.answer_timeout,
            between=self._settings.read_timeout,
        )

    def sign(self, headers: CIMultiDict[str], ctx: RequestContext) -> None:
        """Add the gateway's own headers: credentials, request id, trace context, and a user agent if the caller sent
        none."""
        headers.update(self._credentials)
        headers[_REQUEST_ID] = ctx.request_id
        if ctx.traceparent is not None:
            headers[_TRACEPARENT] = ctx.traceparent
        if _USER_AGENT not in headers:
            headers[_USER_AGENT] = USER_AGENT

    def without_credentials(self, value: str) -> str:
        """A header's value without the provider's token, which a provider may echo. (A token that is too short to be
        distinguished from other text is not replaced.)"""
        return value.replace(self._token, "[redacted]") if self._token in value and len(self._token) >= _LONG else value

    def _finished(self, ctx: RequestContext, began: float) -> Callable[[Exchange, str], None]:
        def finished(exchange: Exchange, outcome: str) -> None:
            self.calls -= 1
            seconds = self._clock.monotonic() - began
            attempt = Attempt(self.name, NATIVE, outcome, seconds, exchange.phase)
            ctx.attempts.append(attempt)
            headers = exchange.response.headers if exchange.response is not None else None
            self._log.record(attempt, exchange.method, headers, (self._token,))

        return finished

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self.origin.pool.close()
