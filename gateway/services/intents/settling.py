"""Settling one intent without its caller: send again where that costs nothing, else look the name up."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.domain.access import Principal
from gateway.domain.conclusions import NO_TRAITS, Conclusion, Findings, Matches, PriorKnowledge, Verdict, conclude
from gateway.domain.errors import GatewayError, StoreUnavailable
from gateway.domain.intents import UNSETTLED, Actor, Intent, IntentState, Look
from gateway.ports.context import RequestContext
from gateway.ports.provider import Seen
from gateway.ports.store import Changes, NameTaken, Stale, Updated, Version
from gateway.services.intents.attempt import SendAttempt
from gateway.services.intents.context import CreateContext, settling_lease
from gateway.services.intents.lease import ClockReading, LeasedIntent
from gateway.services.intents.name_conflicts import look_up_own
from gateway.services.intents.payloads import SentCreate
from gateway.services.intents.resume import end_of_lease
from gateway.services.intents.targets import ResolvedTarget

_KEPT_LOOKS: Final = 20
_RETRY_LOOK: Final = 5.0


@dataclass(frozen=True, slots=True)
class Settling:
    """Settles due intents, under the lease with which the store gave them out."""

    context: CreateContext
    holder: str

    async def settle(self, intent: Intent) -> None:
        """Find out what can be found out now, and schedule the next look-up.

        A provider that cannot be called proves nothing: it is called again later. Raises :class:`StoreUnavailable`."""
        with RequestContext(request_id=f"settle-{secrets.token_hex(8)}", principal=Principal(intent.principal)) as ctx:
            await self._settle(intent, ctx)

    async def _settle(self, intent: Intent, ctx: RequestContext) -> None:
        if intent.state is IntentState.OPEN:
            moved = await end_of_lease(self.context, intent, self.holder, lease=settling_lease(self.context.rules))
            if not isinstance(moved, Updated):
                return
            intent = moved.intent
        try:
            await self._find_out(intent, ctx)
        except GatewayError as error:
            if isinstance(error, StoreUnavailable):
                raise
            await self._later(intent, _RETRY_LOOK)

    async def _find_out(self, intent: Intent, ctx: RequestContext) -> None:
        """Conclude, after another send or a look-up where that is next, and act on it."""
        context, is_unknown = self.context, intent.state is IntentState.UNKNOWN
        resolved = await context.targets.of_intent(intent, ctx, looking=True)
        sent = context.payloads.request(intent)
        findings = Findings(
            traits=resolved.traits if resolved is not None else NO_TRAITS,
            target=context.targets.match(resolved, intent),
            is_readable=sent is not None,
        )
        now = await context.store.now()
        conclusion = self._conclude(findings, intent, now)
        if conclusion.verdict is Verdict.RESEND and resolved is not None and sent is not None:
            await self._send_again(intent, resolved, sent, ctx)
            return
        looks: tuple[Look, ...] | None = None
        if conclusion.verdict is Verdict.FIND_BY_NAME and resolved is not None:
            # (``now`` remains the time before the look-up: it may not show what was made while it was answered.)
            looked, own, ended = await look_up_own(context, resolved, intent, sent, ctx)
            if is_unknown:
                looks = (*intent.looks, looked.as_look(ended))[-_KEPT_LOOKS:]
            findings = replace(
                findings,
                matches=looked.matches(own),
                is_contested=not is_unknown and not findings.traits.marks and await self._is_contested(intent),
            )
            conclusion = self._conclude(findings, intent, now)
            if conclusion.verdict is Verdict.DONE:
                if await self._found(intent, own, conclusion.reason) or is_unknown:
                    return
                conclusion = self._conclude(replace(findings, matches=Matches()), intent, now)
        await self._execute(conclusion, intent, looks)

    def _conclude(self, findings: Findings, intent: Intent, now: float) -> Conclusion:
        wait_out = self.context.rules.wait_out
        return conclude(findings, actor=Actor.RECONCILER, intent=intent, now=now, wait_out=wait_out)

    async def _execute(self, conclusion: Conclusion, intent: Intent, looks: tuple[Look, ...] | None) -> None:
        match conclusion.verdict:
            case Verdict.PARKED:
                moved = await self._move(intent, IntentState.PARKED, conclusion.reason, looks)
                if isinstance(moved, Updated):
                    self.context.observer.parked(moved.intent)
            case Verdict.ABSENT:
                moved = await self._move(intent, IntentState.ABSENT, conclusion.reason, looks)
                if isinstance(moved, Updated):
                    self.context.observer.settled(moved.intent, late=True)
            case Verdict.FORGET:  # the request is kept for moves only, if a send may have made the runtime
                sends = [attempt for attempt in intent.attempts if attempt.made is not False]
                kept = self.context.specs is not None and intent.state is IntentState.DONE and bool(sends)
                changes = Changes() if kept else Changes(request=None)
                await self.context.store.update(Version.of(intent), self.holder, changes=changes)
            case _:
                await self._later(intent, conclusion.after, looks)

    async def _send_again(
        self, intent: Intent, resolved: ResolvedTarget, sent: SentCreate, ctx: RequestContext
    ) -> None:
        """Send the same bytes again: the provider recognizes the second request, and a create costs nothing."""
        context = self.context
        async with context.create_call(resolved, ctx, sent.secret_values(), kind=intent.kind, name=intent.name) as call:
            reading, lease = ClockReading.now(context.clock), context.lease_seconds(resolved)
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
                # The state that the error means is written.

    async def _is_contested(self, intent: Intent) -> bool:
        """Whether another unsettled create has the name by now."""
        other = await self.context.store.by_name(intent.namespace, intent.kind, intent.name, other_than=intent.id)
        return other is not None and other.state in UNSETTLED

    async def _found(self, intent: Intent, own: Sequence[Seen], reason: str | None) -> bool:
        """Record the runtimes as created. Whether the intent became done by it; one that was done before stays due."""
        became_done = False
        state = intent.state
        for seen in own:
            runtime_id = seen.runtime.provider_id
            if runtime_id == intent.runtime_id or runtime_id in intent.surplus:
                continue
            settled = await self.context.store.record_created(
                intent.id, runtime_id, look_in=self.context.rules.wait_out, changes=Changes(reason=reason)
            )
            if settled is None:
                return True
            if settled.runtime_id == runtime_id and state is not IntentState.DONE:
                self.context.observer.settled(settled, late=True)
                state, became_done = IntentState.DONE, True
            elif settled.runtime_id != runtime_id:
                self.context.observer.surplus(settled, runtime_id)
            intent = settled
        return became_done

    async def _move(
        self, intent: Intent, target: IntentState, reason: str | None, looks: tuple[Look, ...] | None
    ) -> Updated | Stale | NameTaken:
        changes = Changes(reason=reason) if looks is None else Changes(reason=reason, looks=looks)
        return await self.context.store.move(
            Version.of(intent),
            target,
            Actor.RECONCILER,
            self.holder,
            look_in=self.context.rules.wait_out,
            changes=changes,
        )

    async def _later(self, intent: Intent, pause: float, looks: tuple[Look, ...] | None = None) -> None:
        changes = Changes() if looks is None else Changes(looks=looks)
        await self.context.store.update(Version.of(intent), self.holder, look_in=pause, changes=changes)
