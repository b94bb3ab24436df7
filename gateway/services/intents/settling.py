"""Settling one intent without its caller: by sending again where that is free, else by looking (the create promise)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.errors import GatewayError, StoreUnavailable
from gateway.domain.intents import UNSETTLED, Intent, IntentState, Look, Who
from gateway.ports.context import RequestContext
from gateway.ports.provider import Deduplication, Seen
from gateway.ports.store import Changes, Moved, Version
from gateway.services.intents.attempt import Turn
from gateway.services.intents.context import Parts
from gateway.services.intents.evidence import Origin
from gateway.services.intents.lease import Asked, Holding
from gateway.services.intents.lookup import Looked, look, ours
from gateway.services.intents.name_conflicts import made_by_others
from gateway.services.intents.payloads import SentCreate
from gateway.services.intents.resume import end_of_lease
from gateway.services.intents.targets import Place
from gateway.services.intents.timing import GIVE_UP, LONGEST_PAUSE, REPLAY_AGE, pause_before

_KEPT_LOOKS: Final = 20
_RETRY_LOOK: Final = 5.0


@dataclass(frozen=True, slots=True)
class Settling:
    """Settles intents that were handed out as due, on the lease that they came with."""

    parts: Parts
    holder: str

    async def settle(self, intent: Intent) -> None:
        """Find out as much as can be found out now, and say when to look again.

        A provider that cannot be asked proves nothing: it is asked again later. Raises :class:`StoreUnavailable`."""
        with RequestContext(request_id=f"settle-{secrets.token_hex(8)}", principal=intent.principal) as ctx:
            await self._settle(intent, ctx)

    async def _settle(self, intent: Intent, ctx: RequestContext) -> None:
        if intent.state is IntentState.OPEN:
            moved = await end_of_lease(self.parts, intent, self.holder, lease=self.parts.rules.settling_lease)
            if not isinstance(moved, Moved):
                return
            intent = moved.intent
        try:
            place = await self.parts.places.of_intent(intent, ctx, looking=True)
            if intent.state is IntentState.UNKNOWN:
                await self._unknown(intent, place, ctx)
            else:
                await self._late(intent, place, ctx)
        except GatewayError as error:
            if isinstance(error, StoreUnavailable):
                raise
            await self._later(intent, _RETRY_LOOK)

    async def _unknown(self, intent: Intent, place: Place | None, ctx: RequestContext) -> None:
        now = await self.parts.store.now()
        if place is None:
            left = _last_send(intent) + self.parts.rules.wait_out - now
            if left > 0:  # another replica may have loaded settings that this one is about to load
                await self._later(intent, min(left + 0.1, LONGEST_PAUSE))
            else:
                await self._park(intent, "target_changed")
            return
        sent = self.parts.contents.request(intent)
        age = now - intent.created_at
        same_target = self.parts.places.is_target(place, intent.target)
        if (
            same_target
            and place.adapter.creates_free_of_charge
            and place.adapter.deduplication is not Deduplication.NONE
            and sent is not None
            and age <= REPLAY_AGE
        ):
            await self._send_again(intent, place, sent, ctx)
            return
        looked = await look(self.parts.fleet, place, intent.name, ctx)
        now = await self.parts.store.now()
        mine = await self._mine(intent, place, sent, looked, now)
        if mine and (len(mine) == 1 or place.adapter.marks_creates):
            await self._found(intent, place, mine, late=True)
        elif mine:
            await self._park(intent, "several")
        elif sent is None:
            await self._park(intent, "unreadable")
        else:
            await self._not_found(intent, looked.as_look(now), age, same_target=same_target)

    async def _send_again(self, intent: Intent, place: Place, sent: SentCreate, ctx: RequestContext) -> None:
        """The same bytes once more, where a create costs nothing and the provider tells the second from the first."""
        parts = self.parts
        async with parts.creating(place, ctx, sent.secret_values()) as call:
            asked, lease = Asked.now(parts.clock), parts.lease(place)
            moved = await parts.store.move(
                Version.of(intent), IntentState.OPEN, Who.RECONCILER, self.holder, lease=lease
            )
            if not isinstance(moved, Moved):
                return
            holding = Holding(parts, place, moved.intent, self.holder, asked)
            try:
                await Turn(parts, holding, sent, ctx, origin=Origin.AFTER_UNKNOWN).run(call)
            except GatewayError:
                if holding.intent.state is IntentState.OPEN:
                    raise
                # What it means is written down.

    async def _not_found(self, intent: Intent, looked: Look, age: float, *, same_target: bool) -> None:
        looks = _kept(intent, looked)
        left = _last_send(intent) + self.parts.rules.wait_out - looked.at
        if age > GIVE_UP:
            await self._park(intent, "too_old", looks)
        elif left >= 0 or len(looks) < 2:
            pause = pause_before(len(looks), self.parts.rules.wait_out)
            await self._later(intent, min(pause, left + 0.1) if left >= 0 else 0.0, looks)
        elif any(attempt.made for attempt in intent.attempts):
            await self._park(intent, "made_but_not_found", looks)
        elif not same_target:
            await self._park(intent, "target_changed", looks)  # others may not see what its owner would
        else:
            moved = await self.parts.store.move(
                Version.of(intent),
                IntentState.ABSENT,
                Who.RECONCILER,
                self.holder,
                look_in=self.parts.rules.wait_out,
                changes=Changes(looks=looks, reason="waited_out"),
            )
            if isinstance(moved, Moved):
                self.parts.observer.settled(moved.intent, late=True)

    async def _late(self, intent: Intent, place: Place | None, ctx: RequestContext) -> None:
        """Evidence that comes after the conclusion, looked for during a day."""
        now = await self.parts.store.now()
        since = intent.settled_at  # a parked one has not settled
        if since is None:
            since = max([_last_send(intent), *(seen.at for seen in intent.looks)])
        contested = False
        if place is not None:
            sent = self.parts.contents.request(intent)
            looked = await look(self.parts.fleet, place, intent.name, ctx)
            contested = not place.adapter.marks_creates and await self._may_be_anothers(intent)
            mine = await self._mine(intent, place, sent, looked, await self.parts.store.now())
            one = place.adapter.marks_creates or intent.state is IntentState.DONE or len(mine) == 1
            # Of several nobody can tell which; a person has to. Whose it is, later looks tell.
            if mine and one and not contested and await self._found(intent, place, mine, late=True):
                return
        doubtful = contested or any(attempt.made is not True for attempt in intent.attempts)
        passed = now - since
        if passed > GIVE_UP or (intent.state is IntentState.DONE and not doubtful):
            await self._end(intent)
        else:
            await self._later(intent, max(passed, self.parts.rules.wait_out))

    async def _mine(
        self, intent: Intent, place: Place, sent: SentCreate | None, looked: Looked, now: float
    ) -> Sequence[Seen]:
        request = sent.request() if sent is not None else None
        others = await made_by_others(self.parts, intent)
        return ours(place, intent, looked, now=now, request=request, others=others)

    async def _may_be_anothers(self, intent: Intent) -> bool:
        """Whether another create has the name by now, of which nothing is proven yet."""
        other = await self.parts.store.by_name(intent.namespace, intent.kind, intent.name, other_than=intent.id)
        return other is not None and other.state in UNSETTLED

    async def _found(self, intent: Intent, place: Place, mine: Sequence[Seen], *, late: bool) -> bool:
        """Take the proof. Whether the intent became done by it; one that was done stays due."""
        became_done = False
        state, reason = intent.state, None if place.adapter.marks_creates else "adopted"
        for seen in mine:
            runtime_id = seen.runtime.provider_id
            if runtime_id == intent.runtime_id or runtime_id in intent.surplus:
                continue
            settled = await self.parts.store.found(
                intent.id, runtime_id, look_in=self.parts.rules.wait_out, changes=Changes(reason=reason)
            )
            if settled is None:
                return True
            if settled.runtime_id == runtime_id and state is not IntentState.DONE:
                self.parts.observer.settled(settled, late=late)
                state, became_done = IntentState.DONE, True
            elif settled.runtime_id != runtime_id:
                self.parts.observer.surplus(settled, runtime_id)
            intent = settled
        return became_done

    async def _park(self, intent: Intent, reason: str, looks: tuple[Look, ...] | None = None) -> None:
        changes = Changes(reason=reason) if looks is None else Changes(reason=reason, looks=looks)
        moved = await self.parts.store.move(
            Version.of(intent),
            IntentState.PARKED,
            Who.RECONCILER,
            self.holder,
            look_in=self.parts.rules.wait_out,
            changes=changes,
        )
        if isinstance(moved, Moved):
            self.parts.observer.parked(moved.intent)

    async def _later(self, intent: Intent, pause: float, looks: tuple[Look, ...] | None = None) -> None:
        changes = Changes() if looks is None else Changes(looks=looks)
        await self.parts.store.keep(Version.of(intent), self.holder, look_in=pause, changes=changes)

    async def _end(self, intent: Intent) -> None:
        """Nothing more is looked for, and what was sent is not kept any longer."""
        await self.parts.store.keep(Version.of(intent), self.holder, changes=Changes(request=None))


def _last_send(intent: Intent) -> float:
    """The last moment at which a byte of it can have left."""
    return max((a.last_send for a in intent.attempts if a.last_send is not None), default=intent.created_at)


def _kept(intent: Intent, looked: Look) -> tuple[Look, ...]:
    return (*intent.looks, looked)[-_KEPT_LOOKS:]
