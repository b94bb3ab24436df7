"""The create promise, as a ledger that is kept while a world goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.domain.errors import AlreadyExists
from gateway.domain.intents import Intent, IntentState
from gateway.ports.provider import Deduplication

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.storage.memory import MemoryDatabase
    from tests.faults.simulator.loop import Life
    from tests.faults.simulator.provider import Made, Sent, Upstream
    from tests.faults.simulator.scheduler import Scheduler
    from tests.faults.simulator.world import Heard

_MAY_EXIST: Final = frozenset({IntentState.OPEN, IntentState.UNKNOWN, IntentState.ABSENT, IntentState.PARKED})
_MAY_SEND: Final = frozenset({IntentState.OPEN, IntentState.DONE})
_UNFINISHED: Final = frozenset({IntentState.OPEN, IntentState.UNKNOWN})


class Violation(AssertionError):
    """The create promise was broken."""


class Ledger:
    """Who was allowed to send, what was made, and what anybody was told.

    A violation inside a task under test must not be swallowed there: it is kept, and raised at the end of the step.
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
        self._allowed: dict[tuple[str, int], Life] = {}
        self._used: set[tuple[str, int]] = set()
        self._presumed: set[str] = set()  # names whose create was absent at some time

    def broken(self, how: str) -> None:
        """Something else went wrong."""
        self._check(False, how)

    def changed(self, by: Life) -> bool:
        """A write of a replica is in the store; whether it changed anything."""
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
                    f"{_told(before)} was done, and is {_told(intent)} now",
                )
            if intent.state is IntentState.OPEN and (before is None or before.epoch != intent.epoch):
                self._allowed[intent.id, intent.epoch] = by
            if intent.state is IntentState.ABSENT:
                self._presumed.add(intent.name)
        for made in self._made():
            self._findable(made)
        return changed

    def sent(self, sent: Sent) -> None:
        """A create is on the wire. One transition to open allows that, of this replica, and it allows it once. Proof of
        existence may have come meanwhile: it ends no send."""
        turns = {
            (one.id, one.epoch): one
            for one in self._rows.intents.values()
            if one.name == sent.name and self._allowed.get((one.id, one.epoch)) is sent.by
        }
        unused = [turn for turn, one in turns.items() if turn not in self._used and one.state in _MAY_SEND]
        if not self._check(bool(unused), f"{sent.by.name} sent a create of {sent.name}; {self._of(sent.name)}"):
            return
        turn = unused[0]
        row = turns[turn]
        held = row.state is IntentState.DONE or (row.lease_until or 0.0) > self._now()
        self._check(held, "a create was sent after its lease had ended")
        self._used.add(turn)

    def made(self, made: Made) -> None:
        """The provider has made a runtime."""
        live = [one.id for upstream in self.upstreams for one in upstream.live(made.name)]
        hidden = made.name in self._presumed and any(upstream.lag for upstream in self.upstreams)
        self._check(len(live) == 1 or hidden or not self._promised, f"{made.name} was made again: {live}")
        self._findable(made)

    def answered(self, heard: Heard) -> None:
        """A client was told of a runtime."""
        assert heard.answer is not None
        told = heard.answer.runtime
        names = [made.name for made in self._made() if made.id == told.provider_id]
        self._check(names == [heard.ask.name], f"a client was told of {told.provider_id}, which is {names}")

    def told(self) -> list[str]:
        """What the store and the providers have."""
        made = [f"{one.id} made at {one.at:.1f}" for one in self._made()]
        return [*(f"{_told(one)} {one.reason or ''}" for one in self._rows.intents.values()), *made]

    def is_settled(self) -> bool:
        """Whether nothing is open or unknown, and every runtime is in the store."""
        return not any(one.state in _UNFINISHED for one in self._rows.intents.values()) and not self._unshown()

    def at_the_end(self, heard: Sequence[Heard]) -> None:
        """Everything was settled, nothing was lost, and everybody heard the same. Raises :class:`Violation`."""
        if self.violation is not None:
            raise self.violation
        left = [_told(one) for one in self._rows.intents.values() if one.state in _UNFINISHED]
        self._check(not left, f"left unsettled: {left}")
        unshown = self._unshown()
        shown = {one.name for one in self._rows.intents.values() if one.state in self._shows_its_name()}
        lost = [made.id for made in unshown if made.name not in shown]
        self._check(not lost, f"made and never shown: {lost}")
        for one in heard:
            others = [made for made in self._made() if made.name == one.ask.name and made.sent is None]
            if isinstance(one.error, AlreadyExists) and one.ask.key is not None:
                alone = all(other is one or other.ask.name != one.ask.name for other in heard)
                self._check(bool(others) or not alone, "a client heard already_exists of its own runtime")
        by_key: dict[tuple[str, str], set[str]] = {}
        for one in heard:
            if one.ask.key is not None and one.answer is not None:
                by_key.setdefault((one.ask.principal, one.ask.key), set()).add(one.answer.runtime.provider_id)
        self._check(all(len(ids) == 1 for ids in by_key.values()), f"one key was answered with {by_key}")
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
        self._check(known, f"{made.id} exists, and all that is known is {self._of(made.name)}")

    def _shows_its_name(self) -> frozenset[IntentState]:
        """The states in which it is enough that the name is shown: a person decides, or the provider ensures the name,
        and its 402 or 429 was told as what it was."""
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
        return [_told(one) for one in self._rows.intents.values() if one.name == name]

    def _check(self, holds: bool, otherwise: str) -> bool:
        if not holds and self.violation is None:
            self.violation = Violation(otherwise)
        return holds


def _told(intent: Intent) -> str:
    return f"{intent.name} {intent.state}({intent.epoch}) {intent.runtime_id or ''}".strip()
