"""An intent in one holder's hands: its lease kept fresh, and everything that is learned written down."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import msgspec

from gateway.domain.conclusions import backoff
from gateway.domain.errors import IdempotencyInProgress, StoreUnavailable
from gateway.domain.intents import Actor, Intent, IntentAttempt, IntentState
from gateway.domain.requests import CreateRequest
from gateway.ports.clock import Clock
from gateway.ports.provider import Created, Deduplication
from gateway.ports.store import Changes, Stale, Updated, Version
from gateway.services.intents.context import CreateContext
from gateway.services.intents.payloads import SentCreate
from gateway.services.intents.targets import ResolvedTarget

T = TypeVar("T")

_KEPT_ATTEMPTS: Final = 50
_RENEWALS: Final = 3


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The moment right before the store was asked for a lease, on both clocks of this machine."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls, clock: Clock) -> "ClockReading":
        """This moment."""
        return cls(clock.monotonic(), clock.now())


class LeaseStale(Exception):
    """The lease could not be had fresh enough to send on it."""


class LeasedIntent:
    """An intent that is open in one epoch, and whose lease is the holder's."""

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
        """How much later than the truth :meth:`now` may be: so long the database took to tell its time."""
        return self._heard - self._reading.monotonic

    def now(self) -> float:
        """The database's time, at the latest, from when it last told it."""
        return self._told + max(self._context.clock.monotonic() - self._reading.monotonic, 0.0)

    async def stay_fresh(self) -> None:
        """Nothing goes out on a word that is older than ``send_within``: the lease may be somebody else's by then.

        Raises :class:`LeaseStale`, and as :meth:`renew`."""
        for _ in range(_RENEWALS):
            rules, clock = self._context.rules, self._context.clock
            past = clock.monotonic() - self._reading.monotonic
            if past < rules.send_within and abs(clock.now() - self._reading.wall) < rules.send_within:
                return
            await self.renew()
        raise LeaseStale

    async def renew(self, changes: Changes | None = None) -> None:
        """Have the lease from now on, and write ``changes`` down. Raises :class:`IdempotencyInProgress` when it is
        somebody else's by now, and :class:`StoreUnavailable`."""
        reading = ClockReading.now(self._context.clock)
        kept = await self._context.store.update(
            Version.of(self.intent),
            self._holder,
            lease=self._context.lease(self.resolved),
            changes=changes or Changes(),
        )
        if isinstance(kept, Stale):
            raise IdempotencyInProgress(
                "Somebody else has taken this create over; send the same request again to hear what came of it.",
                retry_after=1.0,
            )
        self._hold(kept.intent, reading)

    def begin_send(self) -> None:
        """From now on bytes may leave."""
        self._sending_since = self.now() - self.slack  # at the earliest

    def end_send(self, phase: str, status: int | None, *, made: bool | None) -> None:
        """Remember how the send ended."""
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
        self.intent = replace(self.intent, attempts=(*first, *latest, attempt))

    def may_turn_up_twice(self) -> bool:
        """Whether another send may yet be carried out: then the name is looked at again, after the wait-out."""
        deduplication = self.resolved.adapter.deduplication
        if deduplication is Deduplication.BY_NAME:
            return False
        if deduplication is Deduplication.NONE and self.is_sending:
            return True  # one that was doubled on its way shows later
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
        """Take the proof of a runtime: the intent is done. ``outcome`` is the answer to keep, sealed, ``request`` what
        to keep as sent at creation. ``doubtful``: a second one may yet turn up. None when it could not be written."""
        context, runtime_id = self._context, created.runtime.provider_id
        changes = Changes(
            attempts=self.intent.attempts,
            reason=reason,
            request=msgspec.UNSET if doubtful else None,
            outcome=msgspec.UNSET if outcome is None else outcome,
        )
        look_in = context.rules.wait_out if doubtful else None
        # Who is cut off here leaves it as unknown; the proof is taken all the same, before that or after it.
        writing = asyncio.ensure_future(
            self._write(context.store.record_created(self.intent.id, runtime_id, look_in=look_in, changes=changes))
        )
        if context.specs is not None and request is not None and context.specs.keeps(request):
            kept = context.specs.remember(self.resolved.adapter, self.resolved.scope, created.runtime, request)
            settled, _ = await asyncio.gather(asyncio.shield(writing), kept)
        else:
            settled = await asyncio.shield(writing)
        if settled is not None:
            if settled.runtime_id != runtime_id:
                context.observer.surplus(settled, runtime_id)
            elif self.intent.state is not IntentState.DONE:
                context.observer.settled(settled, late=False)
            self.intent = settled
        return settled

    async def surplus(self, runtime_id: str) -> None:
        """Remember that a second runtime was made."""
        settled = await self._write(self._context.store.record_created(self.intent.id, runtime_id))
        if settled is not None:
            self._context.observer.surplus(settled, runtime_id)

    async def end(self, state: IntentState, *, reason: str | None = None) -> None:
        """Let go of the intent in a state. A store that cannot take it leaves the lease to end by itself."""
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

    async def go_elsewhere(self, resolved: ResolvedTarget, sent: SentCreate, key: str | None) -> bool:
        """Take the intent to another place, on the proof that nothing was made so far; whether it may go there."""
        context, reading = self._context, ClockReading.now(self._context.clock)
        changes = Changes(
            namespace=resolved.namespace,
            provider=resolved.provider.name,
            scope=resolved.scope,
            target=context.targets.fingerprint(resolved),
            request=context.payloads.seal_request(self.intent.id, sent),
            provider_key=key,
            before=None,
            attempts=self.intent.attempts,
        )
        version = Version.of(self.intent)
        lease = context.lease(resolved)
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
        self._told = intent.updated_at  # the database's time, at some moment between ``reading`` and now
        self._heard = self._context.clock.monotonic()

    async def _write(self, writing: Awaitable[T]) -> T | None:
        try:
            return await writing
        except StoreUnavailable as error:
            self._context.observer.not_written(self.intent.id, error)
            return None
