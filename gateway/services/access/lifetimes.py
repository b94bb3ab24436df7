"""The maximum lifetime of instances that limited principals start (docs/access.md#maximum-lifetime).

The store has the planned end of each of them, written before the start is sent. A copy in memory, which is read again
every few seconds, shows it in runtimes without a call of the store.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from gateway.domain.access import Principal
from gateway.domain.constraints import not_allowed
from gateway.domain.errors import PermissionDenied, StoreUnavailable
from gateway.domain.runtime import Runtime
from gateway.domain.values import Feature, State
from gateway.ports.clock import Clock
from gateway.ports.places import EndStore, PlannedEnd
from gateway.ports.provider import ProviderAdapter

MAX_SHOWN: Final = 10_000
"""The maximum number of planned ends in memory: those of the runtimes that are read next."""

_OVER: Final = frozenset({State.IDLE, State.STOPPING, State.STOPPED, State.FAILED})


def can_stop(adapter: ProviderAdapter[Any]) -> bool:
    """Whether the provider has a stop that keeps the runtime's state."""
    return Feature.STOP in adapter.features and Feature.STOP_DISCARDS_STATE not in adapter.features


def lives(adapter: ProviderAdapter[Any], runtime: Runtime) -> bool:
    """Whether a runtime has an instance that has to be ended. A paused one has not where a pause is how it is ended."""
    if runtime.state is State.PAUSED:
        return can_stop(adapter)
    return runtime.state not in _OVER


class Lifetimes:
    """Plans the ends of instances, and shows them."""

    def __init__(self, store: EndStore | None, clock: Clock) -> None:
        """Without a store nothing is planned."""
        self._store = store
        self._clock = clock
        self._ends: Mapping[tuple[str, str], PlannedEnd] = {}

    async def begin(self, adapter: ProviderAdapter[Any], runtime: Runtime, principal: Principal) -> None:
        """Plan the end of the instance that the caller is about to start. ``runtime`` is as it was read just before: an
        instance that lives keeps its end. A start without a limit removes one that is left over. Raises
        :class:`StoreUnavailable`; nothing may be started then."""
        lifetime = principal.max_lifetime
        if self._store is None or runtime.state in {State.STARTING, State.RUNNING}:
            return
        if lifetime is None:
            left = self._ends.get((runtime.provider, runtime.provider_id))
            if left is not None and not lives(adapter, runtime):
                with suppress(StoreUnavailable):
                    await self._store.drop_end(left)
            return
        if lives(adapter, runtime) and await self._store.planned_end(runtime.provider, runtime.provider_id) is not None:
            return
        self._hold(await self._store.plan_end(runtime.provider, adapter.reference(runtime), principal.name, lifetime))

    async def require_keepalive(self, runtime: Runtime, seconds: int, principal: Principal) -> None:
        """Raise :class:`PermissionDenied` for a keepalive of a limited caller that would go beyond the planned end."""
        if principal.max_lifetime is None or self._store is None:
            return
        end = await self._store.planned_end(runtime.provider, runtime.provider_id)
        if end is None:
            return
        expires = _moment(runtime.expires_at) or datetime.fromtimestamp(self._clock.now(), UTC)
        if expires + timedelta(seconds=seconds) > datetime.fromtimestamp(end.due_at, UTC):
            detail = f"The runtime ends at {_written(end.due_at)}, the caller's maximum lifetime."
            raise PermissionDenied(detail, errors=[not_allowed(detail, "#/extend_seconds")])

    async def refresh(self) -> Sequence[PlannedEnd]:
        """Read the planned ends from the store. Raises :class:`StoreUnavailable`."""
        ends = () if self._store is None else await self._store.planned_ends(MAX_SHOWN)
        self._ends = {(end.provider, end.runtime_id): end for end in ends}
        return ends

    async def learn(self, runtime: Runtime, principal: Principal) -> None:
        """Read the planned end of a runtime that a limited caller has created, so that reads show it at once."""
        if principal.max_lifetime is None or self._store is None:
            return
        try:
            end = await self._store.planned_end(runtime.provider, runtime.provider_id)
        except StoreUnavailable:
            return  # it is shown after the next refresh
        if end is not None:
            self._hold(end)

    def has_end(self, provider: str, runtime_id: str | None = None) -> bool:
        """Whether the end of an instance of this runtime, or of any at the provider, is planned, as far as this process
        knows. No I/O."""
        if runtime_id is not None:
            return (provider, runtime_id) in self._ends
        return any(known == provider for known, _ in self._ends)

    def shown(self, adapter: ProviderAdapter[Any], runtime: Runtime) -> Runtime:
        """The runtime, with its planned end as ``expires_at`` unless the provider's is earlier. No I/O."""
        if not self._ends:
            return runtime
        end = self._ends.get((runtime.provider, runtime.provider_id))
        if end is None or not lives(adapter, runtime):
            return runtime
        if end.instance is not None and adapter.instance_of(runtime) not in {None, end.instance}:
            return runtime
        provided = _moment(runtime.expires_at)
        if provided is not None and provided <= datetime.fromtimestamp(end.due_at, UTC):
            return runtime
        return msgspec.structs.replace(runtime, expires_at=_written(end.due_at))

    def shown_rows(self, adapter: ProviderAdapter[Any], rows: Sequence[Runtime]) -> Sequence[Runtime]:
        """As :meth:`shown`, for the rows of a list."""
        return [self.shown(adapter, row) for row in rows] if self._ends else rows

    def _hold(self, end: PlannedEnd) -> None:
        self._ends = {**self._ends, (end.provider, end.runtime_id): end}


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(text: str | None) -> datetime | None:
    """A time that a provider wrote; without a zone it is in UTC. None if it is not a time."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
