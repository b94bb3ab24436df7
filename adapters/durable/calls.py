"""Calls to one durable account: from a path to a whole answer, and from an answer to runtimes."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, TypeVar

from adapters.durable import mapping, wire
from adapters.durable.errors import failed
from adapters.durable.settings import DurableSettings
from gateway.domain.errors import ProviderBadResponse, ProviderFailure
from gateway.domain.ids import RuntimeRef
from gateway.domain.operations import Operation
from gateway.domain.pages import ProviderPage
from gateway.domain.runtime import Runtime
from gateway.ports.error_mapping import unrecognized_response_error
from gateway.ports.rows import PageRead, read_page
from gateway.ports.transport import Call, Transport, UpstreamRequest, UpstreamResponse, path_segment

DecodedT = TypeVar("DecodedT")

_CACHED_SCOPES: Final = 256


class DurableCalls:
    """What all operations share. ``features`` are the adapter's, for the ``actions`` of runtimes."""

    def __init__(self, settings: DurableSettings, transport: Transport, features: frozenset[str]) -> None:
        self.provider = settings.name
        self._prefix = settings.path_prefix
        self._headers = settings.headers()
        self._transport = transport
        self._runtimes_path = lru_cache(_CACHED_SCOPES)(lambda scope: self.workspace_path(scope, "runtimes"))
        self.to_domain = mapping.Reader(settings.name, features, pinned=settings.scope is not None).runtime

    def path(self, *segments: str) -> str:
        """A path of the API. Every segment is percent-encoded.

        Raises :class:`NotFound` for a segment that would lead somewhere else.
        """
        return self._prefix + _below(segments)

    def workspace_path(self, scope: str, *segments: str) -> str:
        """The path of a scope, or of something below it. Raises as :meth:`path`."""
        org, _, workspace = scope.partition("/")
        return self.path("org", org, "ws", workspace, *segments)

    def runtimes_path(self, scope: str, *segments: str) -> str:
        """The path of a scope's runtimes, or of something below them. Raises as :meth:`path`."""
        return self._runtimes_path(scope) + _below(segments)

    @property
    def user_path(self) -> str:
        """The path of the account itself: the one read that needs no scope."""
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
        """One request and its successful answer. Raises the error that any other answer means."""
        response = await self._answer(operation, method, path, call, query, body)
        if 200 <= response.status < 300:
            return response
        raise failed(self.provider, operation, response)

    async def account(self, call: Call) -> str:
        """The id of the user whose credentials these are; empty where the API has no such route, which it says in JSON.
        Raises :class:`ProviderBadResponse` for a user without an id."""
        response = await self._answer(Operation.GET, "GET", self.user_path, call)
        if response.status == 404 and _is_object(response.body):
            return ""
        if not 200 <= response.status < 300:
            raise failed(self.provider, Operation.GET, response)
        user: wire.UserBody = self.decoded(Operation.GET, response, wire.user_body.decode)
        return user.id

    async def _answer(
        self,
        operation: Operation,
        method: str,
        path: str,
        call: Call,
        query: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> UpstreamResponse:
        request = UpstreamRequest(operation, method, path, query, self._headers, body)
        return await self._transport.send(request, call)

    def decoded(
        self, operation: Operation, response: UpstreamResponse, decode: Callable[[bytes], DecodedT]
    ) -> DecodedT:
        """The body of a successful answer.

        Raises :class:`ProviderBadResponse` when it is not what it has to be; after a create, which may have happened,
        :class:`OutcomeUnknown`.
        """
        try:
            return decode(response.body)
        except (ValueError, RecursionError) as exc:
            raise unrecognized_response_error(self.provider, operation, response) from exc

    def runtime(self, operation: Operation, ref: RuntimeRef, response: UpstreamResponse) -> Runtime:
        """The runtime of an answer, which has to be the one that was asked for."""
        return self.runtime_and_token(operation, ref, response)[0]

    def runtime_and_token(
        self, operation: Operation, ref: RuntimeRef, response: UpstreamResponse
    ) -> tuple[Runtime, str | None]:
        """The same, with the sandbox's token. Raises :class:`ProviderBadResponse` for another runtime's."""
        body, runtime = self.decoded(operation, response, lambda body: self.read_runtime(body, ref.scope))
        if runtime.provider_id != ref.provider_id:
            raise self.bad_response(response, "answered with another runtime than the one that was asked for")
        return runtime, body.sandbox_token

    def read_runtime(self, body: bytes, scope: str) -> tuple[wire.RuntimeBody, Runtime]:
        """A runtime's JSON, as it came and as the domain has it. Raises ``ValueError`` or ``RecursionError`` when it is
        no runtime."""
        found, raw = wire.runtime_body(body)
        return found, self.to_domain(found, raw, scope)

    async def page(self, scope: str, query: Sequence[tuple[str, str]], call: Call) -> ProviderPage:
        """One page of a scope's runtimes, as the provider narrows it, with all rows of it that cannot be read.

        Raises :class:`ProviderBadResponse` when its cursor is the one that was sent: following it would never end.
        """
        response = await self.send(Operation.LIST, "GET", self.runtimes_path(scope), call, query=query)

        def whole(body: bytes) -> tuple[str | None, list[Runtime]]:
            page, raws = wire.list_body(body)
            rows = enumerate(page.items)
            return page.next_cursor or None, [
                self.to_domain(row, None if raws is None else raws[index], scope) for index, row in rows
            ]

        def row(body: bytes) -> Runtime:
            return self.read_runtime(body, scope)[1]

        def read(body: bytes) -> PageRead[str | None, Runtime]:
            return read_page(body, call, member=wire.ROWS, name=wire.NAME, whole=whole, row=row)

        page = self.decoded(Operation.LIST, response, read)
        if page.frame is not None and ("cursor", page.frame) in query:
            raise self.bad_response(response, "repeats the cursor of its list")
        return ProviderPage(page.items, page.frame, page.unreadable, page.readable)

    def bad_response(self, response: UpstreamResponse, what: str) -> ProviderBadResponse:
        """The error for a well-formed answer that makes no sense."""
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
