"""The dependencies and errors that all steps of a create share, and the observer of intents."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.domain.errors import AlreadyExists, IdempotencyInProgress, OutcomeUnknown, ProviderFailure, Retryable
from gateway.domain.intents import Intent
from gateway.domain.ownership import outward
from gateway.domain.requests import CreateRequest
from gateway.domain.values import Operation
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created
from gateway.ports.store import Store
from gateway.ports.transport import Call
from gateway.services.fleet import Fleet
from gateway.services.intents.payloads import PayloadSealer, SentCreate
from gateway.services.intents.targets import ResolvedTarget, TargetResolver
from gateway.services.provider_choice import Target
from gateway.services.specs import SpecKeeper
from gateway.settings import CreatesSettings
from gateway.telemetry.signals import CreateSignals

_LOOK_AGAIN_AFTER: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class CreateContext:
    """The dependencies that all steps of a create share."""

    fleet: Fleet
    store: Store
    targets: TargetResolver
    payloads: PayloadSealer
    clock: Clock
    rules: CreatesSettings
    observer: CreateSignals
    specs: SpecKeeper | None = None

    def lease_seconds(self, resolved: ResolvedTarget) -> float:
        """Seconds that an attempt at a target may take, including the write of its result."""
        deadline = resolved.adapter.settings.deadline(Operation.CREATE)
        return float(self.rules.send_within + deadline + self.rules.lease_margin)

    @asynccontextmanager
    async def create_call(
        self, resolved: ResolvedTarget, ctx: RequestContext, secret_values: Iterable[str] = (), *, kind: str, name: str
    ) -> AsyncIterator[Call]:
        """Call a provider for a create, with the local permits (bulkhead slot, breaker) held. Raises
        :class:`StateConflict` if the name has just moved, or is moved now."""
        provider = resolved.provider
        async with (
            self.fleet.call_scope(provider, Operation.CREATE, ctx, secret_values, name=name) as call,
            resolved.adapter.transport.reserve(Operation.CREATE, call),
        ):
            await self.fleet.refuse_moved_name((provider.name, resolved.scope, kind, name), call, ctx)
            yield call


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCommand:
    """A create as a caller requests it.

    ``request`` has a name; ``name_is_new`` if the gateway generated it. ``document`` is the request as it was sent,
    before defaults. ``key`` is the caller's ``Idempotency-Key``. ``operation`` names the call (a dialect's differs from
    the unified API's). ``judged``: the gateway itself compares a runtime that has the name. ``pinned``: the request
    named no provider, so later creates of the name go to the same one. ``choose`` returns the targets in order of
    preference. ``finish`` runs after the create and returns the final response; ``starts``: it calls the provider.
    ``owner_mark`` is the mark of the runtime's owner at a provider, by name."""

    request: CreateRequest
    document: dict[str, Any] = field(repr=False)
    key: str | None
    operation: str
    judged: bool
    pinned: bool
    name_is_new: bool
    choose: Callable[[], Awaitable[list[Target]]]
    finish: Callable[[Target, Created], Awaitable[Created]]
    owner_mark: Callable[[str], str | None] = lambda _provider: None
    starts: bool = False

    def starts_at(self, resolved: ResolvedTarget) -> bool:
        """Whether an instance is started too, by the create at a target or after it."""
        idle = self.request.sent("start") and not self.request.start
        return self.starts or not (idle or resolved.adapter.create_is_free)

    def sent_to(self, resolved: ResolvedTarget, intent_id: str) -> SentCreate:
        """The request to a target, marked with the intent's id."""
        request = self.request.with_owner_mark(self.owner_mark(resolved.provider.name))
        wire = resolved.adapter.wire_create(request, resolved.scope, marker=intent_id)
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
    """The error for a create whose outcome is unknown. Its ``retry_after`` is 2 seconds; after an error in the
    provider's own envelope it is the provider's, or None."""
    extra = {"intent": intent.id, "name": outward(intent.name)}
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


def needs_operator(intent: Intent, key: str | None) -> OutcomeUnknown:
    """The error for a create that only an operator can settle."""
    return outcome_unknown(
        intent,
        key=key,
        detail="Whether this runtime was made cannot be found out; the gateway's operator has to decide.",
        retryable=Retryable.NO,
    )


def name_in_use(provider: str) -> AlreadyExists:
    """The error for a name that a runtime of another owner has; it reveals nothing about the runtime."""
    return AlreadyExists("The name is already in use.", provider=provider)


def still_running(intent: Intent | None) -> IdempotencyInProgress:
    """The error for a caller that has waited for another caller's create up to the limit."""
    return IdempotencyInProgress(
        "The same create is still in progress; send the same request again to learn its outcome.",
        retry_after=1.0,
        extra={} if intent is None else {"intent": intent.id, "name": outward(intent.name)},
    )


def new_holder() -> str:
    """A new holder of leases, for one task."""
    return secrets.token_hex(16)


SURPLUS_KEPT: Final = 30 * 86_400.0
"""Intents with a surplus runtime, and what was sent at creation, are kept so long."""

LOOK_SECONDS: Final = 10.0
"""The time limit of one look for what became of a create."""


def settling_lease(settings: CreatesSettings) -> float:
    """The lease under which the reconciler settles a create: long enough to resolve the target and look the name up,
    and no longer, because the process may die and nobody else can settle the create meanwhile."""
    return settings.lease_margin + min(2 * LOOK_SECONDS, settings.wait_out)
