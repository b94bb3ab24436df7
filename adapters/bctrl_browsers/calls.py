"""Calls to one account at bctrl's browser API: sends requests and decodes the responses."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from adapters.bctrl_browsers import mapping, wire
from adapters.bctrl_browsers.errors import error_of, read_envelope
from adapters.bctrl_browsers.settings import BctrlBrowsersSettings
from gateway.domain.errors import ProviderBadResponse, ProviderFailure
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.values import Operation, State
from gateway.ports.error_mapping import unreadable
from gateway.ports.provider import Seen
from gateway.ports.redirects import redirect_error
from gateway.ports.rows import PageRead
from gateway.ports.transport import Call, Transport, UpstreamRequest, UpstreamResponse

DecodedT = TypeVar("DecodedT")
Query = Sequence[tuple[str, str]]

MAX_LIMIT: Final = 100
"""The largest page that is requested; the API's own bound is not documented."""

_WITH_A_RUN: Final = frozenset({State.STARTING, State.RUNNING, State.PAUSED, State.STOPPING, State.FAILED})
_WHOAMI: Final = msgspec.json.Decoder(wire.WhoamiBody)


class BrowserCalls:
    """The calls that all operations use. ``features`` are the adapter's; the ``actions`` of runtimes depend on them."""

    def __init__(self, settings: BctrlBrowsersSettings, transport: Transport, features: frozenset[str]) -> None:
        self._settings = settings
        self._transport = transport
        self._provider = settings.name
        self._headers = {**settings.credential_headers(), "BCTRL-Version": wire.API_VERSION}
        self.reader = mapping.Reader(settings.name, features, pinned=settings.scope is not None)

    async def send(
        self,
        operation: Operation,
        method: str,
        path: str,
        call: Call,
        *,
        query: Query = (),
        body: bytes | None = None,
        idempotency_key: str | None = None,
    ) -> UpstreamResponse:
        """Send one request. ``path`` is the part after the version, percent-encoded."""
        headers = self._headers if idempotency_key is None else {**self._headers, "Idempotency-Key": idempotency_key}
        request = UpstreamRequest(operation, method, self._settings.path_prefix + path, query, headers, body)
        return await self._transport.send(request, call)

    def read(self, operation: Operation, response: UpstreamResponse, decode: Callable[[bytes], DecodedT]) -> DecodedT:
        """Decode a success (documented as 201 for a create, else 200; any 2xx is accepted) or raise the response's
        error."""
        if not 200 <= response.status < 300:
            redirected = redirect_error(self._provider, operation, response, self._settings.base_url)
            raise redirected or error_of(self._provider, operation, response)
        try:
            return decode(response.body)
        except (ValueError, RecursionError) as exc:
            raise unreadable(self._provider, operation, response) from exc

    async def page(self, query: ProviderQuery, call: Call) -> PageRead[str | None, Seen]:
        """A page, oldest first, filtered as far as the provider can (:func:`accepted` applies the rest). Its ``frame``
        is the cursor of the next page, or None.

        Raises :class:`ProviderBadResponse` when the cursor is the one that was sent: following it would never end.
        """
        wanted = query.filter
        parameters = [("spaceId", query.scope), ("order", "asc"), ("limit", str(min(query.limit, MAX_LIMIT)))]
        if wanted.name is not None:
            parameters.append(("name", wanted.name))
        if wanted.states and wanted.states <= _WITH_A_RUN:
            parameters.append(("status", wire.Status.RUNNING))
        if query.cursor is not None:
            parameters.append(("cursor", query.cursor))
        response = await self.send(Operation.LIST, "GET", "/browsers", call, query=parameters)
        page = self.read(Operation.LIST, response, lambda body: self.reader.page(body, query.scope, call))
        if page.frame is not None and page.frame == query.cursor:
            failure = ProviderFailure(self._provider, status=response.status)
            raise ProviderBadResponse(f"The provider {self._provider} repeats the cursor of its list.", failure=failure)
        return page

    async def whoami(self, call: Call) -> wire.WhoamiBody | None:
        """The owner of the credentials. None if they do not permit this call (403), or the API does not have it
        (404)."""
        response = await self.send(Operation.GET, "GET", "/auth/whoami", call)
        if response.status in {403, 404} and read_envelope(response.body) is not None:
            return None
        identity = self.read(Operation.GET, response, _WHOAMI.decode)
        if identity.account is None:
            raise unreadable(self._provider, Operation.GET, response)
        return identity


def accepted(page: PageRead[str | None, Seen], wanted: ListFilter) -> list[Seen]:
    """The browsers of a page that match the whole filter, without those of another space."""
    return [seen for seen in page.items if wanted.accepts(seen.runtime) and not mapping.is_elsewhere(seen.runtime)]
