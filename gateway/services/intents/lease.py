"""An intent in one holder's hands: its lease kept fresh, and everything that is learned written down."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import msgspec

from gateway.domain.errors import IdempotencyInProgress, StoreUnavailable
from gateway.domain.intents import Intent, IntentAttempt, IntentState, Who
from gateway.domain.requests import CreateRequest
from gateway.ports.clock import Clock
from gateway.ports.provider import Created, Deduplication
from gateway.ports.store import Changes, Lost, Moved, Version
from gateway.services.intents.context import Parts
from gateway.services.intents.payloads import SentCreate
from gateway.services.intents.targets import Place
from gateway.services.intents.timing import pause_before

T = TypeVar("T")

_KEPT_ATTEMPTS: Final = 50
_RENEWALS: Final = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """The moment right before the store was asked for a lease, on both clocks of this machine."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls, clock: Clock) -> "Asked":
        """This moment."""
        return cls(clock.monotonic(), clock.now())


class TooSlow(Exception):
    """The lease could not be had fresh enough to send on it."""


class Holding:
    """An intent that is open in one epoch, and whose lease is the holder's."""

    def __init__(self, parts: Parts, place: Place, intent: Intent, holder: str, asked: Asked) -> None:
        self.place = place
        self._parts = parts
        self._holder = holder
        self._sending_since: float | None = None
        self.intent: Intent
        self._hold(intent, asked)

    @property
    def is_sending(self) -> bool:
        """Whether a send has begun in this epoch."""
        return self._sending_since is not None

    @property
    def slack(self) -> float:
        """How much later than the truth :meth:`now` may be: so long the database took to tell its time."""
        return self._heard - self._asked.monotonic

    def now(self) -> float:
        """The database's time, at the latest, from when it last told it."""
        return self._told + max(self._parts.clock.monotonic() - self._asked.monotonic, 0.0)

    async def stay_fresh(self) -> None:
        """Nothing goes out on a word that is older than ``send_within``: the lease may be somebody else's by then.

        Raises :class:`TooSlow`, and as :meth:`renew`."""
        for _ in range(_RENEWALS):
            rules, clock = self._parts.rules, self._parts.clock
            past = clock.monotonic() - self._asked.monotonic
            if past < rules.send_within and abs(clock.now() - self._asked.wall) < rules.send_within:
                return
            await self.renew()
        raise TooSlow

    async def renew(self, changes: Changes | None = None) -> None:
        """Have the lease from now on, and write ``changes`` down. Raises :class:`IdempotencyInProgress` when it is
        somebody else's by now, and :class:`StoreUnavailable`."""
        asked = Asked.now(self._parts.clock)
        kept = await self._parts.store.keep(
            Version.of(self.intent),
            self._holder,
            lease=self._parts.lease(self.place),
            changes=changes or Changes(),
        )
        if isinstance(kept, Lost):
            raise IdempotencyInProgress(
                "Somebody else has taken this create over; send the same request again to hear what came of it.",
                retry_after=1.0,
            )
        self._hold(kept.intent, asked)

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
        deduplication = self.place.adapter.deduplication
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
        parts, runtime_id = self._parts, created.runtime.provider_id
        changes = Changes(
            attempts=self.intent.attempts,
            reason=reason,
            request=msgspec.UNSET if doubtful else None,
            outcome=msgspec.UNSET if outcome is None else outcome,
        )
        look_in = parts.rules.wait_out if doubtful else None
        # Who is cut off here leaves it as unknown; the proof is taken all the same, before that or after it.
        writing = asyncio.ensure_future(
            self._write(parts.store.found(self.intent.id, runtime_id, look_in=look_in, changes=changes))
        )
        if parts.specs is not None and request is not None and parts.specs.keeps(request):
            kept = parts.specs.remember(self.place.adapter, self.place.scope, created.runtime, request)
            settled, _ = await asyncio.gather(asyncio.shield(writing), kept)
        else:
            settled = await asyncio.shield(writing)
        if settled is not None:
            if settled.runtime_id != runtime_id:
                parts.observer.surplus(settled, runtime_id)
            elif self.intent.state is not IntentState.DONE:
                parts.observer.settled(settled, late=False)
            self.intent = settled
        return settled

    async def surplus(self, runtime_id: str) -> None:
        """Remember that a second runtime was made."""
        settled = await self._write(self._parts.store.found(self.intent.id, runtime_id))
        if settled is not None:
            self._parts.observer.surplus(settled, runtime_id)

    async def end(self, state: IntentState, *, reason: str | None = None) -> None:
        """Let go of the intent in a state. A store that cannot take it leaves the lease to end by itself."""
        if self.intent.state is not IntentState.OPEN:
            return
        earlier = (attempt for attempt in self.intent.attempts if attempt.epoch < self.intent.epoch)
        doubtful = state is not IntentState.REFUSED or any(attempt.made is not False for attempt in earlier)
        times = len(self.intent.looks) + len(self.intent.attempts[1:])
        pause = pause_before(times, self._parts.rules.wait_out)
        moved = await self._write(
            self._parts.store.move(
                Version.of(self.intent),
                state,
                Who.HOLDER,
                self._holder,
                look_in=pause if doubtful else None,
                changes=Changes(attempts=self.intent.attempts, reason=reason),
            )
        )
        if not isinstance(moved, Moved):
            return
        self.intent = moved.intent
        if state is IntentState.UNKNOWN:
            self._parts.observer.unknown(moved.intent)
        else:
            self._parts.observer.settled(moved.intent, late=False)

    async def go_elsewhere(self, place: Place, sent: SentCreate, key: str | None) -> bool:
        """Take the intent to another place, on the proof that nothing was made so far; whether it may go there."""
        parts, asked = self._parts, Asked.now(self._parts.clock)
        changes = Changes(
            namespace=place.namespace,
            provider=place.provider.name,
            scope=place.scope,
            target=parts.places.fingerprint(place),
            request=parts.contents.seal_request(self.intent.id, sent),
            provider_key=key,
            before=None,
            attempts=self.intent.attempts,
        )
        version = Version.of(self.intent)
        lease = parts.lease(place)
        moved = await parts.store.move(
            version, IntentState.OPEN, Who.HOLDER, self._holder, lease=lease, changes=changes
        )
        if not isinstance(moved, Moved):
            return False
        self.place = place
        self._sending_since = None
        self._hold(moved.intent, asked)
        return True

    def _hold(self, intent: Intent, asked: Asked) -> None:
        self.intent, self._asked = intent, asked
        self._told = intent.updated_at  # the database's time, at some moment between ``asked`` and now
        self._heard = self._parts.clock.monotonic()

    async def _write(self, writing: Awaitable[T]) -> T | None:
        try:
            return await writing
        except StoreUnavailable as error:
            self._parts.observer.not_written(self.intent.id, error)
            return None
