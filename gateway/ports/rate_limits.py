"""Rates in the settings, and the interface of the windows that all replicas share."""

from abc import ABC, abstractmethod
from typing import Annotated, Final

from pydantic import AfterValidator

from gateway.domain.limits import Rate, Window
from gateway.ports.section import Section

_LARGEST: Final = 1_000_000_000
_LONGEST: Final = 31 * 86_400


def parse_rate(text: str) -> Rate:
    """The rate in a text such as ``600/minute`` or ``100 per 5 minutes``. Raises ``ValueError``."""
    from limits import parse_many  # noqa: PLC0415 (importing it takes a tenth of the time of a command's start)

    try:
        found = parse_many(text)
    except ValueError:
        found = []
    if len(found) != 1 or not 1 <= found[0].amount <= _LARGEST or not 1 <= found[0].get_expiry() <= _LONGEST:
        raise ValueError("a rate is a number and a time of at most a month: 600/minute, 10 per 5 seconds")
    return Rate(found[0].amount, found[0].get_expiry())


def _readable(text: str) -> str:
    parse_rate(text)
    return text


RateText = Annotated[str, AfterValidator(_readable)]
"""A rate as a person writes it."""


class AccountLimits(Section):
    """The limits of the gateway's account at a provider. ``requests``: how many requests of callers may go there."""

    requests: RateText | None = None

    @property
    def rate(self) -> Rate | None:
        """The rate of requests."""
        return None if self.requests is None else parse_rate(self.requests)


class SharedWindowsAway(Exception):
    """The shared windows cannot be used now."""


class SharedWindows(ABC):
    """Counts requests for all replicas. The methods raise :class:`SharedWindowsAway` within a bounded time."""

    @abstractmethod
    async def take(self, key: str, rate: Rate) -> tuple[bool, Window]:
        """Count one request if the rate allows it. Returns whether it was counted, and the window afterwards."""

    @abstractmethod
    async def look(self, key: str, rate: Rate) -> Window:
        """The window, without a request."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections. Idempotent."""
