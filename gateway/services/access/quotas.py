"""Quotas: how many runtimes an owner has, and how many of them run (docs/access.md#limits).

The store has a place for each runtime of an owner with such a limit. What ends or begins without the gateway is found
by a count: the owner's runtimes are listed at all providers before its first place, then at most every
:data:`COUNT_AFTER` seconds, and before a refusal, unless the last count is younger than :data:`FRESH` seconds.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from cachetools import LRUCache

from gateway.domain import errors
from gateway.domain.access import Limits, Principal, limit_of, share
from gateway.domain.ids import RuntimeRef
from gateway.domain.lifecycle import is_live
from gateway.domain.pages import ProviderQuery
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation, State
from gateway.ports.context import RequestContext
from gateway.ports.places import NoPlace, Place, PlaceClaim, PlaceStore
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Call
from gateway.services.runtime_locks import RuntimeLocks
from gateway.services.specs import SpecKeeper

if TYPE_CHECKING:
    from gateway.services.fleet import Fleet, Provider

T = TypeVar("T")

COUNT_AFTER: Final = 600.0
"""Seconds after which the places of an owner are counted again before it takes another one."""
FRESH: Final = 10.0
"""Seconds after a count in which a refusal relies on it."""
COUNT_WITHIN: Final = 5.0
"""Seconds that a count may take; the places at a provider that does not answer stay as they are."""

MAX_RELEASED: Final = 10_000
"""Owners that are known to have released something; beyond that, the one that was noted first is forgotten."""

_PAGES: Final = 20
_ROWS: Final = 100
_READS: Final = 20
_RUNS: Final = frozenset({State.STARTING, State.RUNNING, State.STOPPING})


@dataclass(slots=True, eq=False, repr=False)
class Quotas:
    """Takes and counts the places of callers with a limit on them. Without a store, nothing is limited. ``refused`` is
    called with the name of a limit that refused something. Each of several ``workers`` allows its share of the
    connections."""

    _fleet: "Fleet"
    _store: PlaceStore | None = None
    _specs: SpecKeeper | None = None
    _refused: Callable[[str], None] = lambda _: None
    _workers: int = 1
    _locks: RuntimeLocks = field(default_factory=RuntimeLocks, init=False)
    _connections: Counter[str] = field(default_factory=Counter, init=False)
    _released: LRUCache[str, None] = field(default_factory=lambda: LRUCache(MAX_RELEASED), init=False)

    async def hold(
        self, principal: Principal | None, write: Callable[[PlaceClaim | None], Awaitable[T]], *, starts: bool
    ) -> T:
        """The result of a write that takes a place for the caller, if there is one. Raises :class:`QuotaExceeded`."""
        store = self._store
        if store is None or principal is None or (limits := principal.limits) is None or not limits.has_places:
            return await write(None)
        claim = PlaceClaim(
            owner=principal.owner,
            starts=starts,
            running=limits.running,
            runtimes=limits.runtimes,
            count_after=COUNT_AFTER,
        )
        try:
            return await write(claim)
        except NoPlace as none:
            self._require_count(none, claim.owner)
        async with self._locks.hold(claim.owner, COUNT_WITHIN * 4, "The caller's runtimes are being counted."):
            try:
                return await write(claim)  # another request may have counted meanwhile
            except NoPlace as none:
                self._require_count(none, claim.owner)
            await self._count(store, claim.owner)
            try:
                return await write(msgspec.structs.replace(claim, count_after=None))
            except NoPlace as none:
                raise self._exceeded(none) from none

    async def begin(self, adapter: ProviderAdapter[Any], runtime: Runtime, principal: Principal) -> None:
        """Take a place for the instance that the caller is about to start, and plan its end, where it is limited.
        ``runtime`` is as it was read just before. Raises :class:`QuotaExceeded` and :class:`StoreUnavailable`; nothing
        may be started then."""
        if (store := self._store) is not None and runtime.state not in {State.STARTING, State.RUNNING}:
            place = _place_of(adapter, runtime, principal.owner, running=True)

            async def take(claim: PlaceClaim | None) -> None:
                if claim is not None:
                    await store.take_place(place, claim)

            await self.hold(principal, take, starts=True)
        await self._fleet.lifetimes.begin(adapter, runtime, principal)

    async def released(self, operation: Operation, ctx: RequestContext, ref: RuntimeRef | None) -> None:
        """Release what an operation of the caller has released at the provider of the context, or what a start has
        taken that has failed. If the runtime's address is not known, or it has not ended yet, or the store is away, the
        next refusal counts first."""
        limits, state = ctx.principal.limits, ctx.state
        if self._store is None or limits is None or not limits.has_places:
            return
        self._released[ctx.principal.owner] = None
        deleted = operation is Operation.DELETE
        if ref is not None and (deleted or state not in _RUNS):
            gone = deleted or not (state is None or is_live(state))
            with suppress(errors.StoreUnavailable):
                await self._store.set_place(ctx.provider or "", ref.provider_id, running=None if gone else False)

    @contextmanager
    def connection(self, principal: Principal) -> Iterator[None]:
        """One connection of a caller through the data plane of this process. Raises :class:`QuotaExceeded`."""
        limit = None if principal.limits is None else self.connections_allowed(principal.limits)
        used = self.connections_of(principal)
        if limit is not None and used >= limit:
            self._refused("connections")
            raise errors.QuotaExceeded(
                f"The caller may have {limit} connections at once.",
                source=errors.Source.GATEWAY,
                retryable=errors.Retryable.YES,
                retry_after=1,
                extra={"limit": limit_of("connections", limit, used)},
            )
        self._connections[principal.owner] += 1
        try:
            yield
        finally:
            self._connections[principal.owner] -= 1
            if not self._connections[principal.owner]:
                del self._connections[principal.owner]

    def connections_allowed(self, limits: Limits) -> int | None:
        """The limit of the connections through the data plane of this process."""
        return None if limits.connections is None else share(limits.connections, self._workers)

    def connections_of(self, principal: Principal) -> int:
        """How many connections the caller has through the data plane of this process."""
        return self._connections[principal.owner]

    async def used(self, principal: Principal) -> tuple[int, int] | None:
        """How many instances of the caller run, and how many runtimes it has; None without the store."""
        try:
            places = () if self._store is None else await self._store.places(principal.owner)
        except errors.StoreUnavailable:
            return None
        return sum(place.running for place in places), len(places)

    def _require_count(self, none: NoPlace, owner: str) -> None:
        """Raise :class:`QuotaExceeded` if the last count is good enough for a refusal."""
        fresh = none.counted is not None and none.counted <= FRESH
        if none.limit is not None and fresh and owner not in self._released:
            raise self._exceeded(none) from none

    def _exceeded(self, none: NoPlace) -> errors.QuotaExceeded:
        limit = none.limit or ""
        self._refused(limit)
        what = "instances that run" if limit == "running" else "runtimes"
        held_by = [shown for place in none.held if (shown := self._public_id(place)) is not None]
        return errors.QuotaExceeded(
            f"The caller may have {none.value} {what}; nothing was done.",
            source=errors.Source.GATEWAY,
            retryable=errors.Retryable.YES,
            retry_after=FRESH,
            extra={"limit": limit_of(limit, none.value, none.used), "held_by": held_by},
        )

    def _public_id(self, place: Place) -> str | None:
        provider = self._fleet.get(place.provider)
        if provider is None or place.runtime_id is None:
            return None
        return self._fleet.first_id(provider.adapter, _ref(place))

    async def _count(self, store: PlaceStore, owner: str) -> None:
        self._released.pop(owner, None)
        places = [place for place in await store.places(owner) if place.runtime_id is not None]
        counts = [_Count(self._fleet, self._specs, provider, owner, places) for provider in self._fleet]
        await asyncio.gather(*(count.run() for count in counts))
        gone = [place for place in places if self._fleet.get(place.provider) is None]
        gone += [place for count in counts for place in count.gone]
        await store.count_places(owner, [place for count in counts for place in count.found], gone)


class _Count:
    """A count of an owner's runtimes at one provider. ``found`` are the places as they should be, where they differ,
    ``gone`` those to be given back."""

    def __init__(
        self, fleet: "Fleet", specs: SpecKeeper | None, provider: "Provider", owner: str, places: list[Place]
    ) -> None:
        self._fleet, self._provider, self._owner = fleet, provider, owner
        self._specs = specs or SpecKeeper(None, None, fleet.clock)
        self._places = {place.runtime_id: place for place in places if place.provider == provider.name}
        self.found: list[Place] = []
        self.gone: list[Place] = []

    async def run(self) -> None:
        """Count until the time is over, or the provider fails. What is not read by then stays as it is."""
        ctx = RequestContext("count-of-places")
        with suppress(errors.GatewayError):
            async with self._fleet.call_scope(self._provider, Operation.LIST, ctx, at_most=COUNT_WITHIN) as call:
                for scope in self._scopes():
                    await self._list(scope, call)
                for place in list(self._places.values())[:_READS]:  # those that no list has shown
                    try:
                        self._read(await self._provider.adapter.get(_ref(place), call))
                    except (errors.NotFound, errors.RuntimeReplaced):
                        self.gone.append(place)

    def _scopes(self) -> list[str]:
        pinned = self._provider.pinned_scope
        return sorted({place.scope for place in self._places.values()}) if pinned is None else [pinned]

    async def _list(self, scope: str, call: Call) -> None:
        cursor = None
        for _ in range(_PAGES):
            query = ProviderQuery(scope=scope, limit=_ROWS, cursor=cursor)
            page = await self._provider.adapter.list(query, call)
            for row in self._specs.fill_all(self._provider.adapter, page.items):
                self._read(row)
            cursor = page.next_cursor
            if cursor is None:
                return

    def _read(self, runtime: Runtime) -> None:
        if self._fleet.moves.of_source(self._provider.name, runtime.provider_id) is not None:
            return  # it is counted where it is now
        owner, place = self._fleet.owners.owner_of(runtime), self._places.pop(runtime.provider_id, None)
        running, counts = runtime.state in _RUNS, is_live(runtime.state)
        if place is None:
            if owner == self._owner and counts:
                self.found.append(_place_of(self._provider.adapter, runtime, owner, running=running))
        elif not counts or owner not in {None, self._owner}:
            self.gone.append(place)
        elif place.running is not running and runtime.state is not State.UNKNOWN:
            self.found.append(msgspec.structs.replace(place, running=running))


def _ref(place: Place) -> RuntimeRef:
    return RuntimeRef(place.scope, place.runtime_id or "", place.name)


def _place_of(adapter: ProviderAdapter[Any], runtime: Runtime, owner: str, *, running: bool) -> Place:
    ref = adapter.reference(runtime)
    return Place(
        id=f"{adapter.name}/{ref.provider_id}",
        owner=owner,
        provider=adapter.name,
        scope=ref.scope,
        name=runtime.name,
        runtime_id=ref.provider_id,
        running=running,
    )
