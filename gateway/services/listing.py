"""One list over all providers. They are queried concurrently, and the failure of one does not fail the list."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass
from typing import Final, NamedTuple

from msgspec.structs import replace

from gateway.domain.access import Principal
from gateway.domain.errors import FieldError, GatewayError, InternalError, InvalidRequest
from gateway.domain.list_progress import Progress
from gateway.domain.pages import EVERYTHING, ListFilter, ListWarning, ProviderPage, ProviderQuery
from gateway.domain.runtime import Runtime
from gateway.domain.values import CreateFeature, Operation
from gateway.ports.context import RequestContext
from gateway.ports.sealing import Sealer
from gateway.services.access.cursors import CursorSeal
from gateway.services.access.visibility import narrowed
from gateway.services.fleet import Fleet, Provider
from gateway.services.list_cursors import decode_cursor, encode_cursor
from gateway.services.participants import Participant, incomplete, warnings_of
from gateway.services.specs import SpecKeeper

_SURFACE: Final = "v1"
_LARGE_PAGE: Final = 100  # rows that a provider is asked for where many of them may be left out


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """The caller's query. ``owner``: only runtimes of this owner; ``me`` is the caller. ``labels``: only
    runtimes with all these labels. ``partial`` False: an incomplete page is an error. ``without``: members to
    leave out of the rows."""

    filter: ListFilter
    providers: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    limit: int = 50
    cursor: str | None = None
    partial: bool = True
    owner: str | None = None
    labels: frozenset[tuple[str, str]] = frozenset()
    without: frozenset[str] = frozenset()

    @property
    def named(self) -> bool:
        """Whether one runtime is looked for: then a page with one is not filled."""
        return self.filter.name is not None or self.filter.outward_name is not None

    @property
    def thins(self) -> bool:
        """Whether rows of the provider's pages may be left out."""
        return self.owner is not None or bool(self.labels) or self.filter != EVERYTHING


class _Terms(NamedTuple):
    """What applies to all participants of a page. ``fills``: one whose rows are left out is asked for further pages.
    ``large``: providers are asked for larger pages, because many rows may be left out."""

    query: ListQuery
    ctx: RequestContext
    fills: bool
    large: bool


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A page. ``failures`` are the providers that failed, with their errors. ``providers`` are all that take part in
    the list. ``warnings`` report the rows that could not be read."""

    items: list[Runtime]
    next_cursor: str | None
    failures: list[tuple[str, GatewayError]]
    providers: tuple[str, ...] = ()
    warnings: Sequence[ListWarning] = ()


class ListService:
    def __init__(self, fleet: Fleet, specs: SpecKeeper | None = None, sealer: Sealer | None = None) -> None:
        """``specs`` fills in values that providers do not report. ``sealer`` encrypts the cursors of callers that see
        only their own runtimes, and is required for them."""
        self._fleet = fleet
        self._sealer = sealer
        self._specs = specs or SpecKeeper(None, None, fleet.clock)
        self.on_whole: Callable[[Provider, Sequence[Runtime]], None] | None = None
        """Called with all runtimes of a provider in a scope, if one page without a filter has all of them."""

    async def page(self, query: ListQuery, ctx: RequestContext) -> ListedPage:
        """One page. One that the filter makes short is filled from further pages of the providers.

        Raises :class:`InvalidRequest` for an invalid cursor, a cursor of another list, and an unknown provider. If all
        participants of the first page fail, or any fails and ``partial`` is False, raises :class:`ProviderUnavailable`
        (with ``incomplete`` in its ``extra``), or :class:`InvalidRequest` if only a scope is missing.
        """
        progress = decode_cursor(query, self._seal_of(ctx.principal))
        asked_for, query = query, narrowed(query, ctx.principal, self._fleet.owners)
        participants = self._participants(query, ctx)
        since = self._fleet.moves.latest
        for participant in participants:
            key = participant.key
            participant.progress = progress.get(key) or progress.setdefault(key, Progress(since=since))
        await self._collect(participants, query, ctx)
        if self.on_whole is not None and query.cursor is None and not query.thins and not ctx.principal.confined:
            for p in participants:
                if p.progress.done and p.failure is None:
                    self.on_whole(p.provider, p.items)
        failures = [(p.provider.name, p.failure) for p in participants if p.failure is not None]
        none_answered = query.cursor is None and all(p.failure and not p.answered for p in participants)
        if failures and (none_answered or not query.partial):
            refused = [p.refusal for p in participants if isinstance(p.refusal, InvalidRequest)]
            raise refused[0] if len(refused) == len(failures) else incomplete(failures)
        has_more = not all(p.progress.done for p in participants)
        return ListedPage(
            [runtime for p in participants for runtime in p.items],
            encode_cursor(asked_for, progress, self._seal_of(ctx.principal)) if has_more else None,
            failures,
            tuple(dict.fromkeys(p.provider.name for p in participants)),
            warnings_of(participants),
        )

    async def read_whole(
        self, query: ListQuery, ctx: RequestContext, take: Callable[[Participant], Awaitable[None]], until: float
    ) -> Sequence[Participant]:
        """Read the lists of all participants to their ends, side by side, and return the participants. ``take`` is
        called after each page, with the participant that has it. One without a failure that is not ``done`` has more
        rows than could be read ``until`` a time of the monotonic clock. Raises as :meth:`page`, but not for providers
        that fail."""
        query, since = narrowed(query, ctx.principal, self._fleet.owners), self._fleet.moves.latest
        participants, terms = self._participants(query, ctx), self._terms(query, ctx)

        async def read(participant: Participant) -> None:
            participant.progress = Progress(since=since)
            while not participant.finished and self._fleet.clock.monotonic() < until:
                await self._ask(participant, terms, _LARGE_PAGE, 1)
                if participant.items:
                    await take(participant)
                participant.items, participant.pages = [], 0

        await asyncio.gather(*map(read, participants))
        if len(participants) > 1:
            ctx.provider = None
        return participants

    async def _collect(self, participants: Sequence[Participant], query: ListQuery, ctx: RequestContext) -> None:
        """Ask the participants, side by side, for their shares of the page. With a filter, those that have more are
        asked again for what the others left free."""
        terms = self._terms(query, ctx)
        unfinished, room, fill_until = list(participants), query.limit, math.inf
        while room and self._fleet.clock.monotonic() < fill_until:
            unfinished = [p for p in unfinished if not p.finished]
            asked = unfinished[:room]
            if not asked:
                break
            share, rest = divmod(room, len(asked))
            calls = [self._ask(p, terms, share + (index < rest), len(unfinished)) for index, p in enumerate(asked)]
            if len(calls) == 1:
                await calls[0]  # a single participant needs no task of its own
            else:
                await asyncio.gather(*calls)
            if not terms.fills or (query.named and any(p.items for p in participants)):
                break
            room = query.limit - sum(len(p.items) for p in participants)
            fill_until = min(fill_until, max(p.fill_until for p in asked))
        if sum(p.pages > 0 or p.failure is not None for p in participants) > 1:
            ctx.provider = None  # the request called several providers

    def _seal_of(self, principal: Principal) -> CursorSeal | None:
        if not principal.own_only and principal.view is None:
            return None
        assert self._sealer is not None  # noqa: S101 (the application always has one)
        return CursorSeal(self._sealer, principal.owner, _SURFACE)

    def _participants(self, query: ListQuery, ctx: RequestContext) -> list[Participant]:
        unknown = sorted(name for name in query.providers if self._fleet.get(name) is None)
        if unknown and ctx.principal.restrictions.providers is None:
            detail = f"This gateway has no provider {unknown[0]}; it has: {self._fleet.names(ctx)}."
            raise InvalidRequest(detail, errors=[FieldError(detail, "unknown_provider", parameter="provider")])
        found: list[Participant] = []
        for provider in self._fleet.visible(ctx):
            if query.providers and provider.name not in query.providers:
                continue
            if query.filter.kinds and not query.filter.kinds & provider.adapter.kinds:
                continue
            if query.labels and CreateFeature.LABELS not in provider.adapter.features:
                continue
            try:
                found += self._scopes(provider, query)
            except Exception as exc:  # noqa: BLE001 (as in _ask)
                found.append(Participant(provider, "", self._bug(provider, exc, ctx)))
        return found

    def _scopes(self, provider: Provider, query: ListQuery) -> list[Participant]:
        wanted = []
        for scope in sorted(query.scopes):
            try:
                wanted.append(provider.adapter.parse_scope(scope))
            except ValueError:
                continue  # a scope of another provider API
        pinned = provider.pinned_scope
        if pinned is not None:
            return [Participant(provider, pinned)] if not query.scopes or pinned in wanted else []
        if not query.scopes:
            detail = f"The provider {provider.name} has no fixed scope: name those to list with the parameter scope."
            refusal = InvalidRequest(
                detail, errors=[FieldError(detail, "required", parameter="scope")], provider=provider.name
            )
            return [Participant(provider, "", refusal)]
        return [Participant(provider, scope) for scope in dict.fromkeys(wanted)]

    def _terms(self, query: ListQuery, ctx: RequestContext) -> _Terms:
        fills = query.thins or self._fleet.moves.latest > 0
        return _Terms(query, ctx, fills, query.owner is not None or bool(query.labels) or ctx.principal.own_only)

    async def _ask(self, participant: Participant, terms: _Terms, limit: int, active: int) -> None:
        """Add up to ``limit`` runtimes of a participant to the page."""
        if participant.refusal is not None:
            participant.fail(participant.refusal)
            return
        adapter, progress, clock = participant.provider.adapter, participant.progress, self._fleet.clock
        query, ctx, large = terms.query, terms.ctx, terms.large or progress.skip > 0
        most = len(participant.items) + limit
        try:
            async with self._fleet.call_scope(participant.provider, Operation.LIST, ctx, only_reads=True) as call:
                participant.fill_until = (clock.monotonic() + call.deadline) / 2
                while True:
                    participant.pages += 1
                    asked = ProviderQuery(
                        scope=participant.scope,
                        filter=query.filter,
                        limit=max(limit, _LARGE_PAGE) if large else limit,
                        cursor=progress.cursor,
                    )
                    page = await self._shown(await adapter.list(asked, call), participant, query, ctx)
                    if query.labels:
                        page = await self._labelled(page, participant, query.labels)
                    participant.add(page, most - len(participant.items), active)
                    full = len(participant.items) >= (1 if query.named else most)
                    if full or participant.finished or not terms.fills or clock.monotonic() >= participant.fill_until:
                        break
                    large = True
        except GatewayError as error:
            participant.fail(error)
        except Exception as exc:  # noqa: BLE001 (a bug in one adapter must not hide the runtimes of the others)
            participant.fail(self._bug(participant.provider, exc, ctx))

    async def _shown(
        self, page: ProviderPage, participant: Participant, query: ListQuery, ctx: RequestContext
    ) -> ProviderPage:
        """The page as the caller sees it, each runtime where it was when the list began. Rows that cannot be read are
        left out in silence where they may be another owner's."""
        adapter, fleet, since = participant.provider.adapter, self._fleet, participant.progress.since
        await fleet.know_moves(adapter.name, since)
        listed, specs = fleet.moves.listed(since, adapter.name, page.items), self._specs
        if query.owner is None:
            items = fleet.shown_rows(adapter, specs.fill_all(adapter, listed))
        else:
            owner = ctx.principal.owner if query.owner == "me" else query.owner
            filled, unknown = await specs.owned(adapter, listed)
            if participant.progress.skip == 0:
                participant.unowned += unknown
            items = [runtime for runtime in fleet.shown_rows(adapter, filled) if runtime.owner == owner]
        return replace(page, items=items, unreadable=() if ctx.principal.own_only else page.unreadable)

    async def _labelled(
        self, page: ProviderPage, participant: Participant, wanted: Set[tuple[str, str]]
    ) -> ProviderPage:
        """The page without the runtimes that do not have the labels, or of which it is not known."""
        adapter = participant.provider.adapter
        labels = await self._specs.labels(adapter, page.items)
        if participant.progress.skip == 0:
            participant.unlabelled += labels.count(None)
        found = [
            self._specs.fill(adapter, row)
            for row, known in zip(page.items, labels, strict=True)
            if known is not None and known.items() >= wanted
        ]
        return replace(page, items=found)

    def _bug(self, provider: Provider, exc: Exception, ctx: RequestContext) -> InternalError:
        if self._fleet.observer is not None:
            self._fleet.observer.unexpected_error(provider.name, Operation.LIST, ctx.request_id, exc)
        return InternalError(
            f"Internal error with the provider {provider.name}; the log of the gateway has the details under this "
            "request_id.",
            provider=provider.name,
        )
