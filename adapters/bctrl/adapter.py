"""The bctrl adapter: create, read, list and stop runtimes of a workspace.

The API addresses a runtime by its alias, and an alias may later belong to another runtime. Every operation on an
existing runtime therefore reads it first, and raises :class:`RuntimeReplaced` when the UUID is a different one.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, TypeVar

import msgspec

from adapters.bctrl import wire
from adapters.bctrl.errors import error_of
from adapters.bctrl.mapping import CREATE_FEATURES, Reader, create_body
from adapters.bctrl.semantics import BctrlSemantics
from adapters.bctrl.settings import BctrlSettings
from gateway.domain.errors import FieldError, NotFound, RuntimeReplaced, UnsupportedFeature, ValidationFailed, pointer
from gateway.domain.ids import SEPARATOR, RuntimeRef, from_b64url
from gateway.domain.lifecycle import is_live
from gateway.domain.pages import ListFilter, ProviderPage, ProviderQuery, page_of_all
from gateway.domain.requests import CreateBrowser, CreateRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import Kind, Operation, is_uuid
from gateway.ports.dialect import View
from gateway.ports.dialect_lists import distinct
from gateway.ports.error_mapping import is_addressed, unreadable
from gateway.ports.provider import Created, Deduplication, ProviderAdapter, SupportsStop, WireCreate
from gateway.ports.redirects import redirect_error
from gateway.ports.rows import PageRead, require_clear
from gateway.ports.semantics import ProviderSemantics
from gateway.ports.transport import Call, Transport, TransportFailure, UpstreamRequest, UpstreamResponse, path_segment

DecodedT = TypeVar("DecodedT")

_WORKSPACES: Final = msgspec.json.Decoder(wire.Workspaces)


class BctrlAdapter(ProviderAdapter[BctrlSettings], SupportsStop):
    """One account at bctrl, pinned to a workspace or open."""

    api: ClassVar[str] = "bctrl"
    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind(kind) for kind in wire.Kind)
    create_features: ClassVar[frozenset[str]] = CREATE_FEATURES
    deduplication: ClassVar[Deduplication] = Deduplication.NONE
    definitive_rejections: ClassVar[frozenset[int]] = frozenset({400, 401, 403, 404, 422, 426})
    semantics: ClassVar[ProviderSemantics] = BctrlSemantics()

    def __init__(self, settings: BctrlSettings, transport: Transport) -> None:
        super().__init__(settings, transport)
        self._reader = Reader(settings.name, self.features, pinned=settings.scope is not None)
        self._headers = settings.credential_headers()

    def parse_reference(self, reference: str) -> RuntimeRef:
        *encoded, provider_id = reference.split(SEPARATOR)
        try:
            texts = [from_b64url(text) for text in encoded]
            scope, alias = texts if self.settings.scope is None else (self.settings.scope, *texts)
            self.parse_scope(scope)
        except ValueError:
            raise NotFound("There is no runtime of this id.", provider=self.name) from None
        if not is_uuid(provider_id) or alias in {"", ".", ".."}:
            raise NotFound("There is no runtime of this id.", provider=self.name)
        return RuntimeRef(scope, provider_id.lower(), alias)

    def reference(self, runtime: Runtime) -> RuntimeRef:
        return RuntimeRef(runtime.scope, runtime.provider_id, runtime.name)

    def format_reference(self, ref: RuntimeRef) -> str:
        return self._reader.reference(ref)

    def check_create(self, request: CreateRequest) -> None:
        self._checked(request)

    def _checked(self, request: CreateRequest) -> CreateBrowser:
        if not isinstance(request, CreateBrowser):
            raise UnsupportedFeature.at("#/kind", f"The provider {self.name} creates browsers only.")
        if unknown := [pointer("provider_options", key) for key in request.provider_options]:
            detail = f"The provider {self.name} has no such option."
            errors = [FieldError(detail, "unknown_field", pointer=where) for where in unknown]
            raise ValidationFailed(f"{unknown[0]}: {detail}", errors=errors)
        return request

    def wire_create(self, request: CreateRequest, scope: str, *, marker: str | None = None) -> WireCreate:  # noqa: ARG002
        return WireCreate(create_body(self._checked(request)))

    async def send_create(
        self,
        wire: WireCreate,
        scope: str,
        call: Call,
        *,
        idempotency_key: str | None = None,  # noqa: ARG002
    ) -> Created:
        """Send one create. The API does not report whether the runtime existed before, so ``created`` is True."""
        response = await self._send(Operation.CREATE, "POST", self._path(scope), call, wire.body)
        runtime = self._read(Operation.CREATE, response, lambda body: self._reader.runtime(body, scope))
        return Created(runtime, created=True, native=response.body)

    def answers_create(self, runtime: Runtime, name: str, canonical_scope: str) -> bool:
        workspace = str(runtime.provider_data.get("workspaceId", canonical_scope))
        return super().answers_create(runtime, name, canonical_scope) and workspace.lower() == canonical_scope.lower()

    async def get(self, ref: RuntimeRef, call: Call) -> Runtime:
        response = await self._send(Operation.GET, "GET", self._path(ref.scope, ref.name), call)
        return self._require_same(ref, response)

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        """All runtimes of this alias: live ones first, newest first within each group.

        Reads the list, because a get by alias returns one runtime only, and there may be several. Raises
        :class:`ProviderBadResponse` when a row of the list cannot be decoded and may have this alias.
        """
        read = await self._all(scope, call)
        require_clear(read.unreadable, name, provider=self.name, scope=scope)
        query = ProviderQuery(scope=scope, filter=ListFilter(name=name), limit=len(read.items))
        newest_first = page_of_all(read.items, query).items[::-1]
        return sorted(newest_first, key=lambda runtime: not is_live(runtime.state))

    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        read = await self._all(query.scope, call)
        return page_of_all(read.items, query, read.unreadable)

    async def stop(self, ref: RuntimeRef, call: Call, *, discard_state: bool = False) -> Runtime:
        """Stop by alias, after a read has shown that the alias still belongs to the runtime of ``ref``.

        Between the read and the stop another client can move the alias to another runtime, which is then stopped
        instead. Its UUID is in the response, and :class:`RuntimeReplaced` is raised.
        """
        if discard_state:
            detail = f"The provider {self.name} ends browsers in its own way; this cannot be asked of it."
            raise UnsupportedFeature.at("#/discard_state", detail, code="unsupported", provider=self.name)
        path = self._path(ref.scope, ref.name)
        try:
            current = await self._send(Operation.STOP, "GET", path, call)
        except TransportFailure as failure:
            # The read belongs to the stop's class of work, but a lost read has changed nothing.
            failure.operation = Operation.GET
            raise
        self._require_same(ref, current)
        response = await self._send(Operation.STOP, "POST", f"{path}/stop", call)
        stopped = self._addressed(Operation.STOP, ref.scope, ref.name or "", response)
        if stopped.provider_id != ref.provider_id:
            raise self._replaced(
                "The name came to belong to another runtime right before the stop was sent, and that other runtime may "
                "have been stopped in place of this one, which no longer has its name."
            )
        return stopped

    async def check_credentials(self, call: Call) -> None:
        if self.settings.scope is not None:
            await self._all(self.settings.scope, call)
            return
        response = await self._send(Operation.LIST, "GET", f"{self.settings.path_prefix}/workspaces", call)
        self._read(Operation.LIST, response, _WORKSPACES.decode)

    async def native(
        self, operation: Operation, scope: str, call: Call, alias: str | None = None, view: View | None = None
    ) -> tuple[bytes, Runtime | None]:
        """A list, a get or a stop in the provider's own JSON: the response body unchanged, and the runtime in it (None
        for a list). Rows of a list that cannot be decoded, repeated ones, and those outside ``view`` are left out.

        ``alias`` addresses the runtime that has it at that moment. Raises the errors of the operation's own method.
        """
        method, verb = ("POST", "/stop") if operation is Operation.STOP else ("GET", "")
        response = await self._send(operation, method, f"{self._path(scope, alias)}{verb}", call)
        if alias is None:
            listed = self._read(operation, response, lambda body: self._reader.runtimes(body, scope, call))
            return distinct(listed.body, listed.items, rows=wire.ROWS, view=view), None
        return response.body, self._addressed(operation, scope, alias, response)

    async def _all(self, scope: str, call: Call) -> PageRead[None, Runtime]:
        response = await self._send(Operation.LIST, "GET", self._path(scope), call)
        return self._read(Operation.LIST, response, lambda body: self._reader.runtimes(body, scope, call))

    def _path(self, scope: str, alias: str | None = None) -> str:
        path = f"{self.settings.path_prefix}/workspaces/{path_segment(scope)}/runtimes"
        return path if alias is None else f"{path}/{path_segment(alias)}"

    async def _send(
        self, operation: Operation, method: str, path: str, call: Call, body: bytes | None = None
    ) -> UpstreamResponse:
        request = UpstreamRequest(operation, method, path, headers=self._headers, body=body)
        return await self.transport.send(request, call)

    def _addressed(self, operation: Operation, scope: str, alias: str, response: UpstreamResponse) -> Runtime:
        """The runtime in the response to a call by alias. One of another alias answers another request."""
        runtime = self._read(operation, response, lambda body: self._reader.runtime(body, scope))
        if not is_addressed(alias, runtime):
            raise unreadable(self.name, operation, response)
        return runtime

    def _require_same(self, ref: RuntimeRef, response: UpstreamResponse) -> Runtime:
        runtime = self._addressed(Operation.GET, ref.scope, ref.name or "", response)
        if runtime.provider_id != ref.provider_id:
            raise self._replaced("The name of this runtime now belongs to another one; nothing was done to it.")
        return runtime

    def _read(self, operation: Operation, response: UpstreamResponse, decode: Callable[[bytes], DecodedT]) -> DecodedT:
        """Decode a success (documented as 200; later eras return 201 for a create), or raise the response's error."""
        if not 200 <= response.status < 300:
            redirected = redirect_error(self.name, operation, response, self.settings.base_url)
            raise redirected or error_of(self.name, operation, response)
        try:
            return decode(response.body)
        except (ValueError, RecursionError) as exc:
            raise unreadable(self.name, operation, response) from exc

    def _replaced(self, detail: str) -> RuntimeReplaced:
        return RuntimeReplaced(detail, provider=self.name)
