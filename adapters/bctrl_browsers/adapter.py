"""The adapter of bctrl's browser API: what each operation sends to one configured account.

The API addresses a browser by its id or by its name. Public ids contain the id only. A response with another id than
the requested one is never accepted as the requested browser.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import unquote

import msgspec

from adapters.bctrl_browsers import mapping, wire
from adapters.bctrl_browsers.calls import MAX_LIMIT, BrowserCalls, Query, accepted
from adapters.bctrl_browsers.data_plane import DATA_PROTOCOLS
from adapters.bctrl_browsers.mapping import create_body
from adapters.bctrl_browsers.native import NativeAnswer, NativeCreate, unmarked
from adapters.bctrl_browsers.options import check_options, refused_members
from adapters.bctrl_browsers.semantics import BrowserSemantics
from adapters.bctrl_browsers.settings import DEFAULT_SPACE, BctrlBrowsersSettings
from gateway.domain.constraints import Allowance
from gateway.domain.errors import FieldError, NotFound, ProviderBadResponse, RuntimeReplaced, UnsupportedFeature
from gateway.domain.ids import SEPARATOR, RuntimeRef, from_b64url
from gateway.domain.lifecycle import is_live
from gateway.domain.pages import ListFilter, ProviderPage, ProviderQuery, concerned
from gateway.domain.requests import CreateBrowser, CreateRequest, StartRequest
from gateway.domain.runtime import Connection, Runtime
from gateway.domain.values import Kind, Operation, State
from gateway.ports.data_plane import DataProtocol
from gateway.ports.error_mapping import is_addressed, unreadable
from gateway.ports.provider import (
    Created,
    Deduplication,
    ProviderAdapter,
    Seen,
    SupportsConnections,
    SupportsDelete,
    SupportsStart,
    SupportsStop,
    WireCreate,
)
from gateway.ports.rows import require_clear
from gateway.ports.semantics import ProviderSemantics
from gateway.ports.transport import Call, Transport, TransportFailure, UpstreamResponse, path_segment

FIND_PAGES: Final = 20
"""The maximum number of pages that a look-up by name reads."""

_REPORTED: Final = frozenset({*mapping.STATES.values(), State.UNKNOWN})
_DELETED: Final = msgspec.json.Decoder(wire.DeletedBody)


class BctrlBrowsersAdapter(
    ProviderAdapter[BctrlBrowsersSettings], SupportsStart, SupportsStop, SupportsConnections, SupportsDelete
):
    """One account at bctrl, pinned to a space or open."""

    api: ClassVar[str] = "bctrl_browsers"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.BROWSER})
    create_features: ClassVar[frozenset[str]] = mapping.CREATE_FEATURES
    deduplication: ClassVar[Deduplication] = Deduplication.BY_KEY
    definitive_rejections: ClassVar[frozenset[int]] = frozenset({400, 401, 403, 404})
    marks_creates: ClassVar[bool] = True
    data_protocols: ClassVar[Mapping[str, DataProtocol]] = DATA_PROTOCOLS
    data_hosts: ClassVar[tuple[str, ...]] = ()
    semantics: ClassVar[ProviderSemantics] = BrowserSemantics()

    def __init__(self, settings: BctrlBrowsersSettings, transport: Transport) -> None:
        super().__init__(settings, transport)
        self._calls = BrowserCalls(settings, transport, self.features)
        self._calls.reader.owner_marks = self.owner_marks

    def parse_reference(self, reference: str) -> RuntimeRef:
        scope, rest = self.settings.scope, reference
        try:
            if scope is None:
                encoded, _, rest = reference.partition(SEPARATOR)
                scope = self.parse_scope(from_b64url(encoded))
            return RuntimeRef(scope, mapping.browser_id(rest))
        except ValueError:
            raise NotFound("There is no runtime of this id.", provider=self.name) from None

    def reference(self, runtime: Runtime) -> RuntimeRef:
        return RuntimeRef(runtime.scope, runtime.provider_id)

    def format_reference(self, ref: RuntimeRef) -> str:
        return mapping.reference(ref, pinned=self.settings.scope is not None)

    def check_create(self, request: CreateRequest) -> None:
        self._body(request, self.settings.scope or "")

    def refused_options(self, request: CreateRequest, allowance: Allowance) -> Iterable[FieldError]:
        """Also of the proxy of a dialect's create."""
        yield from refused_members(request.provider_options, allowance, "provider_options")
        if isinstance(request, NativeCreate):
            yield from refused_members(request.proxy_member(), allowance)

    def _body(self, request: CreateRequest, scope: str, marker: str | None = None) -> bytes:
        if not isinstance(request, CreateBrowser):
            raise UnsupportedFeature.at("#/kind", f"The provider {self.name} creates browsers only.")
        check_options(request)
        return create_body(request, scope, marker)

    def wire_create(self, request: CreateRequest, scope: str, *, marker: str | None = None) -> WireCreate:
        """The create as it is sent. ``marker`` and the mark of the owner become members of the browser's metadata."""
        wait = self._wait(Operation.CREATE, request.wait if isinstance(request, NativeCreate) else None)
        return WireCreate(self._body(request, scope, marker), tuple(wait))

    async def send_create(
        self, wire: WireCreate, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        """Send one create. A replay with the same key has the same response as the first, so ``created`` is True."""
        response = await self._calls.send(
            Operation.CREATE,
            "POST",
            "/browsers",
            call,
            query=wire.query,
            body=wire.body,
            idempotency_key=idempotency_key,
        )
        runtime = self._calls.read(Operation.CREATE, response, lambda body: self._calls.reader.runtime(body, scope))
        return Created(runtime, created=True, native=unmarked(response.body))

    def answers_create(self, runtime: Runtime, name: str, canonical_scope: str) -> bool:
        """Also compare the space, if the provider reports it. The alias ``default`` matches every space."""
        space = runtime.provider_data.get("spaceId")
        return super().answers_create(runtime, name, canonical_scope) and (
            space is None or canonical_scope in {DEFAULT_SPACE, space}
        )

    async def account(self, call: Call) -> str:
        """The organization, else the user. Spaces of subaccounts are distinguished by their ids."""
        identity = await self._calls.whoami(call)
        return (identity and identity.account) or ""

    async def canonical_scope(self, scope: str, call: Call) -> str:
        """The id of the space, also for the alias ``default``; the alias itself if the API does not report the id."""
        if scope != DEFAULT_SPACE:
            return scope
        identity = await self._calls.whoami(call)
        return (identity and identity.default_space_id) or scope

    def instance_of(self, runtime: Runtime) -> str | None:
        """The id of the current run."""
        run = runtime.provider_data.get("currentRun")
        run_id = run.get("id") if isinstance(run, dict) else None
        return run_id if isinstance(run_id, str) else None

    async def get(self, ref: RuntimeRef, call: Call) -> Runtime:
        """Read one browser. Raises :class:`NotFound` also if the provider found another browser that has the id as its
        name."""
        response = await self._send_to(Operation.GET, "GET", ref, call)
        return self._runtime(Operation.GET, ref, response)

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        """All browsers of this name: live ones first, newest first within each group. Raises the errors of
        :meth:`find_with_markers`."""
        return [seen.runtime for seen in await self.find_with_markers(scope, name, call)]

    async def find_with_markers(self, scope: str, name: str, call: Call) -> Sequence[Seen]:
        """The same with the marker of each browser.

        Raises :class:`ProviderBadResponse` when the list does not end within :data:`FIND_PAGES` pages, or has a row
        that cannot be decoded and may have this name: the browser may be among those that the list did not show.
        """
        found: dict[str, Seen] = {}
        wanted, cursor = ListFilter(name=name), None
        for _ in range(FIND_PAGES):
            query = ProviderQuery(scope=scope, filter=wanted, limit=MAX_LIMIT, cursor=cursor)
            page = await self._calls.page(query, call)
            require_clear(page.unreadable, name, provider=self.name, scope=scope)
            found.update((seen.runtime.provider_id, seen) for seen in accepted(page, wanted))
            cursor = page.frame
            if cursor is None:
                newest_first = list(found.values())[::-1]
                return sorted(newest_first, key=lambda seen: not is_live(seen.runtime.state))
        raise ProviderBadResponse(f"The list of {scope} did not end within {FIND_PAGES} pages.", provider=self.name)

    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        """A page, oldest first: browsers that are created during the listing come after the cursor."""
        wanted = query.filter
        if (
            (wanted.kinds and Kind.BROWSER not in wanted.kinds)
            or (wanted.states and not wanted.states & _REPORTED)
            or wanted.project is not None
        ):
            return ProviderPage([])
        page = await self._calls.page(query, call)
        found = [seen.runtime for seen in accepted(page, wanted)]
        listed = [seen.runtime.provider_id for seen in page.items]
        listed += [row.id for row in page.unreadable if row.id is not None]
        return ProviderPage(found, page.frame, concerned(wanted, page.unreadable), page.readable, listed)

    async def check_credentials(self, call: Call) -> None:
        """Read one row of the pinned space, or of the account's default space."""
        await self.list(ProviderQuery(scope=self.settings.scope or DEFAULT_SPACE, limit=1), call)

    async def start(self, ref: RuntimeRef, options: StartRequest, call: Call) -> Runtime:
        """Start a run. A browser with a current run is returned unchanged; one that is stopping is started
        afterwards."""
        for field in ("secret_ids", "runtime_limit_seconds"):
            if getattr(options, field) is not None:
                detail = f"The provider {self.name} has no such option of a start."
                raise UnsupportedFeature.at(f"#/{field}", detail, code="unsupported", provider=self.name)
        response = await self._send_to(Operation.START, "POST", ref, call, "/start", body=b"{}")
        return self._runtime(Operation.START, ref, response)

    async def stop(self, ref: RuntimeRef, call: Call, *, discard_state: bool = False) -> Runtime:
        """Stop the run. The browser's saved state is kept, or erased with ``discard_state``."""
        body = b'{"discardState":true}' if discard_state else b"{}"
        response = await self._send_to(Operation.STOP, "POST", ref, call, "/stop", body=body)
        return self._runtime(Operation.STOP, ref, response)

    async def connections(self, ref: RuntimeRef, call: Call) -> Sequence[Connection]:
        try:
            response = await self._send_to(Operation.CONNECT, "GET", ref, call)
        except TransportFailure as failure:
            # The read belongs to the work class of starts, but a lost read has changed nothing.
            failure.operation = Operation.GET
            raise
        self._runtime(Operation.GET, ref, response)
        return self._calls.read(Operation.GET, response, mapping.connections)

    async def delete(self, ref: RuntimeRef, call: Call) -> None:
        """Delete the browser and its saved state; a current run is stopped."""
        response = await self._send_to(Operation.DELETE, "DELETE", ref, call)
        deleted = self._calls.read(Operation.DELETE, response, _DELETED.decode)
        if not deleted.deleted:
            raise unreadable(self.name, Operation.DELETE, response)
        self._require_same(Operation.DELETE, ref, deleted.id)

    async def native(
        self,
        operation: Operation,
        scope: str,
        call: Call,
        *,
        method: str = "GET",
        below: str = "",
        query: Query = (),
        body: bytes | None = None,
        idempotency_key: str | None = None,
    ) -> NativeAnswer:
        """Forward a call in the provider's own JSON, and check that a success has the API's form. Markers are removed,
        and rows of a page that cannot be decoded are left out.

        ``below`` is the part of the path after ``/browsers``, percent-encoded. Raises the error that the response
        means; a success with a browser of another id and name is not of the API.
        """
        response = await self._calls.send(
            operation,
            method,
            f"/browsers{below}",
            call,
            query=[("spaceId", scope), *query],
            body=body,
            idempotency_key=idempotency_key,
        )
        if operation is Operation.LIST:
            page = self._calls.read(operation, response, lambda body: self._calls.reader.page(body, scope, call))
            return NativeAnswer(unmarked(page.body), [seen.runtime for seen in page.items], page.frame)
        if operation is Operation.DELETE:
            if not self._calls.read(operation, response, _DELETED.decode).deleted:
                raise unreadable(self.name, operation, response)
            return NativeAnswer(response.body)
        seen = self._calls.read(operation, response, lambda body: self._calls.reader.seen(body, scope))
        sent_name = msgspec.json.decode(body).get("name") if operation is Operation.REPLACE_CONFIG and body else None
        if seen.runtime.name != sent_name and not is_addressed(unquote(below.split("/")[1]), seen.runtime):
            raise unreadable(self.name, operation, response)
        self._require_space(operation, seen.runtime)
        return NativeAnswer(unmarked(response.body), [seen.runtime], raw=response.body)

    def read(self, body: bytes, scope: str) -> NativeAnswer:
        """The same result from the JSON of one browser that was checked before."""
        return NativeAnswer(body, [self._calls.reader.runtime(body, scope)])

    def _wait(self, operation: Operation, seconds: int | None = None) -> Query:
        if seconds is None:
            seconds = self.settings.wait(operation)
        return [("wait", str(seconds))] if seconds else []

    async def _send_to(
        self, operation: Operation, method: str, ref: RuntimeRef, call: Call, verb: str = "", body: bytes | None = None
    ) -> UpstreamResponse:
        query = [("spaceId", ref.scope), *(self._wait(operation) if verb else ())]
        path = f"/browsers/{path_segment(ref.provider_id)}{verb}"
        return await self._calls.send(operation, method, path, call, query=query, body=body)

    def _runtime(self, operation: Operation, ref: RuntimeRef, response: UpstreamResponse) -> Runtime:
        runtime = self._calls.read(operation, response, lambda body: self._calls.reader.runtime(body, ref.scope))
        if not is_addressed(ref.provider_id, runtime):
            raise unreadable(self.name, operation, response)
        self._require_same(operation, ref, runtime.provider_id)
        self._require_space(operation, runtime)
        return runtime

    def _require_space(self, operation: Operation, runtime: Runtime) -> None:
        """Raise :class:`NotFound` for a read that returned a browser of another space: the API may ignore the space
        when it is given an id, and a scope must hold in any case."""
        if operation is Operation.GET and mapping.is_elsewhere(runtime):
            raise NotFound("There is no runtime of this id in this space.", provider=self.name)

    def _require_same(self, operation: Operation, ref: RuntimeRef, returned: str) -> None:
        if returned == ref.provider_id:
            return
        if operation is Operation.GET:
            raise NotFound("There is no runtime of this id; another browser has it as its name.", provider=self.name)
        detail = f"No browser has this id any more; another one, which has it as its name, got the {operation} instead."
        raise RuntimeReplaced(detail, provider=self.name)
