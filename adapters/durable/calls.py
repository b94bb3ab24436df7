"""HTTP calls to one durable account: send a request, decode the response, convert it to runtimes; pages of runtimes,
with the filters that the provider does not apply, and the look-up by name."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Final, TypeVar

from msgspec.structs import replace

from adapters.durable import mapping, wire
from adapters.durable.errors import failed
from adapters.durable.mapping import STATES
from adapters.durable.settings import DurableSettings
from gateway.domain.errors import (
    GatewayError,
    InvalidRequest,
    NotFound,
    ProviderBadResponse,
    ProviderFailure,
    ValidationFailed,
)
from gateway.domain.ids import RuntimeRef
from gateway.domain.pages import EVERYTHING, ListFilter, ProviderPage, ProviderQuery, UnreadableRow, concerned
from gateway.domain.runtime import Runtime
from gateway.domain.values import Kind, Operation, State, is_uuid
from gateway.ports.error_mapping import unreadable, unrecognized_response_error
from gateway.ports.redirects import redirect_error
from gateway.ports.rows import PageRead, read_page, require_clear
from gateway.ports.transport import Call, Transport, UpstreamRequest, UpstreamResponse, path_segment

DecodedT = TypeVar("DecodedT")

_CACHED_SCOPES: Final = 256


class DurableCalls:
    """What all operations share. ``features`` are the adapter's; the ``actions`` of runtimes are derived from them."""

    def __init__(self, settings: DurableSettings, transport: Transport, features: frozenset[str]) -> None:
        self.provider = settings.name
        self._base_url = settings.base_url
        self._prefix = settings.path_prefix
        self._headers = settings.headers()
        self._transport = transport
        self._runtimes_path = lru_cache(_CACHED_SCOPES)(lambda scope: self.workspace_path(scope, "runtimes"))
        self.reader = mapping.Reader(settings.name, features, pinned=settings.scope is not None)
        self.to_domain = self.reader.runtime

    def path(self, *segments: str) -> str:
        """A path of the API. Every segment is percent-encoded.

        Raises :class:`NotFound` for a segment that would change the path: an empty one, or dots.
        """
        return self._prefix + _below(segments)

    def workspace_path(self, scope: str, *segments: str) -> str:
        """The path of a workspace, or of a resource below it. Raises as :meth:`path` does."""
        org, _, workspace = scope.partition("/")
        return self.path("org", org, "ws", workspace, *segments)

    def runtimes_path(self, scope: str, *segments: str) -> str:
        """The path of a workspace's runtimes, or of a resource below them. Raises as :meth:`path` does."""
        return self._runtimes_path(scope) + _below(segments)

    @property
    def user_path(self) -> str:
        """The path of the account's user: the only read that needs no scope."""
        return self.path("user")

    async def send(
        self,
        operation: Operation,
        method: str,
        path: str,
        call: Call,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> UpstreamResponse:
        """Send one request and return the successful response. Raises the error that any other status means."""
        return self.succeeded(operation, await self.exchange(operation, method, path, call, query, body))

    def succeeded(self, operation: Operation, response: UpstreamResponse) -> UpstreamResponse:
        """The response, if it is a success. Raises the error that any other status means."""
        if 200 <= response.status < 300:
            return response
        raise self._failed(operation, response)

    async def account(self, call: Call) -> str:
        """The id of the user who owns the credentials; empty when the API has no such route (a 404 with a JSON object).

        Raises :class:`ProviderBadResponse` for a user without an id.
        """
        response = await self.exchange(Operation.GET, "GET", self.user_path, call)
        if response.status == 404 and _is_object(response.body):
            return ""
        if not 200 <= response.status < 300:
            raise self._failed(Operation.GET, response)
        user: wire.UserBody = self.decoded(Operation.GET, response, wire.user_body.decode)
        return user.id

    def _failed(self, operation: Operation, response: UpstreamResponse) -> GatewayError:
        redirected = redirect_error(self.provider, operation, response, self._base_url)
        return redirected or failed(self.provider, operation, response)

    def exchange(
        self,
        operation: Operation,
        method: str,
        path: str,
        call: Call,
        query: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> Awaitable[UpstreamResponse]:
        """Send one request, and return the response of any status."""
        request = UpstreamRequest(operation, method, path, query, self._headers, body)
        return self._transport.send(request, call)

    def decoded(
        self, operation: Operation, response: UpstreamResponse, decode: Callable[[bytes], DecodedT]
    ) -> DecodedT:
        """Decode the body of a successful response.

        Raises :class:`ProviderBadResponse` when it cannot be decoded; for a create, which may have been committed,
        :class:`OutcomeUnknown`.
        """
        try:
            return decode(response.body)
        except (ValueError, RecursionError) as exc:
            raise unrecognized_response_error(self.provider, operation, response) from exc

    def runtime(self, operation: Operation, ref: RuntimeRef, response: UpstreamResponse) -> Runtime:
        """The runtime in a response. Raises :class:`ProviderBadResponse` when it is not the requested one; for an
        operation that mutates, :class:`OutcomeUnknown`."""
        return self.runtime_and_body(operation, ref, response)[0]

    def runtime_and_body(
        self, operation: Operation, ref: RuntimeRef, response: UpstreamResponse
    ) -> tuple[Runtime, wire.RuntimeBody]:
        """As :meth:`runtime`, together with the decoded JSON, which may hold the token of the sandbox."""
        body, runtime = self.decoded(operation, response, lambda body: self.read_runtime(body, ref.scope))
        if runtime.provider_id != ref.provider_id:
            raise unreadable(self.provider, operation, response)
        return runtime, body

    def read_runtime(self, body: bytes, scope: str) -> tuple[wire.RuntimeBody, Runtime]:
        """The decoded JSON of a runtime, and the domain runtime converted from it.

        Raises ``ValueError`` or ``RecursionError`` when the JSON is not a runtime.
        """
        decoded, raw = wire.runtime_body(body)
        return decoded, self.to_domain(decoded, raw, scope)

    async def page(self, scope: str, query: Sequence[tuple[str, str]], call: Call) -> ProviderPage:
        """One page of a workspace's runtimes as the provider filters it, including its unreadable rows.

        Raises :class:`ProviderBadResponse` when the page repeats the cursor that was sent: following it never ends.
        """
        response = await self.send(Operation.LIST, "GET", self._runtimes_path(scope), call, query=query)

        def whole(body: bytes) -> tuple[str | None, list[Runtime]]:
            page, raws = wire.list_body(body)
            rows = zip(page.items, raws or repeat(None), strict=False)
            return page.next_cursor or None, [self.to_domain(row, raw, scope) for row, raw in rows]

        def row(body: bytes) -> Runtime:
            return self.read_runtime(body, scope)[1]

        def read(body: bytes) -> PageRead[str | None, Runtime]:
            return read_page(body, call, member=wire.ROWS, name=wire.NAME, whole=whole, row=row)

        page = self.decoded(Operation.LIST, response, read)
        if page.frame is not None and ("cursor", page.frame) in query:
            raise self.bad_response(response, "repeats the cursor of its list")
        listed = [runtime.provider_id for runtime in page.items]
        listed += [row.id for row in page.unreadable if row.id is not None]
        return ProviderPage(page.items, page.frame, page.unreadable, page.readable, listed)

    def bad_response(self, response: UpstreamResponse, what: str) -> ProviderBadResponse:
        """The error for a response that can be decoded but contradicts the request. ``what`` completes its sentence."""
        failure = ProviderFailure(self.provider, status=response.status)
        return ProviderBadResponse(f"The provider {self.provider} {what}.", failure=failure)


def _is_object(body: bytes) -> bool:
    try:
        wire.any_object.decode(body)
    except (ValueError, RecursionError):
        return False
    return True


def _below(segments: Sequence[str]) -> str:
    return "".join([f"/{path_segment(segment)}" for segment in segments])


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
