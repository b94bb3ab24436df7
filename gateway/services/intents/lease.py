"""An intent with its lease: keep the lease fresh, and write every result."""

import asyncio
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from gateway.domain.conclusions import backoff
from gateway.domain.errors import IdempotencyInProgress, StoreUnavailable
from gateway.domain.intents import Actor, Intent, IntentAttempt, IntentState, Look
from gateway.domain.ownership import suffix_in
from gateway.domain.requests import CreateRequest
from gateway.ports.clock import Clock
from gateway.ports.provider import Created, Deduplication
from gateway.ports.store import Changes, Stale, Updated, Version
from gateway.services.intents.context import CreateContext
from gateway.services.intents.payloads import SentCreate
from gateway.services.intents.targets import ResolvedTarget
from gateway.services.sent_spec import MadeRuntime

T = TypeVar("T")

_KEPT_ATTEMPTS: Final = 50
_RENEWALS: Final = 3


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Both clocks of this machine, read right before the store is asked for a lease."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls, clock: Clock) -> "ClockReading":
        return cls(clock.monotonic(), clock.now())


class LeaseStale(Exception):
    """The lease could not be renewed within ``send_within``, so nothing may be sent."""


class LeasedIntent:
    """An open intent in one epoch, of which this process has the lease."""

    def __init__(
        self, context: CreateContext, resolved: ResolvedTarget, intent: Intent, holder: str, reading: ClockReading
    ) -> None:
        self.resolved = resolved
        self._context = context
        self._holder = holder
        self._sending_since: float | None = None
        self.intent: Intent
        self._hold(intent, reading)

    @property
    def is_sending(self) -> bool:
        """Whether a send has begun in this epoch."""
        return self._sending_since is not None

    @property
    def slack(self) -> float:
        """Upper bound, in seconds, on the error of :meth:`now`: the round trip of the clock query."""
        return self._heard - self._reading.monotonic

    def now(self) -> float:
        """The database's time, extrapolated from its last response; at most :attr:`slack` seconds too late."""
        return self._told + max(self._context.clock.monotonic() - self._reading.monotonic, 0.0)

    async def stay_fresh(self) -> None:
        """Renew the lease if the last confirmation is older than ``send_within``: another process may have it by then.

        Raises :class:`LeaseStale`, and as :meth:`renew`."""
        for _ in range(_RENEWALS):
            rules, clock = self._context.rules, self._context.clock
            past = clock.monotonic() - self._reading.monotonic
            if past < rules.send_within and abs(clock.now() - self._reading.wall) < rules.send_within:
                return
            await self.renew()
        raise LeaseStale

    async def renew(self, changes: Changes | None = None) -> None:
        """Renew the lease and write ``changes``. Raises :class:`IdempotencyInProgress` if another process has the
        lease, and :class:`StoreUnavailable`."""
        reading = ClockReading.now(self._context.clock)
        kept = await self._context.store.update(
            Version.of(self.intent),
            self._holder,
            lease=self._context.lease_seconds(self.resolved),
            changes=changes or Changes(),
        )
        if isinstance(kept, Stale):
            raise IdempotencyInProgress(
                "Another process has taken this create over; send the same request again to learn its outcome.",
                retry_after=1.0,
            )
        self._hold(kept.intent, reading)

    def begin_send(self) -> None:
        """Record that bytes may be sent from now on."""
        self._sending_since = self.now() - self.slack  # at the earliest

    def end_send(self, phase: str, status: int | None, *, made: bool | None) -> None:
        """Record how the send ended."""
        attempt = IntentAttempt(
            epoch=self.intent.epoch,
            target=self.intent.target,
            first_send=self._sending_since,
            last_send=self.now(),
            phase=phase,
            status=status,
            made=made,
        )
        first, latest = self.intent.attempts[:1], self.intent.attempts[1:][-_KEPT_ATTEMPTS:]
        self.intent = msgspec.structs.replace(self.intent, attempts=(*first, *latest, attempt))

    def may_turn_up_twice(self) -> bool:
        """Whether the provider may still carry out another send; then the name is looked up after the wait-out."""
        deduplication = self.resolved.adapter.deduplication
        if deduplication is Deduplication.BY_NAME:
            return False
        if deduplication is Deduplication.NONE and self.is_sending:
            return True  # a request that was duplicated in transit shows later
        intent = self.intent
        return any(attempt.made is not False for attempt in intent.attempts if attempt.epoch < intent.epoch)

    async def found(
        self,
        created: Created,
        *,
        outcome: bytes | None = None,
        request: CreateRequest | None = None,
        doubtful: bool = False,
        reason: str | None = None,
    ) -> Intent | None:
        """Record the runtime: the intent is done. ``outcome`` is the sealed response to keep, ``request`` the request
        to keep as the runtime's spec. ``doubtful``: a second runtime may still be found. None if it could not be
        written."""
        context, runtime_id = self._context, created.runtime.provider_id
        changes = Changes(
            attempts=self.intent.attempts,
            reason=reason,
            lifetime=msgspec.UNSET if created.created else None,
            request=msgspec.UNSET if doubtful or (created.created and context.specs is not None) else None,
            outcome=msgspec.UNSET if outcome is None else outcome,
        )
        look_in = context.rules.wait_out if doubtful else None
        made, spec = None, None
        if context.specs is not None and request is not None:
            owner = self.intent.principal or None if suffix_in(self.intent.name) is None else None
            made = MadeRuntime(self.resolved.adapter, self.resolved.scope, created.runtime, request, owner)
            spec = context.specs.sealed(made)
        known = self.intent if self.intent.state is IntentState.OPEN else None

        def write() -> Coroutine[Any, Any, Intent | None]:
            recording = context.store.record_created(
                self.intent.id, runtime_id, look_in=look_in, changes=changes, known=known, spec=spec
            )
            return self._write(recording, None if spec is None else made)

        try:
            settled = await write()
        except asyncio.CancelledError:
            await asyncio.shield(write())  # the proof is written all the same; a second write of it changes nothing
            raise
        if settled is not None:
            if settled.runtime_id != runtime_id:
                context.observer.surplus(settled, runtime_id)
            elif self.intent.state is not IntentState.DONE:
                context.observer.settled(settled, late=False)
            self.intent = settled
        return settled

    async def surplus(self, runtime_id: str) -> None:
        """Record that a second runtime was made."""
        settled = await self._write(self._context.store.record_created(self.intent.id, runtime_id))
        if settled is not None:
            self._context.observer.surplus(settled, runtime_id)

    async def end(self, state: IntentState, *, reason: str | None = None) -> None:
        """Release the intent in a state. If the store cannot write it, the lease expires."""
        if self.intent.state is not IntentState.OPEN:
            return
        earlier = (attempt for attempt in self.intent.attempts if attempt.epoch < self.intent.epoch)
        doubtful = state is not IntentState.REFUSED or any(attempt.made is not False for attempt in earlier)
        times = len(self.intent.looks) + len(self.intent.attempts[1:])
        pause = backoff(times, self._context.rules.wait_out)
        moved = await self._write(
            self._context.store.move(
                Version.of(self.intent),
                state,
                Actor.HOLDER,
                self._holder,
                look_in=pause if doubtful else None,
                changes=Changes(attempts=self.intent.attempts, reason=reason),
            )
        )
        if not isinstance(moved, Updated):
            return
        self.intent = moved.intent
        if state is IntentState.UNKNOWN:
            self._context.observer.unknown(moved.intent)
        else:
            self._context.observer.settled(moved.intent, late=False)

    async def go_elsewhere(
        self, resolved: ResolvedTarget, sent: SentCreate, key: str | None, *, before: Look | None
    ) -> bool:
        """Move the attempt to another target, on the proof that nothing was made. ``before``: what is known to have the
        name there. False if the name is taken there."""
        context, reading = self._context, ClockReading.now(self._context.clock)
        changes = Changes(
            namespace=resolved.namespace,
            provider=resolved.provider.name,
            scope=resolved.scope,
            target=context.targets.fingerprint(resolved),
            request=context.payloads.seal_request(self.intent.id, sent),
            provider_key=key,
            before=before,
            attempts=self.intent.attempts,
        )
        version = Version.of(self.intent)
        lease = context.lease_seconds(resolved)
        moved = await context.store.move(
            version, IntentState.OPEN, Actor.HOLDER, self._holder, lease=lease, changes=changes
        )
        if not isinstance(moved, Updated):
            return False
        self.resolved = resolved
        self._sending_since = None
        self._hold(moved.intent, reading)
        return True

    def _hold(self, intent: Intent, reading: ClockReading) -> None:
        self.intent, self._reading = intent, reading
        self._told = intent.updated_at  # the database's time at a moment between ``reading`` and now
        self._heard = self._context.clock.monotonic()

    async def _write(self, writing: Awaitable[T], made: MadeRuntime | None = None) -> T | None:
        try:
            return await writing
        except StoreUnavailable as error:
            self._context.observer.not_written(self.intent.id, error)
            if made is not None and self._context.specs is not None:
                self._context.specs.store_later(made)
            return None
