"""Limits guesses: wrong keys are counted per client address."""

from itertools import count
from typing import Final

from cachetools import TTLCache

from gateway.domain.access import share
from gateway.domain.errors import RateLimited
from gateway.ports.clock import Clock
from gateway.telemetry.metrics import Metrics

MOST: Final = 20
"""Wrong keys of one address in :data:`WINDOW` seconds that are 401; more are 429. Several workers share them."""
WINDOW: Final = 60.0
ADDRESSES: Final = 10_000
"""Addresses that are counted at the same time; the one that was not seen for the longest time is forgotten first."""


class WrongKeys:
    """The wrong keys of the last minute. A right key is not affected by them."""

    def __init__(self, metrics: Metrics, clock: Clock, workers: int = 1) -> None:
        self._clock = clock
        self._most = share(MOST, workers)
        self._wrong = metrics.wrong_keys
        # Per address: the end of its window, and the number of its next wrong key. Counting does not renew an entry.
        self._seen: TTLCache[str, tuple[float, count[int]]] = TTLCache(ADDRESSES, WINDOW, timer=clock.monotonic)

    def count(self, address: str) -> None:
        """Count a wrong key. Raises :class:`RateLimited` for the next one after :data:`MOST`."""
        self._wrong.inc()
        now = self._clock.monotonic()
        end, seen = self._seen.setdefault(address, (now + WINDOW, count(1)))
        if next(seen) > self._most:
            detail = f"More than {self._most} wrong keys came from this address within a minute."
            raise RateLimited(detail, retry_after=max(end - now, 1.0))
