"""Ends every attempt in time."""

import math
from collections.abc import Callable
from typing import Final

from gateway.domain.values import TRAITS, Operation
from gateway.ports.clock import Clock
from gateway.ports.transport import (
    Call,
    Phase,
    Transport,
    TransportFailure,
    UpstreamRequest,
    UpstreamResponse,
    WrappingTransport,
)
from gateway.upstream.deadlines import Deadlines

GRACE: Final = 0.05
"""Seconds that a transport has after its deadline to report how far it got, before it is cancelled."""


class Deadline(WrappingTransport):
    """Gives an attempt of a read a ``share`` of the time left until the call's deadline, so that time is left for
    another attempt, and never more than that share of the read's own ``limit`` in seconds: a read that is part of a
    start must not hang for minutes. A call that changes something has all the time that is left. An inner transport
    that does not end in time by itself (:attr:`Transport.ends_in_time`) is cancelled ``GRACE`` seconds later."""

    def __init__(self, inner: Transport, share: float, clock: Clock, limit: Callable[[Operation], float]) -> None:
        super().__init__(inner)
        self._limits = {
            operation: math.inf if traits.mutates else limit(operation) for operation, traits in TRAITS.items()
        }
        self._shares = {operation: 1.0 if traits.mutates else share for operation, traits in TRAITS.items()}
        self._clock = clock
        self._deadlines = Deadlines()

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        now = self._clock.monotonic()
        seconds = min(call.deadline - now, self._limits[request.operation]) * self._shares[request.operation]
        if seconds <= 0:
            raise TransportFailure("timeout", Phase.QUEUED, operation=request.operation)
        attempt = Call(
            now + seconds,
            call.request_id,
            call.traceparent,
            call.settling,
            caller=call.caller,
            secrets=call.secrets,
            before_write=call.before_write,
        )
        try:
            if self.ends_in_time:
                return await self.inner.send(request, attempt)
            with self._deadlines.within(seconds + GRACE):
                return await self.inner.send(request, attempt)
        except TimeoutError as exc:
            # Without a report of how far it got, the request may have reached the provider.
            phase = attempt.attempts[-1].phase if attempt.attempts else Phase.SENT
            raise TransportFailure("timeout", phase, operation=request.operation) from exc
        finally:
            call.attempts += attempt.attempts
            call.provider_date = attempt.provider_date or call.provider_date
