"""One caller that waits for a runtime to change."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.services.fleet import ResolvedRuntime
from gateway.services.lifecycle import LifecycleService
from gateway.services.waiting.hub import Watched
from gateway.services.waiting.places import Places, Waiter

FAILING_FOR: Final = 60.0
"""Seconds for which a provider may fail before those that wait get its error."""

_PASSING: Final = (
    errors.RateLimited,
    errors.ProviderError,
    errors.ProviderBadResponse,
    errors.ProviderUnavailable,
    errors.ProviderTimeout,
    errors.CapacityExceeded,
    errors.Overloaded,
)
"""Errors of a poll that do not end the waiting."""


@dataclass(eq=False, repr=False)
class Following:
    """The runtime as one caller sees it: its rights are checked again for each state."""

    _watched: Watched
    _waiter: Waiter
    _places: Places
    _resolved: ResolvedRuntime
    _lifecycle: LifecycleService
    _ctx: RequestContext

    def __post_init__(self) -> None:
        self._joined = self._watched.begun

    async def first(self, until: float) -> Runtime | None:
        """The present state, as ``next`` returns it, but errors of the provider are raised at once, also the
        error of the last poll while the next one has to wait, which is at most the pause after failures."""
        failure = self.failure() if self._watched.failing_since is not None else None
        if failure is not None:
            raise failure
        return await self._next(until, lambda _: True, 0.0)

    async def next(self, until: float, is_news: Callable[[Runtime], bool]) -> Runtime | None:
        """The first state from now on that ``is_news``; None at the time ``until`` of the monotonic clock, and when the
        gateway shuts down.

        A state that was read before the caller came may be older than what the caller knows: it is read again first.
        Raises what a read raises, but a passing error of the provider only after a minute; and why the caller may not
        wait any longer.
        """
        return await self._next(until, is_news, FAILING_FOR)

    async def _next(self, until: float, is_news: Callable[[Runtime], bool], failing_for: float) -> Runtime | None:
        clock = self._places.clock
        while True:
            if self._waiter.revoked is not None:
                raise self._waiter.revoked
            found = self._news(is_news, failing_for)
            if found is not None and self._watched.number > self._joined:
                if isinstance(found, GatewayError):
                    raise found
                return found
            if found is not None:
                self._watched.hurry()
            left = until - clock.monotonic()
            if self._places.draining or left <= 0:
                return None
            await self._waiter.pause(left)

    def failure(self) -> GatewayError | None:
        """The error of the last poll; one that says so if no poll has ended there yet; None after a success."""
        outcome = self._outcome()
        if outcome is None:
            name = self._resolved.provider.name
            return errors.ProviderTimeout(f"The provider {name} did not respond in this time.", provider=name)
        return self._seen(outcome) if isinstance(outcome, GatewayError) else None

    def _news(self, is_news: Callable[[Runtime], bool], failing_for: float) -> Runtime | GatewayError | None:
        outcome, since = self._outcome(), self._watched.failing_since
        if outcome is None:
            return None
        if isinstance(outcome, _PASSING) and since is not None:
            return outcome if self._places.clock.monotonic() - since >= failing_for else None
        seen = self._seen(outcome)
        return seen if isinstance(seen, GatewayError) or is_news(seen) else None

    def _outcome(self) -> Runtime | GatewayError | None:
        """What the last poll has returned; None also if the runtime has moved since: its old place does not count."""
        moved = self._watched.place != self._lifecycle.place(self._resolved)
        return None if moved else self._watched.outcome

    def _seen(self, outcome: Runtime | GatewayError) -> Any:
        """What the caller may see of an outcome."""
        try:
            return self._lifecycle.view(self._resolved, self._ctx, outcome)
        except GatewayError as error:
            return error
