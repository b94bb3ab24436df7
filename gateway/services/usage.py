"""Usage: how many runtimes there are and what they cost, by provider, kind, state, owner or label.

A caller's figures are counted from its own lists, read to their ends. They are kept for a time in proportion to how
long that took, so that a caller who asks often does not make the providers work more.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Self, TypeAlias

from cachetools import LRUCache
from msgspec import UNSET, UnsetType

from gateway.domain.access import Reader, Restrictions, refuse_named
from gateway.domain.errors import GatewayError, InvalidRequest, ProviderTimeout
from gateway.domain.pages import Incomplete, ListWarning
from gateway.domain.runtime import Cost, Model, Runtime
from gateway.ports.context import RequestContext
from gateway.services.access.me import instant
from gateway.services.fleet import Fleet, Provider
from gateway.services.listing import ListQuery, ListService
from gateway.services.participants import Participant, incomplete, warnings_of
from gateway.services.specs import SpecKeeper

LABEL: Final = "label:"
MOST_GROUPS: Final = 200
"""The maximum number of groups in a response: those with the most runtimes."""
COUNT_WITHIN: Final = 50.0
"""Seconds after which a provider whose list has not ended is reported as incomplete."""

_AT_ONCE: Final = 4  # counts of different callers that read lists at the same time
_KEPT_FOR: Final = 10  # times the seconds that a count took
_SHORTEST: Final = 2.0  # seconds
_LONGEST: Final = 300.0
_MOST_KEPT: Final = 64
_CREDITS: Final = Cost.__struct_fields__

GroupKey: TypeAlias = tuple[str | None, bool]
"""The value of a group, and whether it is known."""


class UsageCost(Cost, frozen=True, kw_only=True):
    """The costs of the current instances, in credits as the providers report them. ``runtimes``: for how many of the
    runtimes a provider reports one; those of the others are not known, and not in the sums."""

    runtimes: int


class UsageFigures(Model, frozen=True, kw_only=True):
    """Figures of runtimes. ``kinds`` and ``states`` have the number of runtimes of each kind and state that occurs.
    ``cost`` null: it is not known for any of them."""

    runtimes: int
    kinds: dict[str, int]
    states: dict[str, int]
    cost: UsageCost | None


class UsageGroup(UsageFigures, frozen=True, kw_only=True):
    """The runtimes with one ``value``. ``known`` False: those of which it is not known. ``value`` null and ``known``
    True: those without the label."""

    value: str | None
    known: bool


class Usage(Model, frozen=True, kw_only=True):
    """What the caller's runtimes are and cost. ``as_of`` is when the count began. ``left_out``: how many groups with
    fewer runtimes are missing from ``items``; their runtimes are in ``total``. The runtimes of ``incomplete`` providers
    are counted nowhere."""

    object: Literal["usage"] = "usage"
    by: str
    as_of: str
    total: UsageFigures
    items: list[UsageGroup]
    left_out: int
    incomplete: list[Incomplete]
    warnings: list[ListWarning] | UnsetType = UNSET


@dataclass(slots=True)
class Tally:
    """Counts runtimes by kind and state, and adds up the costs of the ``priced`` ones, whose costs are known."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    priced: int = 0
    credits: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, runtimes: Iterable[Runtime]) -> Self:
        tally = cls()
        for runtime in runtimes:
            tally.add(runtime)
        return tally

    def add(self, runtime: Runtime) -> None:
        self.counts[runtime.kind, runtime.state] += 1
        if runtime.cost:
            self.priced += 1
            for name in _CREDITS:
                self.credits[name] += getattr(runtime.cost, name)

    def add_all(self, other: "Tally") -> None:
        self.counts += other.counts
        self.priced += other.priced
        self.credits.update(other.credits)

    def figures(self) -> UsageFigures:
        kinds, states = Counter[str](), Counter[str]()
        for (kind, state), count in self.counts.items():
            kinds[kind] += count
            states[state] += count
        cost = UsageCost(runtimes=self.priced, **self.credits) if self.priced else None
        return UsageFigures(
            runtimes=self.counts.total(),
            kinds=dict(sorted(kinds.items())),
            states=dict(sorted(states.items())),
            cost=cost,
        )


Tallies: TypeAlias = dict[GroupKey, Tally]


@dataclass(frozen=True, slots=True)
class Counted:
    """A count: the groups of the participants whose lists ended, the ``failures`` of the others, by provider, and the
    warnings. ``at`` is in seconds since the epoch."""

    at: float
    groups: Tallies
    failures: Sequence[tuple[str, GatewayError]]
    warnings: Sequence[ListWarning]


_Key: TypeAlias = tuple[Reader, Restrictions, bool, str, ListQuery]


class UsageService:
    """Counts runtimes and their costs."""

    def __init__(self, fleet: Fleet, listing: ListService, specs: SpecKeeper | None = None) -> None:
        """``specs`` has labels that providers do not report."""
        self._fleet = fleet
        self._listing = listing
        self._specs = specs or SpecKeeper(None, None, fleet.clock)
        self.on_whole: Callable[[Provider, Tally, float], None] | None = None
        """Called when all runtimes of a provider in a scope were counted, with the time when the count began."""
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._counting: dict[_Key, asyncio.Event] = {}
        self._kept: LRUCache[_Key, tuple[float, Counted | GatewayError]] = LRUCache(_MOST_KEPT)

    async def usage(
        self, query: ListQuery, by: str | None, ctx: RequestContext, problem: Callable[[str, GatewayError], Incomplete]
    ) -> Usage:
        """The figures of the runtimes that a list with this query has, grouped ``by`` a criterion (by default the
        provider, or for callers that may not know it the state). ``problem`` describes a provider that failed.

        Raises as :meth:`ListService.page`, and :class:`PermissionDenied` for a criterion that the caller may not use.
        """
        caller = ctx.principal
        refuse_named(caller, ["provider"] if by == "provider" else (), parameter="by")
        by = by or ("provider" if caller.view is None else "state")
        counted = await self._counted((caller.reader, caller.restrictions, caller.own_only, by, query), ctx)
        total = Tally()
        for tally in counted.groups.values():
            total.add_all(tally)
        ordered = sorted(
            counted.groups.items(), key=lambda item: (-item[1].counts.total(), not item[0][1], str(item[0][0]))
        )
        return Usage(
            by=by,
            as_of=instant(counted.at) or "",
            total=total.figures(),
            items=[_group(key, tally.figures()) for key, tally in ordered[:MOST_GROUPS]],
            left_out=max(len(ordered) - MOST_GROUPS, 0),
            incomplete=[problem(name, error) for name, error in counted.failures],
            warnings=list(counted.warnings) or UNSET,
        )

    async def _counted(self, key: _Key, ctx: RequestContext) -> Counted:
        """The count that is kept, or a new one. Equal counts are made once."""
        clock = self._fleet.clock
        while (other := self._counting.get(key)) is not None:
            await other.wait()
        until, outcome = self._kept.get(key, (0.0, None))
        if outcome is None or clock.monotonic() >= until:
            self._counting[key] = asyncio.Event()
            try:
                async with self._limit:
                    began = clock.monotonic()
                    try:
                        outcome = await self._count(key[-1], key[-2], ctx)
                    except GatewayError as error:
                        outcome = error
                ended = clock.monotonic()
                self._kept[key] = ended + min(max((ended - began) * _KEPT_FOR, _SHORTEST), _LONGEST), outcome
            finally:
                self._counting.pop(key).set()
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome

    async def _count(self, query: ListQuery, by: str, ctx: RequestContext) -> Counted:
        clock, found = self._fleet.clock, defaultdict[Participant, Tallies](dict)
        at = clock.now()

        async def take(participant: Participant) -> None:
            groups = found[participant]
            for runtime, key in zip(participant.items, await self._keys(participant, by), strict=True):
                groups.setdefault(key, Tally()).add(runtime)

        participants = await self._listing.read_whole(query, ctx, take, clock.monotonic() + COUNT_WITHIN)
        failures = [(each.provider.name, error) for each in participants if (error := _failure(each)) is not None]
        if failures and len(failures) == len(participants):
            refused = [error for _, error in failures if isinstance(error, InvalidRequest)]
            raise refused[0] if len(refused) == len(failures) else incomplete(failures)
        groups: Tallies = {}
        for participant in participants:
            if participant.failure is None and participant.progress.done:
                whole = Tally()
                for key, tally in found[participant].items():
                    groups.setdefault(key, Tally()).add_all(tally)
                    whole.add_all(tally)
                if self.on_whole is not None and not query.thins and not ctx.principal.confined:
                    self.on_whole(participant.provider, whole, at)
        return Counted(at, groups, failures, warnings_of(participants))

    async def _keys(self, participant: Participant, by: str) -> Iterable[GroupKey]:
        """The group of each runtime of a page."""
        rows: Sequence[Runtime] = participant.items
        if by.startswith(LABEL):
            labels = await self._specs.labels(participant.provider.adapter, rows)
            return [(None, False) if known is None else (known.get(by[len(LABEL) :]), True) for known in labels]
        if by == "owner":
            rows, _ = await self._specs.owned(participant.provider.adapter, rows)
        values = [getattr(row, by) for row in rows]
        return [(None if value is None else str(value), value is not None) for value in values]


def _failure(participant: Participant) -> GatewayError | None:
    """Why the list of a participant was not read to its end; None if it was."""
    if participant.failure is not None or participant.progress.done:
        return participant.failure
    name = participant.provider.name
    detail = f"The list of the provider {name} could not be read to its end within {COUNT_WITHIN:.0f} seconds."
    return ProviderTimeout(detail, provider=name)


def _group(key: GroupKey, figures: UsageFigures) -> UsageGroup:
    value, known = key
    return UsageGroup(
        value=value,
        known=known,
        runtimes=figures.runtimes,
        kinds=figures.kinds,
        states=figures.states,
        cost=figures.cost,
    )
