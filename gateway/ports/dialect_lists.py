"""A provider's list in a dialect: it ends, and its pages neither repeat rows nor exceed the limit.

A dialect's cursor contains the provider's cursor and the progress of the list (:mod:`gateway.domain.list_progress`),
because the gateway keeps no state between two pages. For a caller that sees only a part of the provider's runtimes, the
rows of others are left out, the provider is asked for its largest pages, and the cursor is sealed.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final, Self

import msgspec

from gateway.domain.errors import FieldError, InvalidRequest, ProviderBadResponse, ProviderFailure
from gateway.domain.ids import b64url_bytes, bytes_from_b64url
from gateway.domain.list_progress import Progress
from gateway.domain.pages import ProviderPage
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectGateway, DialectTarget, View

_PART_OF: Final = "rgwp"
_PART: Final = re.compile(rf"{_PART_OF}([0-9]{{1,4}})\.([0-9]{{1,18}})\.(.*)\Z")
_OURS: Final = "rgw1."
"""The beginning of a dialect's cursors. Any other cursor is the provider's own."""

_CHECK_BYTES: Final = 4
_DIGITS: Final = 9  # of a limit; the provider refuses a larger one
_CURSOR: Final = "cursor"
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str | None)


class DialectList:
    """One request of a list. ``next_cursor`` is the cursor for the caller after :meth:`take`; None at the end."""

    def __init__(self, provider: str, query: Sequence[tuple[str, str]], most: int, view: View | None = None) -> None:
        """``query`` is the caller's, with ``cursor`` and ``limit`` as far as they were sent; ``most`` is the largest
        limit of the API. Raises :class:`InvalidRequest` for a changed cursor of a dialect, and for a cursor that was
        not sealed for this ``view``, if that is partial."""
        sent = dict(query)
        self._provider = provider
        self._view = view if view is not None and view.partial else None
        self._query = query if self._view is None else [(n, str(most) if n == "limit" else v) for n, v in query]
        limit = sent.get("limit", "")
        self._limit = max(int(limit), 1) if limit.isdecimal() and len(limit) <= _DIGITS else most
        self._progress = _progress(sent.get(_CURSOR), self._view)
        self.next_cursor: str | None = None

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query to send: the caller's, with the provider's cursor."""
        cursor = self._progress.cursor
        if cursor is None:
            return [pair for pair in self._query if pair[0] != _CURSOR]
        if any(name == _CURSOR for name, _ in self._query):
            return [(name, cursor if name == _CURSOR else value) for name, value in self._query]
        return [*self._query, (_CURSOR, cursor)]

    def take(
        self, ids: Sequence[str | None], next_cursor: str | None, visible: Sequence[bool] | None = None
    ) -> list[int]:
        """Accept the provider's page: the ids of its rows, None for unknown ones, and its cursor. Returns the positions
        of the rows for the caller. ``visible``: which of the rows the caller may see; None means all.

        Of the rows that the provider repeats within the page, the first is returned. Rows beyond the limit are left to
        the next page. Raises :class:`ProviderBadResponse` for a list that would never end.
        """
        progress = self._progress
        page = ProviderPage((), next_cursor, listed=[each for each in ids if each is not None])
        if fault := progress.fault(page):
            failure = ProviderFailure(self._provider)
            raise ProviderBadResponse(f"The provider {self._provider} {fault}.", failure=failure)
        rows = [position for position in range(len(ids)) if visible is None or visible[position]]
        taken = progress.take(page, [ids[position] for position in rows], self._limit)
        self.next_cursor = None if progress.done else _written(progress, self._view)
        return [rows[position] for position in taken]

    def body(
        self, page: bytes, taken: Sequence[int], *, rows: str, cursor: str | None = None, more: str | None = None
    ) -> bytes:
        """The provider's page with the rows that were taken and the cursor for the caller; unchanged if that is what it
        has. ``rows``, ``cursor`` and ``more`` are the names of its members; other members, which may count rows of
        others, are left out for a partial view. Raises :class:`ProviderBadResponse` for members whose names are not
        Unicode."""
        try:
            members = _MEMBERS.decode(page)
            kept = _ROWS.decode(members[rows])
        except (ValueError, RecursionError) as exc:
            detail = f"The provider {self._provider} returned a page that cannot be passed on."
            raise ProviderBadResponse(detail, failure=ProviderFailure(self._provider)) from exc
        changed: dict[str, Any] = {}
        if self._view is not None:
            members = {name: value for name, value in members.items() if name in {rows, cursor, more}}
            changed[rows] = [kept[position] for position in taken]
        if len(taken) != len(kept):
            changed[rows] = [kept[position] for position in taken]
        if cursor is not None and (_TEXT.decode(members.get(cursor, b"null")) or None) != self.next_cursor:
            changed[cursor] = self.next_cursor
            if more is not None and more in members:
                changed[more] = self.next_cursor is not None
        return msgspec.json.encode({**members, **changed}) if changed else page


class Parts:
    """A list of a scope in parts: its target, then the places of the same API to which runtimes had moved from there
    when the list began. ``query`` is the caller's, with the cursor of the part. Where runtimes have moved, cursors have
    the number of the part and the change at which the list began."""

    def __init__(
        self,
        gateway: DialectGateway,
        target: DialectTarget,
        kind: str,
        query: Sequence[tuple[str, str]],
        ctx: RequestContext,
    ) -> None:
        self._gateway = gateway
        self._ctx = ctx
        self._own = target
        self._kind = kind
        self._number = 0
        self._since = gateway.latest_move()
        self.query: Sequence[tuple[str, str]] = list(query)
        if found := _PART.match(cursor := dict(query).get(_CURSOR, "")):
            self._number, self._since = int(found[1]), int(found[2])
            rest = [(_CURSOR, found[3])] if found[3] else []
            self.query = [pair for pair in query if pair[0] != _CURSOR] + rest
        elif cursor:
            self._since = 0  # nothing had moved when the list began
        self._find_places()

    @classmethod
    async def of(
        cls,
        gateway: DialectGateway,
        target: DialectTarget,
        kind: str,
        query: Sequence[tuple[str, str]],
        ctx: RequestContext,
    ) -> Self:
        """The parts of the list of a target, from that in the cursor of the query on."""
        parts = cls(gateway, target, kind, query, ctx)
        await parts.know_moves()
        return parts

    async def know_moves(self) -> None:
        """After a page was read: know which of its rows the list has."""
        known = self._gateway.latest_move()
        await self._gateway.know_moves(self.target.adapter, self._since)
        if self._gateway.latest_move() != known:
            self._find_places()

    def _find_places(self) -> None:
        places, api = self._gateway.elsewhere(self._own, self._kind, self._since, self._ctx), self._own.adapter.api
        self._places = [each for each in places if each.target.adapter.api == api]
        self._number = min(self._number, len(self._places))

    @property
    def target(self) -> DialectTarget:
        """That of the part."""
        return self._places[self._number - 1].target if self._number else self._own

    @property
    def several(self) -> bool:
        """Whether there are several parts, so that rows are left out of each."""
        return bool(self._places)

    @property
    def is_last(self) -> bool:
        """Whether no part follows."""
        return self._number >= len(self._places)

    def shows(self, provider_id: str | None, name: str | None) -> bool:
        """Whether the part contains a row of the provider's list; ``name`` is its name there."""
        if provider_id is None:
            return not self._number
        if self._number:
            first_id = self._places[self._number - 1].ids.get(provider_id)
            if first_id is not None:
                self._ctx.renamed[provider_id] = first_id
            return first_id is not None
        return self._gateway.lists(self._own, (self._kind, provider_id, name), self._since, self._ctx)

    def advance(self) -> None:
        """Go on with the next part."""
        self._number += 1
        self.query = [pair for pair in self.query if pair[0] != _CURSOR]

    def linked(self, body: bytes, next_cursor: str | None, *, cursor: str, more: str | None = None) -> bytes:
        """The page with the cursor for the caller, which leads through all parts."""
        if (next_cursor is None and self.is_last) or (next_cursor is not None and not self._since):
            return body
        members: dict[str, Any] = {**_MEMBERS.decode(body), cursor: self.cursor(next_cursor)}
        return msgspec.json.encode(members if more is None else {**members, more: True})

    def cursor(self, next_cursor: str | None) -> str | None:
        """The cursor for the caller after that of a part; None at the end of the last one."""
        if next_cursor is not None:
            return f"{_PART_OF}{self._number}.{self._since}.{next_cursor}" if self._since else next_cursor
        return None if self.is_last else f"{_PART_OF}{self._number + 1}.{self._since}."


def distinct(page: bytes, runtimes: Sequence[Runtime], *, rows: str, view: View | None = None) -> bytes:
    """The page of a list without cursors, without the rows that it repeats and those that the caller may not see."""
    listing = DialectList("", (), len(runtimes), view)
    ids = [runtime.provider_id for runtime in runtimes]
    visible = None if view is None else [view.sees(runtime) for runtime in runtimes]
    return listing.body(page, listing.take(ids, None, visible), rows=rows)


def _progress(cursor: str | None, view: View | None) -> Progress:
    if cursor is None:
        return Progress()
    if view is not None:
        try:
            return msgspec.msgpack.decode(view.unseal(cursor), type=Progress)
        except (ValueError, msgspec.MsgspecError) as exc:
            raise _not_ours() from exc
    if not cursor.startswith(_OURS):
        return Progress.after(cursor)
    try:
        raw = bytes_from_b64url(cursor.removeprefix(_OURS))
        check, payload = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != _check(payload):
            raise ValueError("check")  # noqa: TRY301 (one error for all changed cursors)
        return msgspec.msgpack.decode(payload, type=Progress)
    except (ValueError, msgspec.MsgspecError) as exc:
        raise _not_ours() from exc


def _not_ours() -> InvalidRequest:
    detail = "The cursor was not returned by this list: pass it unchanged."
    return InvalidRequest(detail, errors=[FieldError(detail, "invalid", parameter=_CURSOR)])


def _written(progress: Progress, view: View | None) -> str:
    payload = msgspec.msgpack.encode(progress)
    if view is not None:
        return view.seal(payload)
    return _OURS + b64url_bytes(_check(payload) + payload)


def _check(payload: bytes) -> bytes:
    """Detects a cursor that was changed by mistake, not a forged one: that can only ask what its caller may ask."""
    return hashlib.blake2b(payload, digest_size=_CHECK_BYTES).digest()
