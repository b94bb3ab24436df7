"""A store in memory: the whole contract, without a database, a thread or a wait of its own.

For the tests of what uses a store. It forgets everything at the end; no gateway runs on it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

from gateway.domain.errors import StoreUnavailable
from gateway.domain.intents import Actor, Intent, IntentState, NewIntent, transition
from gateway.ports.store import (
    NO_CHANGES,
    Changes,
    Conflict,
    Counts,
    Decision,
    DecisionRecord,
    Inserted,
    IntentQuery,
    NameTaken,
    Stale,
    Store,
    Updated,
    Version,
)
from gateway.testing.memory_rows import MemoryRows

T = TypeVar("T")

OnCall: TypeAlias = Callable[[str, bool], Awaitable[None]]
"""Is given the name of a method, before it does anything (False) and once it has done it, before it answers (True).
It may wait, and it may raise :class:`StoreUnavailable`."""

_WHERE_IT_GOES: Final = frozenset({"namespace", "provider", "scope"})


class MemoryStore(Store):
    """A store over rows in memory. Two over the same rows are two replicas."""

    def __init__(
        self, clock: Callable[[], float], *, rows: MemoryRows | None = None, on_call: OnCall | None = None
    ) -> None:
        """``clock`` is the database's own: seconds since the epoch."""
        self.rows: Final = rows if rows is not None else MemoryRows()
        self._clock = clock
        self._on_call = on_call
        self._opened = True  # (there is nothing to get ready)

    async def open(self) -> None:
        self._opened = True

    async def close(self) -> None:
        self._opened = False

    async def ping(self) -> None:
        await self._run("ping", self._clock)

    async def now(self) -> float:
        return await self._run("now", self._clock)

    async def begin(
        self, new: NewIntent, holder: str, lease: float, *, instead_of: Version | None = None
    ) -> Inserted | Conflict:
        return await self._run("begin", lambda: self.rows.begin(new, holder, lease, instead_of, self._clock()))

    async def move(
        self,
        version: Version,
        to: IntentState,
        who: Actor,
        holder: str,
        *,
        lease: float | None = None,
        look_in: float | None = None,
        changes: Changes = NO_CHANGES,
    ) -> Updated | Stale | NameTaken:
        step = transition(version.state, to, who)
        if to is IntentState.DONE or who is Actor.OPERATOR:
            raise ValueError("proof goes through found, and a person's decision through decide")
        if step.next_epoch and lease is None:
            raise ValueError("an open intent needs a lease")
        if not step.next_epoch:
            _stays_there(changes)
        return await self._run(
            "move", lambda: self.rows.move(version, to, who, holder, lease, look_in, changes, self._clock())
        )

    async def update(
        self,
        version: Version,
        holder: str,
        *,
        lease: float | None = None,
        look_in: float | None = None,
        changes: Changes = NO_CHANGES,
    ) -> Updated | Stale:
        _stays_there(changes)
        return await self._run(
            "keep", lambda: self.rows.update(version, holder, lease, look_in, changes, self._clock())
        )

    async def record_created(
        self, intent_id: str, runtime_id: str, *, look_in: float | None = None, changes: Changes = NO_CHANGES
    ) -> Intent | None:
        _stays_there(changes)
        return await self._run(
            "found", lambda: self.rows.record_created(intent_id, runtime_id, look_in, changes, self._clock())
        )

    async def decide(
        self,
        version: Version,
        decision: Decision,
        operator: str,
        *,
        runtime_id: str | None = None,
        note: str | None = None,
        changes: Changes = NO_CHANGES,
    ) -> Updated | Stale:
        _stays_there(changes)
        if (decision is Decision.MADE) != (runtime_id is not None):
            raise ValueError("what was made has an id, and what is absent has none")
        return await self._run(
            "decide",
            lambda: self.rows.decide(version, decision, operator, runtime_id, note, changes, self._clock()),
        )

    async def claim_due(self, holder: str, lease: float, limit: int) -> Sequence[Intent]:
        return await self._run("due", lambda: self.rows.claim_due(holder, lease, limit, self._clock()))

    async def get(self, intent_id: str) -> Intent | None:
        return await self._run("get", lambda: self.rows.intents.get(intent_id))

    async def by_key(self, principal: str, key: str) -> Intent | None:
        return await self._run("by_key", lambda: self.rows.by_key(principal, key))

    async def by_name(
        self, namespace: str, kind: str, name: str, *, other_than: str | None = None, done: bool = False
    ) -> Intent | None:
        return await self._run("by_name", lambda: self.rows.by_name(namespace, kind, name, other_than, done=done))

    async def made_under(self, namespace: str, kind: str, name: str, *, other_than: str) -> frozenset[str]:
        return await self._run("made_under", lambda: self.rows.made_under(namespace, kind, name, other_than))

    async def list(self, query: IntentQuery) -> Sequence[Intent]:
        return await self._run("list", lambda: self.rows.list(query))

    async def counts(self) -> Counts:
        return await self._run("counts", lambda: self.rows.counts(self._clock()))

    async def decisions(self, limit: int) -> Sequence[DecisionRecord]:
        return await self._run("decisions", lambda: self.rows.told[: -limit - 1 : -1])

    async def keep_spec(self, namespace: str, runtime_id: str, sealed: bytes) -> None:
        def update() -> None:
            self.rows.specs[namespace, runtime_id] = (sealed, self._clock())

        await self._run("keep_spec", update)

    async def specs(self, namespace: str, runtime_ids: Sequence[str]) -> Mapping[str, bytes]:
        def kept() -> dict[str, bytes]:
            found = ((one, self.rows.specs.get((namespace, one))) for one in runtime_ids)
            return {one: spec[0] for one, spec in found if spec is not None}

        return await self._run("specs", kept)

    async def drop_spec(self, namespace: str, runtime_id: str) -> None:
        await self._run("drop_spec", lambda: self.rows.specs.pop((namespace, runtime_id), None))

    async def acquire_leadership(self, role: str, holder: str, lease: float) -> bool:
        return await self._run("lead", lambda: self.rows.acquire_leadership(role, holder, lease, self._clock()))

    async def purge(self, *, settled: float, kept: float, limit: int) -> int:
        return await self._run("purge", lambda: self.rows.purge(settled, kept, limit, self._clock()))

    async def _run(self, call: str, operation: Callable[[], T]) -> T:
        if not self._opened:
            raise StoreUnavailable("The store is closed.", retry_after=2.0)
        if self._on_call is None:
            return operation()
        await self._on_call(call, False)
        result = operation()
        await self._on_call(call, True)
        return result


def _stays_there(changes: Changes) -> None:
    if _WHERE_IT_GOES & changes.set().keys():
        raise ValueError("only a step to open may change where an intent goes")
