"""Settling one intent without its caller: by sending again where that is free, else by looking (the create promise)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.errors import GatewayError, StoreUnavailable
from gateway.domain.intents import UNSETTLED, Actor, Intent, IntentState, Look
from gateway.ports.context import RequestContext
from gateway.ports.provider import Deduplication, Seen
from gateway.ports.store import Changes, Updated, Version
from gateway.services.intents.attempt import SendAttempt
from gateway.services.intents.context import CreateContext
from gateway.services.intents.evidence import PriorKnowledge
from gateway.services.intents.lease import ClockReading, LeasedIntent
from gateway.services.intents.lookup import LookupResult, find_by_name, match_own
from gateway.services.intents.name_conflicts import made_by_others
from gateway.services.intents.payloads import SentCreate
from gateway.services.intents.resume import end_of_lease
from gateway.services.intents.targets import ResolvedTarget
from gateway.services.intents.timing import GIVE_UP, LONGEST_PAUSE, REPLAY_AGE, backoff, settling_lease

_KEPT_LOOKS: Final = 20
_RETRY_LOOK: Final = 5.0


@dataclass(frozen=True, slots=True)
class Settling:
    """Settles intents that were handed out as due, on the lease that they came with."""

    context: CreateContext
    holder: str

    async def settle(self, intent: Intent) -> None:
        """Find out as much as can be found out now, and say when to look again.

        A provider that cannot be asked proves nothing: it is asked again later. Raises :class:`StoreUnavailable`."""
        with RequestContext(request_id=f"settle-{secrets.token_hex(8)}", principal=intent.principal) as ctx:
            await self._settle(intent, ctx)

    async def _settle(self, intent: Intent, ctx: RequestContext) -> None:
        if intent.state is IntentState.OPEN:
            moved = await end_of_lease(self.context, intent, self.holder, lease=settling_lease(self.context.rules))
            if not isinstance(moved, Updated):
                return
            intent = moved.intent
        try:
            resolved = await self.context.targets.of_intent(intent, ctx, looking=True)
            if intent.state is IntentState.UNKNOWN:
                await self._unknown(intent, resolved, ctx)
            else:
                await self._late(intent, resolved, ctx)
        except GatewayError as error:
            if isinstance(error, StoreUnavailable):
                raise
            await self._later(intent, _RETRY_LOOK)

    async def _unknown(self, intent: Intent, resolved: ResolvedTarget | None, ctx: RequestContext) -> None:
        now = await self.context.store.now()
        if resolved is None:
            left = _last_send(intent) + self.context.rules.wait_out - now
            if left > 0:  # another replica may have loaded settings that this one is about to load
                await self._later(intent, min(left + 0.1, LONGEST_PAUSE))
            else:
                await self._park(intent, "target_changed")
            return
        sent = self.context.payloads.request(intent)
        age = now - intent.created_at
        same_target = self.context.targets.is_target(resolved, intent.target)
        if (
            same_target
            and resolved.adapter.create_is_free
            and resolved.adapter.deduplication is not Deduplication.NONE
            and sent is not None
            and age <= REPLAY_AGE
        ):
            await self._send_again(intent, resolved, sent, ctx)
            return
        looked = await find_by_name(self.context.fleet, resolved, intent.name, ctx)
        now = await self.context.store.now()
        mine = await self._mine(intent, resolved, sent, looked, now)
        if mine and (len(mine) == 1 or resolved.adapter.marks_creates):
            await self._found(intent, resolved, mine, late=True)
        elif mine:
            await self._park(intent, "several")
        elif sent is None:
            await self._park(intent, "unreadable")
        else:
            await self._not_found(intent, looked.as_look(now), age, same_target=same_target)

    async def _send_again(
        self, intent: Intent, resolved: ResolvedTarget, sent: SentCreate, ctx: RequestContext
    ) -> None:
        """The same bytes once more, where a create costs nothing and the provider tells the second from the first."""
        context = self.context
        async with context.creating(resolved, ctx, sent.secret_values()) as call:
            reading, lease = ClockReading.now(context.clock), context.lease(resolved)
            moved = await context.store.move(
                Version.of(intent), IntentState.OPEN, Actor.RECONCILER, self.holder, lease=lease
            )
            if not isinstance(moved, Updated):
                return
            leased = LeasedIntent(context, resolved, moved.intent, self.holder, reading)
            try:
                await SendAttempt(context, leased, sent, ctx, prior=PriorKnowledge.AFTER_UNKNOWN).run(call)
            except GatewayError:
                if leased.intent.state is IntentState.OPEN:
                    raise
                # What it means is written down.

    async def _not_found(self, intent: Intent, looked: Look, age: float, *, same_target: bool) -> None:
        looks = _kept(intent, looked)
        left = _last_send(intent) + self.context.rules.wait_out - looked.at
        if age > GIVE_UP:
            await self._park(intent, "too_old", looks)
        elif left >= 0 or len(looks) < 2:
            pause = backoff(len(looks), self.context.rules.wait_out)
            await self._later(intent, min(pause, left + 0.1) if left >= 0 else 0.0, looks)
        elif any(attempt.made for attempt in intent.attempts):
            await self._park(intent, "made_but_not_found", looks)
        elif not same_target:
            await self._park(intent, "target_changed", looks)  # others may not see what its owner would
        else:
            moved = await self.context.store.move(
                Version.of(intent),
                IntentState.ABSENT,
                Actor.RECONCILER,
                self.holder,
                look_in=self.context.rules.wait_out,
                changes=Changes(looks=looks, reason="waited_out"),
            )
            if isinstance(moved, Updated):
                self.context.observer.settled(moved.intent, late=True)

    async def _late(self, intent: Intent, resolved: ResolvedTarget | None, ctx: RequestContext) -> None:
        """Evidence that comes after the conclusion, looked for during a day."""
        now = await self.context.store.now()
        since = intent.settled_at  # a parked one has not settled
        if since is None:
            since = max([_last_send(intent), *(seen.at for seen in intent.looks)])
        contested = False
        if resolved is not None:
            sent = self.context.payloads.request(intent)
            looked = await find_by_name(self.context.fleet, resolved, intent.name, ctx)
            contested = not resolved.adapter.marks_creates and await self._may_be_anothers(intent)
            mine = await self._mine(intent, resolved, sent, looked, await self.context.store.now())
            one = resolved.adapter.marks_creates or intent.state is IntentState.DONE or len(mine) == 1
            # Of several nobody can tell which; a person has to. Whose it is, later looks tell.
            if mine and one and not contested and await self._found(intent, resolved, mine, late=True):
                return
        doubtful = contested or any(attempt.made is not True for attempt in intent.attempts)
        passed = now - since
        if passed > GIVE_UP or (intent.state is IntentState.DONE and not doubtful):
            await self._end(intent)
        else:
            await self._later(intent, max(passed, self.context.rules.wait_out))

    async def _mine(
        self, intent: Intent, resolved: ResolvedTarget, sent: SentCreate | None, looked: LookupResult, now: float
    ) -> Sequence[Seen]:
        request = sent.request() if sent is not None else None
        others = await made_by_others(self.context, intent)
        return match_own(resolved, intent, looked, now=now, request=request, others=others)

    async def _may_be_anothers(self, intent: Intent) -> bool:
        """Whether another create has the name by now, of which nothing is proven yet."""
        other = await self.context.store.by_name(intent.namespace, intent.kind, intent.name, other_than=intent.id)
        return other is not None and other.state in UNSETTLED

    async def _found(self, intent: Intent, resolved: ResolvedTarget, mine: Sequence[Seen], *, late: bool) -> bool:
        """Take the proof. Whether the intent became done by it; one that was done stays due."""
        became_done = False
        state, reason = intent.state, None if resolved.adapter.marks_creates else "adopted"
        for seen in mine:
            runtime_id = seen.runtime.provider_id
            if runtime_id == intent.runtime_id or runtime_id in intent.surplus:
                continue
            settled = await self.context.store.record_created(
                intent.id, runtime_id, look_in=self.context.rules.wait_out, changes=Changes(reason=reason)
            )
            if settled is None:
                return True
            if settled.runtime_id == runtime_id and state is not IntentState.DONE:
                self.context.observer.settled(settled, late=late)
                state, became_done = IntentState.DONE, True
            elif settled.runtime_id != runtime_id:
                self.context.observer.surplus(settled, runtime_id)
            intent = settled
        return became_done

    async def _park(self, intent: Intent, reason: str, looks: tuple[Look, ...] | None = None) -> None:
        changes = Changes(reason=reason) if looks is None else Changes(reason=reason, looks=looks)
        moved = await self.context.store.move(
            Version.of(intent),
            IntentState.PARKED,
            Actor.RECONCILER,
            self.holder,
            look_in=self.context.rules.wait_out,
            changes=changes,
        )
        if isinstance(moved, Updated):
            self.context.observer.parked(moved.intent)

    async def _later(self, intent: Intent, pause: float, looks: tuple[Look, ...] | None = None) -> None:
        changes = Changes() if looks is None else Changes(looks=looks)
        await self.context.store.update(Version.of(intent), self.holder, look_in=pause, changes=changes)

    async def _end(self, intent: Intent) -> None:
        """Nothing more is looked for, and what was sent is not kept any longer."""
        await self.context.store.update(Version.of(intent), self.holder, changes=Changes(request=None))


def _last_send(intent: Intent) -> float:
    """The last moment at which a byte of it can have left."""
    return max((a.last_send for a in intent.attempts if a.last_send is not None), default=intent.created_at)


def _kept(intent: Intent, looked: Look) -> tuple[Look, ...]:
    return (*intent.looks, looked)[-_KEPT_LOOKS:]
