"""The invariants of the create promise (docs/promises.md#p1, #p2), checked by a ledger at each step of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.domain.errors import AlreadyExists
from gateway.domain.intents import Intent, IntentState
from gateway.ports.provider import Deduplication

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.simulator.loop import Process
    from tests.faults.simulator.provider import Made, Sent, Upstream
    from tests.faults.simulator.scheduler import Scheduler
    from tests.faults.simulator.world import Outcome
    from tests.memory_store import MemoryDatabase

_MAY_EXIST: Final = frozenset({IntentState.OPEN, IntentState.UNKNOWN, IntentState.ABSENT, IntentState.PARKED})
_MAY_SEND: Final = frozenset({IntentState.OPEN, IntentState.DONE})
_UNFINISHED: Final = frozenset({IntentState.OPEN, IntentState.UNKNOWN})


class Violation(AssertionError):
    """An invariant was violated."""


class Ledger:
    """Records which replica may send, what was made and what clients received, and checks each against the invariants.

    The code under test could swallow an exception that is raised inside its tasks. So the first violation is kept in
    ``violation``, and :meth:`at_the_end` raises it.
    """

    upstreams: Sequence[Upstream]

    def __init__(
        self, rows: MemoryDatabase, scheduler: Scheduler, database_now: Callable[[], float], *, promised: bool
    ) -> None:
        self.violation: Violation | None = None
        self._rows = rows
        self._scheduler = scheduler
        self._now = database_now
        self._promised = promised
        self._known: dict[str, Intent] = {}
        self._allowed: dict[tuple[str, int], Process] = {}
        self._used: set[tuple[str, int]] = set()
        self._presumed: set[str] = set()  # names whose create has been absent

    def broken(self, how: str) -> None:
        """Record a violation that was found outside the ledger."""
        self._check(False, how)

    def changed(self, by: Process) -> bool:
        """Check the rows after a replica's write. Return whether the write changed any."""
        changed = False
        for intent in self._rows.intents.values():
            before = self._known.get(intent.id)
            if before is intent:
                continue
            changed = True
            self._known[intent.id] = intent
            if before is not None and before.state is IntentState.DONE:
                self._check(
                    intent.state is IntentState.DONE and intent.runtime_id == before.runtime_id,
                    f"{_describe(before)} was done and became {_describe(intent)}",
                )
            if intent.state is IntentState.OPEN and (before is None or before.epoch != intent.epoch):
                self._allowed[intent.id, intent.epoch] = by
            if intent.state is IntentState.ABSENT:
                self._presumed.add(intent.name)
        for made in self._made():
            self._findable(made)
        return changed

    def sent(self, sent: Sent) -> None:
        """Check a create that reached the wire. A replica's transition to ``open`` permits that replica one send.

        The intent may be ``done`` by then: proof that the runtime exists does not cancel a send in progress."""
        permits = {
            (one.id, one.epoch): one
            for one in self._rows.intents.values()
            if one.name == sent.name and self._allowed.get((one.id, one.epoch)) is sent.by
        }
        unused = [permit for permit, one in permits.items() if permit not in self._used and one.state in _MAY_SEND]
        if not self._check(bool(unused), f"{sent.by.name} sent a create of {sent.name}; {self._of(sent.name)}"):
            return
        permit = unused[0]
        row = permits[permit]
        held = row.state is IntentState.DONE or (row.lease_until or 0.0) > self._now()
        self._check(held, "a create was sent after its lease had ended")
        self._used.add(permit)

    def made(self, made: Made) -> None:
        """Check a runtime that the provider has just made."""
        live = [one.id for upstream in self.upstreams for one in upstream.live(made.name)]
        hidden = made.name in self._presumed and any(upstream.lag for upstream in self.upstreams)
        self._check(len(live) == 1 or hidden or not self._promised, f"{made.name} was made again: {live}")
        self._findable(made)

    def received(self, outcome: Outcome) -> None:
        """Check a response that a client received."""
        assert outcome.response is not None
        runtime = outcome.response.runtime
        names = [made.name for made in self._made() if made.id == runtime.provider_id]
        own = names == [outcome.client.name] == [runtime.name]
        self._check(own, f"a client received {runtime.provider_id} as {runtime.name}, whose name is {names}")

    def report(self) -> list[str]:
        """The intents in the store, and the runtimes at the providers."""
        made = [f"{one.id} made at {one.at:.1f}" for one in self._made()]
        return [*(f"{_describe(one)} {one.reason or ''}" for one in self._rows.intents.values()), *made]

    def is_settled(self) -> bool:
        """Whether no intent is open or unknown, and every runtime is recorded in the store."""
        return not any(one.state in _UNFINISHED for one in self._rows.intents.values()) and not self._unshown()

    def at_the_end(self, outcomes: Sequence[Outcome]) -> None:
        """Check that everything is settled, that every runtime is recorded, and that equal keys have equal responses.

        Raises :class:`Violation`: the first one of the run, or of these checks."""
        if self.violation is not None:
            raise self.violation
        left = [_describe(one) for one in self._rows.intents.values() if one.state in _UNFINISHED]
        self._check(not left, f"left unsettled: {left}")
        unshown = self._unshown()
        shown = {one.name for one in self._rows.intents.values() if one.state in self._shows_its_name()}
        lost = [made.id for made in unshown if made.name not in shown]
        self._check(not lost, f"made but not recorded: {lost}")
        for one in outcomes:
            others = [made for made in self._made() if made.name == one.client.name and made.sent is None]
            if isinstance(one.error, AlreadyExists) and one.client.key is not None:
                alone = all(other is one or other.client.name != one.client.name for other in outcomes)
                self._check(bool(others) or not alone, "a client received already_exists for its own runtime")
        by_key: dict[tuple[str, str], set[str]] = {}
        for one in outcomes:
            if one.client.key is not None and one.response is not None:
                by_key.setdefault((one.client.principal, one.client.key), set()).add(one.response.runtime.provider_id)
        self._check(all(len(ids) == 1 for ids in by_key.values()), f"one key received several runtimes: {by_key}")
        if self.violation is not None:
            raise self.violation

    def _findable(self, made: Made) -> None:
        if made.sent is None:
            return
        rows = [one for one in self._rows.intents.values() if one.name == made.name]
        known = (
            any(made.id == one.runtime_id or made.id in one.surplus or one.state in _MAY_EXIST for one in rows)
            or not self._promised
        )
        self._check(known, f"{made.id} exists, but the store has only {self._of(made.name)}")

    def _shows_its_name(self) -> frozenset[IntentState]:
        """The states in which an intent need not record its runtime: ``parked``, as an operator decides; and ``absent``
        after a 402 or 429 where the provider keeps names unique, as the next create finds the runtime by its name."""
        ensured = all(upstream.deduplication is Deduplication.BY_NAME for upstream in self.upstreams)
        return frozenset({IntentState.PARKED, IntentState.ABSENT} if ensured else {IntentState.PARKED})

    def _unshown(self) -> list[Made]:
        shown = {
            runtime for one in self._rows.intents.values() for runtime in (one.runtime_id, *one.surplus) if runtime
        }
        return [made for made in self._made() if made.sent is not None and made.id not in shown]

    def _made(self) -> list[Made]:
        return [made for upstream in self.upstreams for made in upstream.made.values()]

    def _of(self, name: str) -> list[str]:
        return [_describe(one) for one in self._rows.intents.values() if one.name == name]

    def _check(self, holds: bool, otherwise: str) -> bool:
        if not holds and self.violation is None:
            self.violation = Violation(otherwise)
        return holds


def _describe(intent: Intent) -> str:
    return f"{intent.name} {intent.state}({intent.epoch}) {intent.runtime_id or ''}".strip()
