"""Reading a page of a provider's list so that a row that cannot be read does not make the whole page fail.

A page is decoded and mapped as a whole, which is fast. Only if that fails, for any reason, each row is read separately.
Rows that fail are left out, and reported with their position and the invalid member, never with its value.
"""

import re
import secrets
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import msgspec

from gateway.domain.errors import ProviderBadResponse
from gateway.domain.pages import UnreadableRow
from gateway.ports.redaction import MAX_DEPTH
from gateway.ports.transport import Call

FrameT = TypeVar("FrameT")
RowT = TypeVar("RowT")

MAX_ROWS: Final = 10_000
"""The maximum number of rows that are read separately: a longer page is read as a whole or not at all."""

_MOST_COMMAS: Final = 50 * MAX_ROWS
_TOO_MANY: Final = "too many rows to be read one by one"
_MOST_SCANNED: Final = 1 << 20
"""The maximum size in bytes of a page that is searched for values that are nested too deeply, which is slow."""

_AROUND_ROWS: Final = 2  # levels: the page and the array
_LONGEST_ID: Final = 200
_LONGEST_MEMBER: Final = 100

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)

_TOKENS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]+|[\]}]+', re.DOTALL)
_ESCAPES: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""Escapes in JSON text. The group matches a surrogate without its other half."""

_MARK: Final = secrets.token_hex(16).encode()
"""Replaces a part of a page that makes the decoder fail. It is random, so that no provider can send it."""

_TOO_DEEP: Final = b'"' + _MARK + b'-deep"'
_NO_TEXT: Final = _MARK + b"-text"


@dataclass(frozen=True, slots=True)
class PageRead(Generic[FrameT, RowT]):
    """A page: its ``frame`` (the members beside the rows, as the adapter reads them), its rows, and the rows that could
    not be read. ``body`` is the JSON of the page without the unreadable rows, otherwise as the provider wrote it."""

    frame: FrameT
    items: list[RowT]
    unreadable: Sequence[UnreadableRow]
    body: bytes = field(repr=False)

    @property
    def readable(self) -> bool:
        """Whether at least one row could be read, or the page has no rows."""
        return bool(self.items) or not self.unreadable


def read_page(
    body: bytes,
    call: Call,
    *,
    member: str,
    name: str,
    whole: Callable[[bytes], tuple[FrameT, list[RowT]]],
    row: Callable[[bytes], RowT],
) -> PageRead[FrameT, RowT]:
    """Read a page with ``whole``; if that raises, read its rows one by one with ``row``.

    The page's member ``member`` has the rows. A row's member ``name`` has the runtime's name, and ``id`` its id.
    ``whole`` is also called with the page without its rows, to read the frame. Rows that could not be read are added to
    ``call``, for the log. Raises ``ValueError`` or ``RecursionError`` for a body that is not such a page, and what
    ``whole`` raises for the frame.
    """
    try:
        frame, items = whole(body)
    except Exception:  # noqa: BLE001 (a bug in the mapping, too, affects only the rows for which it fails)
        return _row_by_row(body, call, member, name, whole, row)
    return PageRead(frame, items, (), body)


def require_clear(unreadable: Sequence[UnreadableRow], name: str, *, provider: str, scope: str) -> None:
    """Raise :class:`ProviderBadResponse` if one of the rows may be a runtime of the name: without that row, the list
    does not prove that no such runtime, or no further one, exists."""
    for row in unreadable:
        if row.may_be_called(name):
            detail = f"The list of {scope} has a row that cannot be read and may be this one: {row.pointer}"
            raise ProviderBadResponse(f"{detail} {row.problem}.", provider=provider)


def _row_by_row(
    body: bytes,
    call: Call,
    member: str,
    name: str,
    whole: Callable[[bytes], tuple[FrameT, list[RowT]]],
    row: Callable[[bytes], RowT],
) -> PageRead[FrameT, RowT]:
    members, raws = _split(body, member)
    if len(raws) > MAX_ROWS:
        raise ValueError(_TOO_MANY)
    around = msgspec.json.encode({**members, member: []})
    if _MARK in around:
        raise ValueError("what is beside the rows cannot be read")
    frame, _ = whole(around)
    items: list[RowT] = []
    kept: list[msgspec.Raw] = []
    unreadable: list[UnreadableRow] = []
    for index, raw in enumerate(raws):
        text = bytes(raw)
        try:
            _require_whole(text)
            items.append(row(text))
        except Exception as exc:  # noqa: BLE001 (see read_page)
            search = isinstance(exc, RecursionError) and len(body) <= _MOST_SCANNED
            unreadable.append(_described(text, (member, index), name, exc, search=search))
        else:
            kept.append(raw)
    call.note_unreadable(unreadable)
    return PageRead(frame, items, unreadable, msgspec.json.encode({**members, member: kept}))


def _split(body: bytes, member: str) -> tuple[dict[str, Any], list[msgspec.Raw]]:
    """The members of a page, and its rows. Parts that the decoder cannot even skip are replaced by marks.

    Raises ``ValueError`` or ``RecursionError`` for a body that is not a page, or is too large to be searched."""
    try:
        members = _MEMBERS.decode(body)
    except (msgspec.DecodeError, RecursionError):
        if len(body) > _MOST_SCANNED:
            raise
        members = _decoded_with_marks(_without_halves_of_pairs(body))
    if member not in members:
        raise ValueError("the page has no rows")
    rows = members[member]
    if bytes(rows).count(b",") > _MOST_COMMAS:  # millions of tiny rows would take a hundred times their size in memory
        raise ValueError(_TOO_MANY)
    return members, _ROWS.decode(rows)


def _decoded_with_marks(body: bytes) -> dict[str, Any]:
    try:
        return _MEMBERS.decode(body)
    except RecursionError:
        return _MEMBERS.decode(_without_deep_parts(body, MAX_DEPTH + _AROUND_ROWS))


def _without_halves_of_pairs(text: bytes) -> bytes:
    """JSON in which unpaired surrogates are replaced. A program that cuts text in the middle of an emoji writes them,
    and they cannot be decoded as text."""
    return _ESCAPES.sub(lambda escape: escape[0] if escape[1] is None else _NO_TEXT, text)


def _without_deep_parts(text: bytes, deepest: int) -> bytes:
    """JSON in which values below ``deepest`` levels are replaced: the decoder cannot even skip them."""
    pieces: list[bytes] = []
    depth = kept_from = 0
    for token in _TOKENS.finditer(text):
        start, size, first = token.start(), token.end() - token.start(), text[token.start()]
        if first in b"[{":
            if depth <= deepest < depth + size:
                pieces += (text[kept_from : start + deepest - depth], _TOO_DEEP)
            depth += size
        elif first in b"]}":
            if depth - size <= deepest < depth:
                kept_from = start + depth - deepest
            depth -= size
    if depth != 0:
        raise ValueError("the brackets do not match")
    return b"".join((*pieces, text[kept_from:]))


def _require_whole(row: bytes) -> None:
    if _MARK in row:
        raise UnicodeError if _NO_TEXT in row else RecursionError


def _described(row: bytes, where: tuple[str | int, ...], name: str, exc: Exception, *, search: bool) -> UnreadableRow:
    """Describe a row that ``exc`` says cannot be read. ``search``: search it for the part that is nested too deeply."""
    path, problem, cause = _fault(exc)
    try:
        members = _MEMBERS.decode(_without_deep_parts(row, MAX_DEPTH) if search else row)
    except (ValueError, RecursionError):
        members = {}
    if isinstance(exc, RecursionError | UnicodeError):
        path = tuple([m for m, raw in members.items() if _is_damaged(bytes(raw)) and len(m) <= _LONGEST_MEMBER][:1])
    found_id = _text(members.get("id"))
    if found_id is not None and not (found_id.isprintable() and len(found_id) <= _LONGEST_ID):
        found_id = None
    return UnreadableRow((*where, *path), problem, found_id, _text(members.get(name)), cause)


def _is_damaged(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return _MARK in raw


def _text(raw: msgspec.Raw | None) -> str | None:
    if raw is None or _is_damaged(bytes(raw)):
        return None
    try:
        return _TEXT.decode(raw)
    except ValueError:
        return None


_AT: Final = re.compile(r" - at `(?:key` in `)?\$([^`]*)`\Z")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
_EXPECTED: Final = re.compile(r"Expected `([^`]*)`, got `([^`]*)`\Z")
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`\Z")


def _fault(exc: Exception) -> tuple[tuple[str | int, ...], str, str | None]:
    """The path of the fault in the row, a description, and the failing line of code if the row is well-formed.

    The exception's own text is never used as a whole, because it may contain a value."""
    if isinstance(exc, RecursionError):
        return (), "is nested too deeply", None
    if isinstance(exc, UnicodeError):
        return (), "has text that is not Unicode", None
    if isinstance(exc, msgspec.ValidationError):
        return _invalid(str(exc))
    if isinstance(exc, msgspec.DecodeError):
        return (), "is not JSON", None
    innermost = traceback.extract_tb(exc.__traceback__)[-1]
    location = f"{type(exc).__name__} in {innermost.name} ({innermost.filename.rpartition('/')[2]}:{innermost.lineno})"
    return (), f"could not be read ({type(exc).__name__})", location


def _invalid(message: str) -> tuple[tuple[str | int, ...], str, str | None]:
    at = _AT.search(message)
    path: list[str | int] = []
    for step in _STEP.finditer(at[1] if at else ""):
        if step[1] is None and step[2] is None:
            break  # a key of a free-form object, which is not a member name of the API
        path.append(int(step[2]) if step[1] is None else step[1])
    what = message[: at.start()] if at else message
    if missing := _MISSING.match(what):
        return (*path, missing[1]), "is missing", None
    if expected := _EXPECTED.match(what):
        return tuple(path), f"should be `{expected[1]}` and is `{expected[2]}`", None
    return tuple(path), "does not have the form that the API defines", None
