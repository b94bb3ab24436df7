"""Ends every try in time."""

import math
from collections.abc import Callable
from typing import Final

from gateway.domain.operations import TRAITS, Operation
from gateway.ports.clock import Clock
from gateway.ports.transport import Call, Phase, Transport, TransportFailure, UpstreamRequest, UpstreamResponse
from gateway.upstream.deadlines import Deadlines
from gateway.upstream.wrapping import WrappingTransport

GRACE: Final = 0.05
"""Seconds in which a transport whose time is over may say how far it got, before it is cut off."""


class Deadline(WrappingTransport):
    """Gives a try of a read a ``share`` of the time left, so that there is some for another one, and never more than of
    what a read has alone (``limit``, in seconds): one on the way to a start must not hang for minutes. A call that
    changes something has all the time. What does not promise to end by itself is cut off."""

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
        attempt = Call(now + seconds, call.request_id, call.traceparent, call.settling, caller=call.caller)
        try:
            if self.ends_in_time:
                return await self.inner.send(request, attempt)
            with self._deadlines.within(seconds + GRACE):
                return await self.inner.send(request, attempt)
        except TimeoutError as exc:
            # Where it has not said how far it got, it may have got all the way.
            phase = attempt.attempts[-1].phase if attempt.attempts else Phase.SENT
            raise TransportFailure("timeout", phase, operation=request.operation) from exc
        finally:
            call.attempts += attempt.attempts
            call.provider_date = attempt.provider_date or call.provider_date
