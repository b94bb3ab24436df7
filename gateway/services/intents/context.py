"""What every step of the create promise works with, and who is told of what comes to light."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.domain.errors import IdempotencyInProgress, OutcomeUnknown, ProviderFailure, Retryable, StoreUnavailable
from gateway.domain.intents import Intent
from gateway.domain.operations import Operation
from gateway.domain.requests import CreateRequest
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created
from gateway.ports.store import Store
from gateway.ports.transport import Call
from gateway.services.fleet import Fleet
from gateway.services.intents.payloads import PayloadSealer, SentCreate
from gateway.services.intents.targets import ResolvedTarget, TargetResolver
from gateway.services.routing import Target
from gateway.services.specs import SpecKeeper
from gateway.settings import CreatesSettings

_LOOK_AGAIN_AFTER: Final = 2.0  # seconds


class IntentObserver(Protocol):
    """Hears what happens to intents, for logs and metrics. ``late``: it was not the create's own answer that told."""

    def settled(self, intent: Intent, *, late: bool) -> None:
        """It left the states that need somebody's attention."""

    def unknown(self, intent: Intent) -> None:
        """Its attempts are over, and nothing is proven."""

    def misanswered(self, intent: Intent, answered_id: str) -> None:
        """The provider answered a create with the runtime ``answered_id`` of another name or scope."""

    def parked(self, intent: Intent) -> None:
        """A person has to decide."""

    def surplus(self, intent: Intent, runtime_id: str) -> None:
        """A second runtime turned up. Nobody stops it."""

    def not_written(self, intent_id: str, error: StoreUnavailable) -> None:
        """What was learned could not be written down; it will be found out again."""

    def failed(self, error: Exception) -> None:
        """Settling failed by a mistake of the gateway's own; it is tried again later."""


class NullObserver:
    """An observer that does nothing."""

    def settled(self, intent: Intent, *, late: bool) -> None: ...
    def unknown(self, intent: Intent) -> None: ...
    def misanswered(self, intent: Intent, answered_id: str) -> None: ...
    def parked(self, intent: Intent) -> None: ...
    def surplus(self, intent: Intent, runtime_id: str) -> None: ...
    def not_written(self, intent_id: str, error: StoreUnavailable) -> None: ...
    def failed(self, error: Exception) -> None: ...


@dataclass(frozen=True, slots=True)
class CreateContext:
    """What every step works with."""

    fleet: Fleet
    store: Store
    targets: TargetResolver
    payloads: PayloadSealer
    clock: Clock
    rules: CreatesSettings
    observer: IntentObserver = field(default_factory=NullObserver)
    specs: SpecKeeper | None = None

    def lease(self, resolved: ResolvedTarget) -> float:
        """How long a turn may take at a place, by which time it has written down what it knows."""
        deadline = resolved.adapter.settings.deadline(Operation.CREATE)
        return float(self.rules.send_within + deadline + self.rules.lease_margin)

    @asynccontextmanager
    async def creating(
        self, resolved: ResolvedTarget, ctx: RequestContext, secret_values: Iterable[str] = ()
    ) -> AsyncIterator[Call]:
        """Call a provider for a create, with everything held that this gateway lets creates have."""
        async with (
            self.fleet.call_scope(resolved.provider, Operation.CREATE, ctx, secret_values) as call,
            resolved.adapter.transport.reserve(Operation.CREATE, call),
        ):
            yield call


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCommand:
    """A create that somebody asks for.

    ``request`` has a name; ``name_is_new`` when it was made up just now. ``document`` is what was sent, before any
    default. ``key`` is the caller's own. ``operation`` names the call (a dialect's differs from the unified API's).
    ``judged``: the gateway itself judges a runtime that has the name. ``pinned``: it named no provider, and stays where
    it went. ``choose`` gives the targets, first choice first.
    ``finish`` does what comes after a create (``starts``: calls the provider for it) and gives the final answer.
    """

    request: CreateRequest
    document: dict[str, Any] = field(repr=False)
    key: str | None
    operation: str
    judged: bool
    pinned: bool
    name_is_new: bool
    choose: Callable[[], Awaitable[list[Target]]]
    finish: Callable[[Target, Created], Awaitable[Created]]
    starts: bool = False

    def sent_to(self, resolved: ResolvedTarget, intent_id: str) -> SentCreate:
        """What goes out to a place, marked with the intent."""
        wire = resolved.adapter.wire_create(self.request, resolved.scope, marker=intent_id)
        return SentCreate.of(wire, {**self.document, "name": self.request.name}, judged=self.judged)


def outcome_unknown(
    intent: Intent,
    *,
    key: str | None,
    detail: str,
    retryable: Retryable = Retryable.SAME_REQUEST,
    failure: ProviderFailure | None = None,
    retry_after: float | None = None,
) -> OutcomeUnknown:
    """What a caller hears of a create of which nothing is proven. The same request looks after it anew: after what the
    provider itself said, if that was its own answer, else in a moment."""
    extra = {"intent": intent.id, "name": intent.name}
    if key is not None:
        extra["idempotency_key"] = key
    hints = retryable is Retryable.SAME_REQUEST and (failure is None or not failure.own_envelope)
    return OutcomeUnknown(
        detail,
        retryable=retryable,
        retry_after=_LOOK_AGAIN_AFTER if hints else retry_after,
        provider=intent.provider,
        failure=failure,
        extra=extra,
    )


def needs_a_person(intent: Intent, key: str | None) -> OutcomeUnknown:
    """What a caller hears of a create that nobody but a person can settle."""
    return outcome_unknown(
        intent,
        key=key,
        detail="Whether this runtime was made cannot be found out; the gateway's operator has to decide.",
        retryable=Retryable.NO,
    )


def still_running(intent: Intent | None) -> IdempotencyInProgress:
    """What a caller hears who has waited long enough for another one's create."""
    return IdempotencyInProgress(
        "The same create is still under way; send the same request again to hear what came of it.",
        retry_after=1.0,
        extra={} if intent is None else {"intent": intent.id, "name": intent.name},
    )


def new_holder() -> str:
    """A word for the lease of one task."""
    return secrets.token_hex(16)
