"""The limits of a caller, and of a provider's account (docs/access.md#limits)."""

import math
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self

from gateway.domain.errors import RateLimited, Source

OF_ACCOUNT: Final = "provider_requests"
"""The name of the limit of the requests to a provider's account."""

_ROUNDING: Final = 0.001  # seconds; a request is admitted only after the moment at which a place becomes free


def share(bound: int, workers: int) -> int:
    """One worker's part of a bound: at least 1, unless the bound is 0."""
    return max(bound // workers, min(bound, 1))


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``amount`` requests in any ``seconds`` seconds, as a sliding window estimates it."""

    amount: int
    seconds: int

    def share(self, workers: int) -> Self:
        """The part of one of several workers, of which each counts alone."""
        return self if workers == 1 else replace(self, amount=share(self.amount, workers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a principal may use; None: any number. ``requests`` is its rate. ``running`` is the number of its instances
    that start, run or stop, ``runtimes`` that of its runtimes that are not stopped, failed or deleted, ``connections``
    that of its connections through the data plane of each process."""

    requests: Rate | None = None
    running: int | None = None
    runtimes: int | None = None
    connections: int | None = None

    @property
    def has_places(self) -> bool:
        """Whether the number of runtimes, or of those that run, is limited."""
        return self.running is not None or self.runtimes is not None


class Window(NamedTuple):
    """The requests of the current window and of the one before it. ``left``: the seconds until the current one ends."""

    previous: int
    current: int
    left: float

    def used(self, rate: Rate) -> int:
        """The estimated number of requests in the last ``rate.seconds`` seconds: those of the previous window count as
        far as it overlaps with them."""
        return math.floor(self.previous * self.left / rate.seconds) + self.current

    def wait(self, rate: Rate) -> float:
        """In how many seconds one more request is admitted, if the rate is used up."""
        if self.current >= rate.amount or not self.previous:
            return self.left + _ROUNDING
        return max(self.left - rate.seconds * (rate.amount - self.current) / self.previous, 0.0) + _ROUNDING


def rate_headers(rate: Rate, window: Window) -> tuple[str, str]:
    """The values of ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-11)."""
    remaining = max(rate.amount - window.used(rate), 0)
    seconds = math.ceil(window.left if remaining else window.wait(rate))
    return f'"requests";q={rate.amount};w={rate.seconds}', f'"requests";r={remaining};t={max(seconds, 1)}'


def rate_limited(rate: Rate, window: Window, *, provider: str | None = None) -> RateLimited:
    """The error for a request that exceeds the caller's rate, or that of a ``provider``'s account."""
    whose = "The caller" if provider is None else f"The gateway's account at the provider {provider}"
    name = "requests" if provider is None else OF_ACCOUNT
    return RateLimited(
        f"{whose} may send {rate.amount} requests in {rate.seconds} seconds; nothing was done.",
        source=Source.GATEWAY,
        retry_after=window.wait(rate),
        provider=provider,
        extra={"limit": limit_of(name, rate.amount, max(window.used(rate), rate.amount))},
    )


def limit_of(name: str, value: int, used: int) -> dict[str, Any]:
    """The member ``limit`` of a problem."""
    return {"name": name, "value": value, "used": used}
