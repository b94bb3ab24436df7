"""The progress of a list at one provider, and the check that its pages make progress.

The gateway keeps no state between pages, so the progress is a part of the list cursor (docs/adr/0003-list-cursor.md).
It contains digests of earlier pages and of earlier provider cursors, in a bounded number.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, Self

import msgspec

from gateway.domain.pages import ProviderPage

MAX_EMPTY_PAGES: Final = 100
"""The maximum number of consecutive pages without any row."""

MAX_PROVIDER_CURSOR: Final = 2000
"""The maximum length of a provider's cursor."""

_CURSOR_BYTES: Final = 5
_ROW_BYTES: Final = 4
_ALL_CURSORS: Final = 48
_ALL_ROWS: Final = 96
_MAX_CURSORS: Final = 8
_MAX_ROWS: Final = 32
_MARKED_ROWS: Final = 8


class Progress(msgspec.Struct, array_like=True):
    """The progress of one participant. ``failures`` counts consecutive failures. ``readable``: at least one of its
    pages had a readable row, or no rows.

    ``skip``: how many rows of the page at ``cursor`` were returned already; it had more than ``limit``. ``marks`` are
    digests of the provider's last rows up to there, so that the place is found again after rows before it were deleted
    or stopped to fit the filter. ``pages`` and ``empty`` count all pages and the last consecutive empty ones.
    ``cursors`` are digests of the last cursors. ``rows`` are digests of the rows of an earlier page, sorted: the lowest
    ones, or with ``whole`` all. ``since`` is the last change of where runtimes are when the list began.
    """

    cursor: str | None = None
    failures: int = 0
    done: bool = False
    readable: bool = False
    skip: int = 0
    pages: int = 0
    empty: int = 0
    cursors: bytes = b""
    rows: bytes = b""
    whole: bool = False
    since: int = 0
    marks: bytes = b""

    @classmethod
    def after(cls, cursor: str) -> Self:
        """The progress of a list that begins with a provider's cursor."""
        return cls(cursor, cursors=_digest(cursor, _CURSOR_BYTES))

    def fault(self, page: ProviderPage) -> str | None:
        """How the page shows that the list would never end or cannot be continued, as the end of a sentence; None if it
        does not.

        Finds a cursor that repeats after a few pages, a page that repeats the page that was kept, and too many empty
        pages. The last page of a list is never wrong."""
        if page.next_cursor is None:
            return None
        if len(page.next_cursor) > MAX_PROVIDER_CURSOR:
            return "returned a cursor that is too long to be passed on"
        if _digest(page.next_cursor, _CURSOR_BYTES) in _split(self.cursors, _CURSOR_BYTES):
            return "repeats a cursor of its list"
        if self._repeats(page):
            return "continues its list with rows that it listed before"
        if self.empty >= MAX_EMPTY_PAGES and not page.row_ids:
            return f"returned more than {MAX_EMPTY_PAGES} empty pages in a row"
        return None

    def take(self, page: ProviderPage, ids: Sequence[str | None], limit: int, active: int = 1) -> list[int]:
        """Continue after ``page``, and return the positions of its rows for the caller. ``ids`` are the provider's ids
        of the rows, in the order of ``page.row_ids``; None where one is unknown. ``active``: as for :meth:`advance`.

        Of the rows that the provider repeats within the page, the first is taken. Rows beyond ``limit`` are left to the
        next page."""
        rows = list(range(len(ids)))
        if len(set(ids)) < len(ids):
            first: dict[str, int] = {}
            rows = [at for at in rows if (row := ids[at]) is None or first.setdefault(row, at) == at]
        if self.skip:
            rows = self._untaken(page, ids, rows)
        if len(rows) > limit:
            self.skip += limit
            last = ids[rows[limit - 1]]
            listed = list(page.row_ids)
            end = listed.index(last) + 1 if last in listed else 0
            most = max(2, min(_MARKED_ROWS, _ALL_ROWS // active))
            self.marks = b"".join(_digest(row, _ROW_BYTES) for row in listed[max(end - most, 0) : end])
        else:
            self.advance(page, active)
        return rows[:limit]

    def _untaken(self, page: ProviderPage, ids: Sequence[str | None], rows: list[int]) -> list[int]:
        """The rows after the last one that was returned before."""
        marks = _split(self.marks, _ROW_BYTES)
        places = {row: place for place, row in enumerate(page.row_ids)}
        last = max((place for row, place in places.items() if _digest(row, _ROW_BYTES) in marks), default=None)
        if last is None:
            return rows[self.skip :]
        before = [index for index, at in enumerate(rows) if places.get(ids[at] or "", last + 1) <= last]
        return rows[before[-1] + 1 :] if before else rows

    def advance(self, page: ProviderPage, active: int) -> None:
        """Continue after ``page``. ``active``: how many participants share the space in the cursor.

        The rows of page 1, 2, 4, 8, … replace those that are kept, as in Brent's cycle detection: so a cycle of any
        length is found, at the latest after about three times its length.
        """
        self.cursor, self.skip, self.done, self.marks = page.next_cursor, 0, page.next_cursor is None, b""
        if page.next_cursor is None:
            self.cursors = self.rows = b""  # saves space in the list cursor
            return
        self.pages += 1
        self.empty = 0 if page.row_ids else self.empty + 1
        keeps = self.pages & (self.pages - 1) == 0
        kept = max(1, min(_MAX_CURSORS, _ALL_CURSORS // active))
        # the first cursor stays until the next power of two, the others move on
        first, others = self.cursors[:_CURSOR_BYTES], self.cursors[_CURSOR_BYTES:]
        digest = _digest(page.next_cursor, _CURSOR_BYTES)
        if keeps:
            first, others = digest, others + first
        else:
            others += digest
        self.cursors = first + others[max(len(others) - (kept - 1) * _CURSOR_BYTES, 0) :]
        if keeps and page.row_ids:
            digests = sorted({_digest(row, _ROW_BYTES) for row in page.row_ids})
            most = max(2, min(_MAX_ROWS, _ALL_ROWS // active))
            self.rows, self.whole = b"".join(digests[:most]), len(digests) <= most

    def _repeats(self, page: ProviderPage) -> bool:
        """Whether all rows that can be compared are rows of the page that is kept."""
        kept, found = _split(self.rows, _ROW_BYTES), False
        highest = max(kept, default=b"")
        for row in page.row_ids if kept else ():
            digest = _digest(row, _ROW_BYTES)
            if self.whole or digest <= highest:
                if digest not in kept:
                    return False
                found = True
        return found


def _digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=size).digest()


def _split(digests: bytes, size: int) -> set[bytes]:
    return {digests[start : start + size] for start in range(0, len(digests), size)}
