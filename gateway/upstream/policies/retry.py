"""Repeats calls that another attempt may complete, and that cannot take effect twice."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.domain.values import TRAITS, Operation, WorkClass
from gateway.ports.clock import Clock
from gateway.ports.error_mapping import retry_after_seconds
from gateway.ports.policies import RetrySettings
from gateway.ports.transport import (
    Call,
    Phase,
    Transport,
    TransportFailure,
    UpstreamRequest,
    UpstreamResponse,
    WrappingTransport,
)

_NEVER_CONNECTED: Final = frozenset({"refused", "dns", "timeout", "disconnected"})
_READS_ONLY: Final = frozenset({"timeout", "disconnected"})
_STATUSES_OF_READS: Final = frozenset({429, 502, 503, 504})
_BURST: Final = 10.0


@dataclass(slots=True, eq=False, repr=False)
class Budget:
    """The retry budget of one class of work: each request adds ``share`` of a retry, up to a burst of 10."""

    _share: float
    left: float = _BURST

    def earn(self) -> None:
        """Add the share of one request."""
        if self.left < _BURST:
            self.left = min(self.left + self._share, _BURST)

    def spend(self) -> bool:
        """Take one retry from the budget; False when less than one is left."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Retry(WrappingTransport):
    """An allow list by failure and operation.

    Any call that never got a connection is retried. With a connection only reads are: when it broke, when the attempt
    timed out, and after 429, 502, 503 and 504. A ``Retry-After`` is respected if it is at most ``max_backoff`` and the
    time left. The pauses are added to :attr:`Call.queued`. ``retried`` is called for each retry with the failure's
    reason or the status.
    """

    def __init__(
        self,
        inner: Transport,
        settings: RetrySettings,
        clock: Clock,
        retried: Callable[[str], None],
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        super().__init__(inner)
        self._settings = settings
        self._clock = clock
        self._retried = retried
        self._draw = draw
        budgets = {work: Budget(settings.budget) for work in WorkClass}
        self._budgets = {operation: budgets[traits.work] for operation, traits in TRAITS.items()}

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        self._budgets[request.operation].earn()
        last = min(call.deadline, self._clock.monotonic() + self._settings.total_seconds)
        tries = 0
        before: TransportFailure | None = None
        while True:
            tries += 1
            try:
                response = await self.inner.send(request, call)
            except TransportFailure as failure:
                pause = self._pause(request.operation, tries, last, failure)
                if pause is None:
                    if before is not None and failure.reason == "timeout" and before.phase > failure.phase:
                        raise before from failure  # an attempt before got further than the one that ran out of time
                    raise
                reason, before = failure.reason, failure
            else:
                if response.status not in _STATUSES_OF_READS:
                    return response
                pause = self._pause(request.operation, tries, last, response)
                if pause is None:
                    return response
                reason = str(response.status)
            self._retried(reason)
            await self._clock.sleep(pause)
            call.queued += pause

    def _pause(
        self, operation: Operation, tries: int, last: float, outcome: TransportFailure | UpstreamResponse
    ) -> float | None:
        """Seconds until the next attempt; None after the last one."""
        settings = self._settings
        if tries >= settings.tries or not _may_help(operation, outcome):
            return None
        pause = self._draw(0, min(settings.backoff * 2 ** (tries - 1), settings.max_backoff))
        if isinstance(outcome, UpstreamResponse):
            asked = retry_after_seconds(outcome.headers) or 0
            if asked > settings.max_backoff:  # the caller can wait without occupying a slot
                return None
            pause += asked
        if self._clock.monotonic() + pause >= last or not self._budgets[operation].spend():
            return None
        return pause


def _may_help(operation: Operation, outcome: TransportFailure | UpstreamResponse) -> bool:
    reads = not TRAITS[operation].mutates
    if isinstance(outcome, UpstreamResponse):
        return reads
    if outcome.phase <= Phase.CONNECTING:
        return outcome.reason in _NEVER_CONNECTED
    return reads and outcome.reason in _READS_ONLY
