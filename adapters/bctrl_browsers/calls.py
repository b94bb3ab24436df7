"""Calls to one account at bctrl's browser API: from a request to a whole answer, and from an answer to browsers."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from adapters.bctrl_browsers import mapping, wire
from adapters.bctrl_browsers.errors import error_of, read_envelope
from adapters.bctrl_browsers.settings import BctrlBrowsersSettings
from gateway.domain.errors import ProviderBadResponse, ProviderFailure
from gateway.domain.operations import Operation
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.values import State
from gateway.ports.error_mapping import unreadable
from gateway.ports.provider import Seen
from gateway.ports.rows import PageRead
from gateway.ports.transport import Call, Transport, UpstreamRequest, UpstreamResponse

AnswerT = TypeVar("AnswerT")
Query = Sequence[tuple[str, str]]

MAX_LIMIT: Final = 100
"""The largest page that is asked for; the API's own bound is not documented."""

_WITH_A_RUN: Final = frozenset({State.STARTING, State.RUNNING, State.PAUSED, State.STOPPING, State.FAILED})
_WHOAMI: Final = msgspec.json.Decoder(wire.WhoamiBody)


class BrowserCalls:
    """What all operations share. ``features`` are the adapter's, for the ``actions`` of runtimes."""

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
        """One request; ``path`` is below the version, percent-encoded."""
        headers = self._headers if idempotency_key is None else {**self._headers, "Idempotency-Key": idempotency_key}
        request = UpstreamRequest(operation, method, self._settings.path_prefix + path, query, headers, body)
        return await self._transport.send(request, call)

    def read(self, operation: Operation, response: UpstreamResponse, decode: Callable[[bytes], AnswerT]) -> AnswerT:
        """Decode a success (201 for a create, 200 for the rest, any 2xx is read) or raise what the answer means."""
        if not 200 <= response.status < 300:
            raise error_of(self._provider, operation, response)
        try:
            return decode(response.body)
        except (ValueError, RecursionError) as exc:
            raise unreadable(self._provider, operation, response) from exc

    async def page(self, query: ProviderQuery, call: Call) -> PageRead[str | None, Seen]:
        """A page, oldest first, narrowed as far as the provider can (:func:`accepted` does the rest), and the cursor of
        the next one as its frame.

        Raises :class:`ProviderBadResponse` when its cursor is the one that was sent: following it would never end.
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
        """Whose credentials these are; None where they may not know, or the API has no such call."""
        response = await self.send(Operation.GET, "GET", "/auth/whoami", call)
        if response.status in {403, 404} and read_envelope(response.body) is not None:
            return None
        identity = self.read(Operation.GET, response, _WHOAMI.decode)
        if identity.account is None:
            raise unreadable(self._provider, Operation.GET, response)
        return identity


def accepted(page: PageRead[str | None, Seen], wanted: ListFilter) -> list[Seen]:
    """The browsers of a page that the whole filter accepts, without those that are in another space."""
    return [seen for seen in page.items if wanted.accepts(seen.runtime) and not mapping.is_elsewhere(seen.runtime)]
