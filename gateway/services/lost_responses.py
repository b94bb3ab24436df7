"""Finding out what became of a change whose answer was lost: one look at what there is now, before the caller is told.

A lost answer is known by its error (:func:`is_ambiguous`), or by the attempts of the call where a policy has sent the
change again by itself (:func:`earlier_attempt_ambiguous`). Nothing here sends a change.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.domain.operations import Operation
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.transport import Attempt, Call, Phase
from gateway.services.fleet import Fleet, Provider

SETTLING_SECONDS: Final = 5.0
"""What a look gets at least, also when the change has used up all of its own time."""

FoundT = TypeVar("FoundT")

_MAYBE_DONE: Final = (
    errors.OutcomeUnknown,
    errors.ProviderError,
    errors.ProviderBadResponse,
    errors.ProviderTimeout,
)


def is_ambiguous(error: GatewayError) -> bool:
    """Whether a change that ended like this may have happened all the same: its answer was lost, or tells of trouble
    that may have begun after the change (every 5xx, and what is not the provider's own answer)."""
    if isinstance(error, errors.ProviderUnavailable):
        return error.failure is not None and error.failure.status is not None  # without a status nothing was sent
    return isinstance(error, _MAYBE_DONE)


def earlier_attempt_ambiguous(attempts: Sequence[Attempt], operation: Operation) -> bool:
    """Whether the last attempt of ``operation`` came after one that the provider may have carried out. Then its refusal
    is about the second try, and says nothing about the first."""
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
    """Read once after a change has ended in ``error``, within what is left of its time (``until`` is its deadline), or
    :data:`SETTLING_SECONDS`.

    ``operation`` is the read's. Raises ``error`` itself where the look fails: nothing more is known then.
    :class:`NotFound` and :class:`RuntimeReplaced` pass, for they are an answer.
    """
    left = max(until - fleet.clock.monotonic(), SETTLING_SECONDS)
    try:
        async with fleet.call_scope(provider, operation, ctx, at_most=left) as call:
            call.settling = True
            return await read(call)
    except (errors.NotFound, errors.RuntimeReplaced):
        raise
    except GatewayError as unclear:
        raise error from unclear


def has_another(before: Runtime, now: Runtime) -> bool:
    """Whether the runtime's instance is another one by now, so that the one before has ended."""
    return None not in {before.instance_id, now.instance_id} and before.instance_id != now.instance_id


def is_later(now: str | None, before: str | None) -> bool:
    """Whether a time (RFC 3339) is known to be later than another."""
    if now is None or before is None:
        return False
    try:
        return datetime.fromisoformat(now) > datetime.fromisoformat(before)
    except (ValueError, TypeError):  # no time, or only one of them has a zone
        return False
