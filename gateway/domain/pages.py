"""Lists: the query, one provider's page, and the page that the caller receives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.domain.errors import InvalidRequest, pointer
from gateway.domain.ownership import outward
from gateway.domain.runtime import Model, Runtime
from gateway.domain.values import State


class ListFilter(msgspec.Struct, frozen=True, kw_only=True):
    """The filter of a list. An empty filter accepts everything.

    ``name`` is the name at the provider. ``outward_name`` is the name without an owner's suffix, where several names at
    the provider fit. ``visible``: which runtimes the caller may see; None means all."""

    kinds: frozenset[str] = frozenset()
    states: frozenset[State] = frozenset()
    name: str | None = None
    outward_name: str | None = None
    project: str | None = None  # key or UUID of a project
    visible: Callable[[Runtime], bool] | None = None

    def accepts(self, runtime: Runtime) -> bool:
        """Whether a runtime belongs to the list."""
        if self.kinds and runtime.kind not in self.kinds:
            return False
        if self.states and runtime.state not in self.states:
            return False
        if self.name is not None and runtime.name != self.name:
            return False
        if self.outward_name is not None and outward(runtime.name) != self.outward_name:
            return False
        durable = runtime.durable
        if self.project is not None:
            project = durable.project if durable else None
            if project is None or self.project not in {project.id, project.key}:
                return False
        return self.visible is None or self.visible(runtime)


EVERYTHING: Final = ListFilter()


class ProviderQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's part of a page. ``cursor`` is the ``next_cursor`` of the same adapter's page before, None for the
    first page."""

    scope: str
    filter: ListFilter = EVERYTHING
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row of a provider's list that could not be read as a runtime. Only its ``id`` and ``name`` are kept, each None
    where it cannot be read either.

    ``path`` leads from the root of the provider's page to the invalid member, or to the row. ``problem`` says what is
    wrong there. ``cause`` is the line of code that failed, for a row that is well-formed; None otherwise.
    """

    path: tuple[str | int, ...]
    problem: str
    id: str | None = None
    name: str | None = field(default=None, repr=False)
    cause: str | None = None

    @property
    def pointer(self) -> str:
        """``path`` as a JSON pointer."""
        return pointer(*self.path)

    def may_be_called(self, name: str) -> bool:
        """Whether the row may be a runtime of this name: True also where its name cannot be read."""
        return self.name is None or self.name == name


class ProviderPage(msgspec.Struct, frozen=True):
    """One provider's part of a page. ``next_cursor`` None: this is the last page.

    ``unreadable`` are rows that are missing from ``items`` because they could not be read, except those that the
    filter's name excludes. ``readable`` False: the provider listed rows, and none of them could be read. ``listed`` are
    the provider's ids of all rows that it listed, before the filter; None: they are those of ``items``.
    """

    items: Sequence[Runtime]
    next_cursor: str | None = None
    unreadable: Sequence[UnreadableRow] = ()
    readable: bool = True
    listed: Sequence[str] | None = None

    @property
    def row_ids(self) -> Sequence[str]:
        """The provider's ids of the rows of the page, as far as they are known."""
        return [runtime.provider_id for runtime in self.items] if self.listed is None else self.listed


class Incomplete(Model, frozen=True, kw_only=True):
    """A provider whose runtimes are missing from a page, and the problem document that says why."""

    provider: str
    problem: dict[str, Any]


class ListWarning(Model, frozen=True, kw_only=True):
    """A row that is missing from a page because it could not be read, or the number of further such rows.

    ``provider_id`` is the provider's own id of the runtime, unset where it could not be read. ``pointer`` is a JSON
    pointer into the provider's response."""

    detail: str
    pointer: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    provider_id: str | UnsetType = UNSET


class Page(Model, frozen=True, kw_only=True):
    """A page of runtimes. A page may have fewer items than ``limit``, even none, while ``next_cursor`` is set.
    ``warnings`` is unset where it would be empty."""

    object: Literal["list"] = "list"
    items: list[Runtime]
    next_cursor: str | None = None
    incomplete: list[Incomplete] = msgspec.field(default_factory=list)
    warnings: list[ListWarning] | UnsetType = UNSET


def _sort_key(runtime: Runtime) -> tuple[str, str]:
    created = runtime.created_at or ""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created, runtime.provider_id
    if moment.tzinfo is None:
        return created, runtime.provider_id
    return f"{moment.timestamp():020.6f}", runtime.provider_id


def page_of_all(
    runtimes: Sequence[Runtime], query: ProviderQuery, unreadable: Sequence[UnreadableRow] = ()
) -> ProviderPage:
    """One page of the complete list of a provider without paging, sorted by time of creation and id. A cursor is the
    sort key of the last item of the page before.

    Runtimes that exist throughout are neither skipped nor repeated, whatever is created or deleted between two pages.
    ``unreadable`` rows have no sort key, so the first page reports all of them.
    Raises :class:`InvalidRequest` for a cursor that this function cannot have made.
    """
    ordered = sorted(((_sort_key(r), r) for r in runtimes if query.filter.accepts(r)), key=lambda pair: pair[0])
    if query.cursor is not None:
        try:
            last = msgspec.json.decode(query.cursor, type=tuple[str, str])
        except msgspec.MsgspecError as exc:
            raise InvalidRequest("The cursor was not returned by this list.") from exc
        ordered = [pair for pair in ordered if pair[0] > last]
    taken = ordered[: query.limit]
    more = len(ordered) > len(taken)
    cursor = msgspec.json.encode(taken[-1][0]).decode() if more and taken else None
    named = () if query.cursor is not None else concerned(query.filter, unreadable)
    return ProviderPage([runtime for _, runtime in taken], cursor, named, bool(runtimes) or not unreadable)


def concerned(wanted: ListFilter, unreadable: Sequence[UnreadableRow]) -> Sequence[UnreadableRow]:
    """The unreadable rows that a filter may accept: only the filter's name can exclude such a row."""
    name = wanted.name
    return unreadable if name is None else [row for row in unreadable if row.may_be_called(name)]
