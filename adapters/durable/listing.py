"""Pages of runtimes and the look-up by name. Filters that the provider does not apply are applied here."""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from adapters.durable.calls import DurableCalls
from adapters.durable.mapping import STATES
from gateway.domain.errors import InvalidRequest, NotFound, ProviderBadResponse, ValidationFailed
from gateway.domain.pages import EVERYTHING, ListFilter, ProviderPage, ProviderQuery, UnreadableRow, concerned
from gateway.domain.runtime import Runtime
from gateway.domain.values import Kind, Operation, State, is_uuid
from gateway.ports.rows import require_clear
from gateway.ports.transport import Call

MAX_LIMIT: Final = 100
"""The largest page that the provider's list operation allows."""

NAME_PAGES: Final = 20
"""Upper bound on the pages that one call of a list by name reads."""

FIND_PAGES: Final = 50
"""Upper bound on the pages that a look-up by name reads."""

_REPORTED: Final = frozenset(STATES.values())
_OWNERSHIP: Final = {True: 0, None: 1, False: 2}


async def list_page(calls: DurableCalls, query: ProviderQuery, call: Call) -> ProviderPage:
    """One page with the whole filter applied. The provider cannot filter by name: with a name in the filter, up to
    ``NAME_PAGES`` pages are read until one has a match."""
    wanted, cursor = query.filter, query.cursor
    if wanted == EVERYTHING:
        return await calls.page(query.scope, _page(min(query.limit, MAX_LIMIT), cursor), call)
    if wanted.project is not None and is_uuid(wanted.project):
        wanted = replace(wanted, project=wanted.project.lower())
    if (wanted.kinds and Kind.DURABLE not in wanted.kinds) or (
        wanted.states and not wanted.states & {*_REPORTED, State.UNKNOWN}
    ):
        return ProviderPage([])
    by_name = wanted.name is not None or wanted.outward_name is not None
    unreadable: list[UnreadableRow] = []
    listed: list[str] = []
    readable = False
    limit, filters = MAX_LIMIT if by_name else min(query.limit, MAX_LIMIT), list(_parameters(wanted))
    for _ in range(NAME_PAGES if by_name else 1):
        page = await calls.page(query.scope, _page(limit, cursor, filters), call)
        found = [runtime for runtime in page.items if _accepts(wanted, runtime)]
        unreadable += concerned(wanted, page.unreadable)
        readable = readable or page.readable
        listed += page.row_ids
        cursor = page.next_cursor
        if found or cursor is None:
            break
    return ProviderPage(found, cursor, unreadable, readable, listed)


def _page(limit: int, cursor: str | None, filters: Sequence[tuple[str, str]] = ()) -> Sequence[tuple[str, str]]:
    """The parameters of a page."""
    return [("limit", str(limit)), *filters, *([] if cursor is None else [("cursor", cursor)])]


def _parameters(wanted: ListFilter) -> Iterator[tuple[str, str]]:
    """The filters that the provider applies: known states, a project by UUID, the account's own runtimes."""
    if wanted.states and State.UNKNOWN not in wanted.states:
        yield "state", ",".join(status for status, state in STATES.items() if state in wanted.states)
    if wanted.project is not None and is_uuid(wanted.project):
        yield "project_id", wanted.project


def _accepts(wanted: ListFilter, runtime: Runtime) -> bool:
    if wanted.accepts(runtime):
        return True
    # A row may omit its project; the provider has already filtered by the UUID.
    without_project = runtime.durable is not None and runtime.durable.project is None
    return (
        without_project
        and wanted.project is not None
        and is_uuid(wanted.project)
        and replace(wanted, project=None).accepts(runtime)
    )


async def find_by_name(calls: DurableCalls, scope: str, name: str, call: Call) -> Sequence[Runtime]:
    """All runtimes with this key: the account's own first, then the newest first.

    A read by key that returns a runtime which another owner does not have is sufficient. Otherwise the list decides,
    because not every platform reads by key and keys may be unique per owner only.

    Raises :class:`ProviderBadResponse` when the list shows at most runtimes of other owners and either does not end
    within ``FIND_PAGES`` pages or has rows without a readable key, because it then does not prove that the account has
    no such runtime; and whenever an unreadable row has this key.
    """
    direct = await _read_by_key(calls, scope, name, call)
    if direct is not None and _owned(direct) is not False:
        return [direct]
    found = {} if direct is None else {direct.provider_id: direct}
    cursor, nameless = None, False
    incomplete = f"did not end within {FIND_PAGES} pages"
    for _ in range(FIND_PAGES):
        page = await calls.page(scope, _page(MAX_LIMIT, cursor), call)
        found.update((runtime.provider_id, runtime) for runtime in page.items if runtime.name == name)
        require_clear([row for row in page.unreadable if row.name == name], name, provider=calls.provider, scope=scope)
        nameless |= any(runtime.name is None for runtime in page.items)
        nameless |= any(row.name is None for row in page.unreadable)
        cursor = page.next_cursor
        if cursor is None:
            incomplete = "has runtimes without a readable key" if nameless else ""
            break
    if incomplete and all(_owned(runtime) is False for runtime in found.values()):
        raise ProviderBadResponse(f"The list of {scope} {incomplete}.")
    newest = sorted(found.values(), key=lambda runtime: runtime.created_at or "", reverse=True)
    return sorted(newest, key=lambda runtime: _OWNERSHIP[_owned(runtime)])


async def _read_by_key(calls: DurableCalls, scope: str, name: str, call: Call) -> Runtime | None:
    """The runtime that ``GET`` returns for a key; None when it does not exist or the platform does not read by key."""
    try:
        response = await calls.send(Operation.GET, "GET", calls.runtimes_path(scope, name), call)
        _, runtime = calls.decoded(Operation.GET, response, lambda body: calls.read_runtime(body, scope))
    except (NotFound, ValidationFailed, InvalidRequest, ProviderBadResponse):
        return None
    return runtime if runtime.name == name else None


def _owned(runtime: Runtime) -> bool | None:
    return runtime.durable.owned_by_me if runtime.durable else None
