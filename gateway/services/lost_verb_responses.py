"""Handling of changes whose response was lost: one read shows whether the change happened, before the caller gets an
error.

A lost response is recognised by the error (:func:`is_ambiguous`), or by the attempts of the call if a policy has sent
the change again (:func:`earlier_attempt_ambiguous`). Nothing in this module sends a change.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.transport import Attempt, Call, Phase
from gateway.services.fleet import Fleet, Provider

SETTLING_SECONDS: Final = 5.0
"""The minimum time limit of the read in seconds, also if the change has used up its own deadline."""

FoundT = TypeVar("FoundT")

_MAYBE_DONE: Final = (errors.OutcomeUnknown, errors.ProviderError, errors.ProviderBadResponse, errors.ProviderTimeout)


def is_ambiguous(error: GatewayError) -> bool:
    """Whether a change that ended in ``error`` may have happened: its response was lost, or reports a failure that may
    have occurred after the change (every 5xx, and responses that are not the provider's own)."""
    if isinstance(error, errors.ProviderUnavailable):
        return error.failure is not None and error.failure.status is not None  # without a status, nothing was sent
    return isinstance(error, _MAYBE_DONE)


def earlier_attempt_ambiguous(attempts: Sequence[Attempt], operation: Operation) -> bool:
    """Whether the provider may have carried out an attempt of ``operation`` before the last one. Then a refusal of the
    last attempt proves nothing about the earlier one."""
    own = [attempt for attempt in attempts if attempt.operation == operation]
    return any(
        attempt.phase >= Phase.SENT and (not attempt.outcome.isdigit() or attempt.outcome >= "500")
        for attempt in own[:-1]
    )


async def verify_after(
    error: GatewayError,
    fleet: Fleet,
    provider: Provider,
    operation: Operation,
    ctx: RequestContext,
    until: float,
    read: Callable[[Call], Awaitable[FoundT]],
) -> FoundT:
    """Read once after a change has ended in ``error``. The time limit is what remains until ``until``, the deadline of
    the change on the monotonic clock, but at least :data:`SETTLING_SECONDS`.

    ``operation`` is that of the read. Raises ``error`` if the read fails, because then the outcome is still unknown.
    :class:`NotFound` and :class:`RuntimeReplaced` are raised as they are, because they are conclusive.
    """
    left = max(until - fleet.clock.monotonic(), SETTLING_SECONDS)
    try:
        async with fleet.call_scope(provider, operation, ctx, at_most=left) as call:
            call.settling = True
            return await read(call)
    except (errors.NotFound, errors.RuntimeReplaced):
        raise
    except GatewayError as read_failure:
        raise error from read_failure


def has_another(before: Runtime, now: Runtime) -> bool:
    """Whether the runtime's instance has been replaced, so that the earlier one has ended. False if an id is
    unknown."""
    return None not in {before.instance_id, now.instance_id} and before.instance_id != now.instance_id


def is_later(now: str | None, before: str | None) -> bool:
    """Whether an RFC 3339 time is later than another. False if either is missing or cannot be compared."""
    if now is None or before is None:
        return False
    try:
        return datetime.fromisoformat(now) > datetime.fromisoformat(before)
    except (ValueError, TypeError):  # not a time, or only one has a time zone
        return False
