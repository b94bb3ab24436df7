"""One list over all providers, side by side, that ends whatever one of them does (specification §3)."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from gateway.domain.errors import (
    FieldError,
    GatewayError,
    InvalidRequest,
    ProviderBadResponse,
    ProviderFailure,
    ProviderUnavailable,
)
from gateway.domain.ids import b64url_bytes, bytes_from_b64url
from gateway.domain.operations import Operation
from gateway.domain.pages import ListFilter, ProviderPage, ProviderQuery
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.services.fleet import Fleet, Provider
from gateway.services.specs import SpecKeeper

_FAILURES_UNTIL_DONE: Final = 2
_CHECK_BYTES: Final = 8
_MAX_CURSOR: Final = 6000
_MAX_PROVIDER_CURSOR: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """What the caller asked for. ``partial`` False: an incomplete page is an error."""

    filter: ListFilter
    providers: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    limit: int = 50
    cursor: str | None = None
    partial: bool = True


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A page, the providers that were asked for it, and those that failed with what happened."""

    items: list[Runtime]
    next_cursor: str | None
    failures: list[tuple[str, GatewayError]]
    providers: tuple[str, ...] = ()


class _Progress(msgspec.Struct, array_like=True):
    """How far one participant is. ``failures`` counts those in a row."""

    cursor: str | None = None
    failures: int = 0
    done: bool = False


@dataclass(frozen=True, slots=True)
class _Participant:
    """One provider in one scope. ``refusal`` is set when it cannot take part."""

    provider: Provider
    scope: str
    refusal: GatewayError | None = None

    @property
    def key(self) -> str:
        return f"{self.provider.name}/{self.scope}"


class ListService:
    """Lists runtimes of the whole fleet."""

    def __init__(self, fleet: Fleet, specs: SpecKeeper | None = None) -> None:
        """``specs`` fills in what providers leave out."""
        self._fleet = fleet
        self._specs = specs or SpecKeeper(None, None, fleet.clock)

    async def page(self, query: ListQuery, ctx: RequestContext) -> ListedPage:
        """One page.

        Raises :class:`InvalidRequest` for a cursor of another list, a mangled one and an unknown provider; and when all
        fail, or one does and ``partial`` is False, :class:`ProviderUnavailable` (with ``incomplete`` in its ``extra``),
        or :class:`InvalidRequest` where nothing but a scope is missing.
        """
        participants = self._participants(query)
        progress = _decode(query)
        first_page = query.cursor is None
        unfinished = [p for p in participants if not progress.setdefault(p.key, _Progress()).done]
        asked = unfinished[: query.limit]
        share, rest = divmod(query.limit, len(asked)) if asked else (0, 0)
        asking = [
            self._ask(participant, query, share + (index < rest), progress[participant.key].cursor, ctx)
            for index, participant in enumerate(asked)
        ]
        # (One alone needs no task of its own.)
        answers = [await asking[0]] if len(asking) == 1 else await asyncio.gather(*asking)
        if len(asked) > 1:
            ctx.provider = None  # the calls went to several
        items: list[Runtime] = []
        failures: list[tuple[str, GatewayError]] = []
        for participant, answer in zip(asked, answers, strict=True):
            state = progress[participant.key]
            if isinstance(answer, GatewayError):
                failures.append((participant.provider.name, answer))
                state.failures += 1
                state.done = participant.refusal is not None or state.failures >= _FAILURES_UNTIL_DONE
            else:
                items += self._specs.fill_all(participant.provider.adapter, answer.items)
                state.cursor, state.failures, state.done = answer.next_cursor, 0, answer.next_cursor is None
        if failures and (not query.partial or (first_page and len(failures) == len(participants))):
            refused = [participant.refusal for participant in asked if participant.refusal is not None]
            raise refused[0] if len(refused) == len(failures) else _incomplete(failures)
        going_on = any(not progress[p.key].done for p in participants)
        names = tuple(dict.fromkeys(p.provider.name for p in participants))
        return ListedPage(items, _encode(query, progress) if going_on else None, failures, names)

    def _participants(self, query: ListQuery) -> list[_Participant]:
        unknown = sorted(name for name in query.providers if self._fleet.get(name) is None)
        if unknown:
            detail = f"This gateway has no provider {unknown[0]}; it has: {self._fleet.names}."
            raise InvalidRequest(detail, errors=[FieldError(detail, "unknown_provider", parameter="provider")])
        found: list[_Participant] = []
        for provider in self._fleet:
            if query.providers and provider.name not in query.providers:
                continue
            if query.filter.kinds and not query.filter.kinds & provider.adapter.kinds:
                continue
            found += self._scopes(provider, query)
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
        self, participant: _Participant, query: ListQuery, limit: int, cursor: str | None, ctx: RequestContext
    ) -> ProviderPage | GatewayError:
        if participant.refusal is not None:
            return participant.refusal
        asked = ProviderQuery(scope=participant.scope, filter=query.filter, limit=limit, cursor=cursor)
        try:
            async with self._fleet.calling(participant.provider, Operation.LIST, ctx) as call:
                page = await participant.provider.adapter.list(asked, call)
                if page.next_cursor is not None and len(page.next_cursor) > _MAX_PROVIDER_CURSOR:
                    raise ProviderBadResponse(
                        f"The provider {participant.provider.name} answered with a cursor too long to be passed on.",
                        failure=ProviderFailure(participant.provider.name),
                    )
                return page
        except GatewayError as error:
            return error


def _incomplete(failures: Sequence[tuple[str, GatewayError]]) -> ProviderUnavailable:
    waits = [error.retry_after for _, error in failures if error.retry_after is not None]
    names = ", ".join(dict.fromkeys(name for name, _ in failures))
    return ProviderUnavailable(
        f"The list is incomplete without: {names}.",
        retry_after=min(waits, default=None),
        extra={"incomplete": list(failures)},
    )


def _fingerprint(query: ListQuery) -> bytes:
    narrowed = replace(query, limit=0, cursor=None, partial=True)
    shape = msgspec.json.encode(
        [
            sorted(narrowed.providers),
            sorted(narrowed.scopes),
            sorted(narrowed.filter.kinds),
            sorted(narrowed.filter.states),
            narrowed.filter.name,
            narrowed.filter.project,
            narrowed.filter.owned_by_me,
        ]
    )
    return hashlib.blake2b(shape, digest_size=_CHECK_BYTES).digest()


def _encode(query: ListQuery, progress: dict[str, _Progress]) -> str:
    payload = msgspec.msgpack.encode(progress)
    check = hashlib.blake2b(payload, key=_fingerprint(query), digest_size=_CHECK_BYTES).digest()
    cursor = b64url_bytes(check + payload)
    if len(cursor) > _MAX_CURSOR:
        detail = "The list goes over too much for one cursor: narrow it to fewer scopes or providers."
        raise InvalidRequest(detail, errors=[FieldError(detail, "too_many", parameter="scope")])
    return cursor


def _decode(query: ListQuery) -> dict[str, _Progress]:
    """The progress in a cursor. Its check covers the filters, so that of another list is as unreadable as a mangled
    one. It guards against mistakes, not malice: a forged cursor only asks providers what the caller may ask anyway."""
    if query.cursor is None:
        return {}
    try:
        raw = bytes_from_b64url(query.cursor) if len(query.cursor) <= _MAX_CURSOR else b""
        check, payload = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != hashlib.blake2b(payload, key=_fingerprint(query), digest_size=_CHECK_BYTES).digest():
            raise ValueError("check")  # noqa: TRY301 (one answer for all that is unreadable)
        return msgspec.msgpack.decode(payload, type=dict[str, _Progress])
    except (ValueError, msgspec.MsgspecError) as exc:
        detail = "The cursor is not one that this list gave out: keep the filters, and pass next_cursor unchanged."
        raise InvalidRequest(detail, errors=[FieldError(detail, "invalid", parameter="cursor")]) from exc
