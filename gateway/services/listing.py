"""One list over all providers. They are queried concurrently, and the failure of one does not fail the list."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
from msgspec import UNSET

from gateway.domain.access import Principal
from gateway.domain.errors import (
    FieldError,
    GatewayError,
    InternalError,
    InvalidRequest,
    ProviderBadResponse,
    ProviderFailure,
    ProviderUnavailable,
)
from gateway.domain.ids import b64url_bytes, bytes_from_b64url
from gateway.domain.list_progress import Progress
from gateway.domain.operations import Operation
from gateway.domain.pages import ListFilter, ListWarning, ProviderPage, ProviderQuery, UnreadableRow
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.sealing import Sealer
from gateway.services.access.cursors import CursorSeal
from gateway.services.access.visibility import narrowed
from gateway.services.fleet import Fleet, Provider
from gateway.services.specs import SpecKeeper

_FAILURES_UNTIL_DONE: Final = 2
_CHECK_BYTES: Final = 8
_MAX_CURSOR: Final = 6000
_MAX_WARNINGS: Final = 100
_SURFACE: Final = "v1"
_OWNED_ROWS: Final = 100  # asked of a provider for a page of a caller that sees only a part of them


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """The caller's query. ``owner``: only runtimes of this owner; ``me`` is the caller. ``partial`` False: an
    incomplete page is an error."""

    filter: ListFilter
    providers: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    limit: int = 50
    cursor: str | None = None
    partial: bool = True
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A page. ``failures`` are the providers that failed, with their errors. ``providers`` are all that take part in
    the list. ``warnings`` report the rows that could not be read."""

    items: list[Runtime]
    next_cursor: str | None
    failures: list[tuple[str, GatewayError]]
    providers: tuple[str, ...] = ()
    warnings: Sequence[ListWarning] = ()


@dataclass(frozen=True, slots=True)
class _Participant:
    """One provider in one scope. ``refusal`` is set if it cannot take part."""

    provider: Provider
    scope: str
    refusal: GatewayError | None = None

    @property
    def key(self) -> str:
        return f"{self.provider.name}/{self.scope}"


@dataclass(slots=True)
class _Collected:
    """The results of the participants of a page. ``lost`` are those whose complete list had no readable row."""

    items: list[Runtime] = field(default_factory=list)
    failures: list[tuple[str, GatewayError]] = field(default_factory=list)
    lost: list[tuple[str, GatewayError]] = field(default_factory=list)
    unreadable: list[tuple[str, UnreadableRow]] = field(default_factory=list)
    active: int = 1

    def add(self, participant: _Participant, result: ProviderPage | GatewayError, state: Progress, limit: int) -> None:
        """Add one result, and update the progress ``state`` of the participant.

        Rows that the provider repeats, and rows beyond ``limit``, are not added (:meth:`Progress.take`). A list that
        would never end is ended with an error."""
        name = participant.provider.name
        if isinstance(result, GatewayError):
            self.failures.append((name, result))
            state.failures += 1
            state.done = participant.refusal is not None or state.failures >= _FAILURES_UNTIL_DONE
            return
        if fault := state.fault(result):
            error = ProviderBadResponse(f"The provider {name} {fault}.", failure=ProviderFailure(name))
            self.failures.append((name, error))
            state.done = True
            return
        if state.skip == 0:
            self.unreadable += [(name, row) for row in result.unreadable]
        state.failures, state.readable = 0, state.readable or result.readable
        taken = state.take(result, [runtime.id for runtime in result.items], limit, self.active)
        self.items += [result.items[position] for position in taken]
        if state.done and not state.readable:
            detail = f"None of the runtimes that the provider {name} listed can be read."
            self.lost.append((name, ProviderBadResponse(detail, provider=name)))

    def raise_if_incomplete(self, asked: Sequence[_Participant]) -> None:
        """Raise the error of a list that must not be incomplete, if participants are missing."""
        missing = self.failures + self.lost
        if missing:
            refused = [p.refusal for p in asked if isinstance(p.refusal, InvalidRequest)]
            raise refused[0] if len(refused) == len(missing) else _incomplete(missing)


class ListService:
    """Lists the runtimes of the whole fleet."""

    def __init__(self, fleet: Fleet, specs: SpecKeeper | None = None, sealer: Sealer | None = None) -> None:
        """``specs`` fills in values that providers do not report. ``sealer`` encrypts the cursors of callers that see
        only their own runtimes, and is required for them."""
        self._fleet = fleet
        self._sealer = sealer
        self._specs = specs or SpecKeeper(None, None, fleet.clock)

    async def page(self, query: ListQuery, ctx: RequestContext) -> ListedPage:
        """One page.

        Raises :class:`InvalidRequest` for an invalid cursor, a cursor of another list, and an unknown provider. If all
        participants of the first page fail, or any fails and ``partial`` is False, raises :class:`ProviderUnavailable`
        (with ``incomplete`` in its ``extra``), or :class:`InvalidRequest` if only a scope is missing.
        """
        progress = _decode(query, self._seal_of(ctx.principal))
        asked_for, query = query, narrowed(query, ctx.principal, self._fleet.owners)
        participants = self._participants(query, ctx)
        since = self._fleet.moves.latest
        unfinished = [p for p in participants if not progress.setdefault(p.key, Progress(since=since)).done]
        asked = unfinished[: query.limit]
        share, rest = divmod(query.limit, len(asked)) if asked else (0, 0)
        limits = [share + (index < rest) for index in range(len(asked))]
        queries = [
            self._ask(participant, query, limit, progress[participant.key], ctx)
            for participant, limit in zip(asked, limits, strict=True)
        ]
        results = [await queries[0]] if len(queries) == 1 else await asyncio.gather(*queries)  # one needs no task
        if len(asked) > 1:
            ctx.provider = None  # the request called several providers
        collected = _Collected(active=len(unfinished))
        for participant, result, limit in zip(asked, results, limits, strict=True):
            collected.add(participant, result, progress[participant.key], limit)
        if not query.partial or (query.cursor is None and len(collected.failures) == len(participants)):
            collected.raise_if_incomplete(asked)
        has_more = any(not progress[p.key].done for p in participants)
        return ListedPage(
            collected.items,
            _encode(asked_for, progress, self._seal_of(ctx.principal)) if has_more else None,
            collected.failures + collected.lost,
            tuple(dict.fromkeys(p.provider.name for p in participants)),
            _warnings(collected.unreadable),
        )

    def _seal_of(self, principal: Principal) -> CursorSeal | None:
        if not principal.own_only and principal.view is None:
            return None
        assert self._sealer is not None  # noqa: S101 (the application always has one)
        return CursorSeal(self._sealer, principal.owner, _SURFACE)

    def _participants(self, query: ListQuery, ctx: RequestContext) -> list[_Participant]:
        unknown = sorted(name for name in query.providers if self._fleet.get(name) is None)
        if unknown and ctx.principal.restrictions.providers is None:
            detail = f"This gateway has no provider {unknown[0]}; it has: {self._fleet.names(ctx)}."
            raise InvalidRequest(detail, errors=[FieldError(detail, "unknown_provider", parameter="provider")])
        found: list[_Participant] = []
        for provider in self._fleet.visible(ctx):
            if query.providers and provider.name not in query.providers:
                continue
            if query.filter.kinds and not query.filter.kinds & provider.adapter.kinds:
                continue
            try:
                found += self._scopes(provider, query)
            except Exception as exc:  # noqa: BLE001 (as in _ask)
                found.append(_Participant(provider, "", self._bug(provider, exc, ctx)))
        return found

    def _scopes(self, provider: Provider, query: ListQuery) -> list[_Participant]:
        wanted = []
        for scope in sorted(query.scopes):
            try:
                wanted.append(provider.adapter.parse_scope(scope))
            except ValueError:
                continue  # a scope of another provider API
        pinned = provider.pinned_scope
        if pinned is not None:
            return [_Participant(provider, pinned)] if not query.scopes or pinned in wanted else []
        if not query.scopes:
            detail = f"The provider {provider.name} is open: name the scopes to list with the parameter scope."
            refusal = InvalidRequest(
                detail, errors=[FieldError(detail, "required", parameter="scope")], provider=provider.name
            )
            return [_Participant(provider, "", refusal)]
        return [_Participant(provider, scope) for scope in dict.fromkeys(wanted)]

    async def _ask(
        self, participant: _Participant, query: ListQuery, limit: int, progress: Progress, ctx: RequestContext
    ) -> ProviderPage | GatewayError:
        if participant.refusal is not None:
            return participant.refusal
        picky = ctx.principal.own_only or query.owner is not None
        limit = max(limit, _OWNED_ROWS) if picky else limit
        asked = ProviderQuery(scope=participant.scope, filter=query.filter, limit=limit, cursor=progress.cursor)
        try:
            async with self._fleet.call_scope(participant.provider, Operation.LIST, ctx) as call:
                fill_until = (self._fleet.clock.monotonic() + call.deadline) / 2
                page = await participant.provider.adapter.list(asked, call)
                page = await self._shown(page, participant, query, progress, ctx)
                picky = picky or self._fleet.moves.latest > 0
                while picky and not page.items and page.next_cursor and self._fleet.clock.monotonic() < fill_until:
                    following = replace(asked, cursor=page.next_cursor)
                    page = await participant.provider.adapter.list(following, call)
                    page = await self._shown(page, participant, query, progress, ctx)
        except GatewayError as error:
            return error
        except Exception as exc:  # noqa: BLE001 (a bug in one adapter must not hide the runtimes of the others)
            return self._bug(participant.provider, exc, ctx)
        else:
            return page

    async def _shown(
        self, page: ProviderPage, participant: _Participant, query: ListQuery, progress: Progress, ctx: RequestContext
    ) -> ProviderPage:
        """The page as the caller sees it, each runtime where it was when the list began. Rows that cannot be read are
        left out in silence where they may be another owner's."""
        adapter, fleet = participant.provider.adapter, self._fleet
        await fleet.know_moves(adapter.name, progress.since)
        filled = self._specs.fill_all(adapter, fleet.moves.listed(progress.since, adapter.name, page.items))
        items = [fleet.shown(adapter, row) for row in filled]
        if query.owner is not None:
            owner = ctx.principal.owner if query.owner == "me" else query.owner
            items = [runtime for runtime in items if runtime.owner == owner]
        return replace(page, items=items, unreadable=() if ctx.principal.own_only else page.unreadable)

    def _bug(self, provider: Provider, exc: Exception, ctx: RequestContext) -> InternalError:
        if self._fleet.observer is not None:
            self._fleet.observer.unexpected_error(provider.name, Operation.LIST, ctx.request_id, exc)
        return InternalError(
            f"Internal error with the provider {provider.name}; the log of the gateway has the details under this "
            "request_id.",
            provider=provider.name,
        )


def _warnings(unreadable: Sequence[tuple[str, UnreadableRow]]) -> list[ListWarning]:
    """A warning for each of the first rows, and one with the number of the others; at most :data:`_MAX_WARNINGS`."""
    named = unreadable if len(unreadable) <= _MAX_WARNINGS else unreadable[: _MAX_WARNINGS - 1]
    warnings = [
        ListWarning(
            detail=f"The provider {provider} listed a runtime that cannot be read, so it is left out: "
            f"{row.pointer.removeprefix('#')} {row.problem}.",
            pointer=row.pointer,
            provider=provider,
            provider_id=UNSET if row.id is None else row.id,
        )
        for provider, row in named
    ]
    if more := len(unreadable) - len(named):
        warnings.append(ListWarning(detail=f"{more} more runtimes cannot be read, so they are left out."))
    return warnings


def _incomplete(failures: Sequence[tuple[str, GatewayError]]) -> ProviderUnavailable:
    waits = [error.retry_after for _, error in failures if error.retry_after is not None]
    names = ", ".join(dict.fromkeys(name for name, _ in failures))
    return ProviderUnavailable(
        f"The list is incomplete without: {names}.",
        retry_after=min(waits, default=None),
        extra={"incomplete": list(failures)},
    )


def _fingerprint(query: ListQuery) -> bytes:
    wanted = query.filter
    sets = map(sorted, (query.providers, query.scopes, wanted.kinds, wanted.states))
    shape = msgspec.json.encode([*sets, wanted.name, wanted.project, query.owner])
    return hashlib.blake2b(shape, digest_size=_CHECK_BYTES).digest()


def _encode(query: ListQuery, progress: dict[str, Progress], seal: CursorSeal | None) -> str:
    payload = msgspec.msgpack.encode(progress)
    plain = hashlib.blake2b(payload, key=_fingerprint(query), digest_size=_CHECK_BYTES).digest() + payload
    cursor = b64url_bytes(plain) if seal is None else seal.seal(plain)
    if len(cursor) > _MAX_CURSOR:
        detail = "The list covers too much for one cursor: restrict it to fewer scopes or providers."
        raise InvalidRequest(detail, errors=[FieldError(detail, "too_many", parameter="scope")])
    return cursor


def _decode(query: ListQuery, seal: CursorSeal | None) -> dict[str, Progress]:
    """The progress in a cursor. Its checksum covers the filters, so the cursor of another list is invalid too. The
    checksum detects mistakes, not forgery: a forged cursor can only query what its caller may query anyway. Raises
    :class:`InvalidRequest`."""
    if query.cursor is None:
        return {}
    try:
        opened = bytes_from_b64url if seal is None else seal.unseal
        raw = opened(query.cursor) if len(query.cursor) <= _MAX_CURSOR else b""
        check, payload = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != hashlib.blake2b(payload, key=_fingerprint(query), digest_size=_CHECK_BYTES).digest():
            raise ValueError("check")  # noqa: TRY301 (one error for all invalid cursors)
        return msgspec.msgpack.decode(payload, type=dict[str, Progress])
    except (ValueError, msgspec.MsgspecError) as exc:
        detail = "The cursor was not returned by this list: keep the filters, and pass next_cursor unchanged."
        raise InvalidRequest(detail, errors=[FieldError(detail, "invalid", parameter="cursor")]) from exc
