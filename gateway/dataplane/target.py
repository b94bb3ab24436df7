"""A runtime's server as the target of a request, and its responses without addresses of the provider."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import hdrs
from multidict import CIMultiDict, istr

from gateway.dataplane.located import Located
from gateway.dataplane.session import Session
from gateway.domain.errors import ProviderBadResponse, ProviderFailure, RuntimeUnreachable
from gateway.domain.json_numbers import has_slow_numbers
from gateway.http.forwarding import forwarding_error, whole
from gateway.http.headers import interim_to_caller
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import PublicAddress, Rewriting
from gateway.ports.transport import Attempt, Phase, TransportFailure
from gateway.services.data_plane.service import DataPlane, Destination
from gateway.upstream.data_hosts import AddressRefused
from gateway.upstream.exchange import Exchange, NativeRequest
from gateway.upstream.http1.origin import Origin
from gateway.upstream.http1.response import IncomingResponse

_ADDRESSES: Final = (istr(hdrs.LOCATION), istr(hdrs.CONTENT_LOCATION))
_REFERRER_POLICY: Final = istr("Referrer-Policy")
_SUBPROTOCOL: Final = istr("Sec-WebSocket-Protocol")
_WITHHELD: Final = (istr(hdrs.LINK), istr("Refresh"))


@dataclass(slots=True, eq=False, repr=False)
class RuntimeTarget:
    """See :class:`gateway.http.forwarding.Target`. ``rewrites``: the response may contain addresses.
    ``_located`` is where the request had its token."""

    _destination: Destination
    _plane: DataPlane
    origin: Origin
    _session: Session
    _idle_timeout: float
    _clock: Clock
    _located: Located
    rewrites: bool = False

    @property
    def name(self) -> str:
        return self._destination.provider.name

    def exchange(self, ctx: RequestContext) -> Exchange:
        began = self._clock.monotonic()

        def finished(exchange: Exchange, outcome: str) -> None:
            seconds = self._clock.monotonic() - began
            ctx.attempts.append(Attempt(self.name, "data", outcome, seconds, exchange.phase))

        limit = self._idle_timeout
        exchange = Exchange(
            finished, self.origin.deadlines, caller=ctx.principal.name, until_response=limit, between=limit
        )
        self._session.stop = exchange.stop
        return exchange

    async def fetch(self, path: str, ctx: RequestContext) -> Any:
        """Read a JSON document of the runtime's server. Raises :class:`ProviderBadResponse`, and as a request does."""
        endpoint = self._destination.endpoint
        headers = CIMultiDict({**endpoint.headers, hdrs.ACCEPT_ENCODING: "identity"})
        try:
            async with self.exchange(ctx) as exchange:
                response = await exchange.send(NativeRequest("GET", endpoint.target(path), headers), self.origin)
                body = await whole(response, self.name)
        except TransportFailure as failure:
            raise self.error_of(failure, "GET") from failure
        if response.status != 200:
            raise _bad(self.name, f"answered {response.status} to a question for its address")
        return _document(body, self.name)

    def to_caller(self, headers: CIMultiDict[str], target: str, status: int) -> CIMultiDict[str]:  # noqa: ARG002
        passed = interim_to_caller(headers, str)
        for name in _WITHHELD:
            passed.popall(name, None)
        for name in _ADDRESSES:
            if (value := passed.get(name)) is not None and "//" in value:
                own = self._rewriting().address(value, self._destination.grant.protocol)
                passed.popall(name)
                if own is not None:
                    passed[name] = own
        if status >= 200:
            passed[_REFERRER_POLICY] = "no-referrer"
        offered = self._located.offered
        if status == 101 and offered is not None and _SUBPROTOCOL not in passed:
            passed[_SUBPROTOCOL] = offered  # a browser ends a WebSocket for which none of its subprotocols is selected
        return passed

    def rewritten(self, response: IncomingResponse) -> Callable[[bytes], bytes] | None:
        if not self.rewrites or not 200 <= response.status < 300:
            return None
        return self._rewrite

    def _rewrite(self, body: bytes) -> bytes:
        if not body:
            return body
        document = _document(body, self.name)
        return msgspec.json.encode(self._destination.protocol.rewrite(document, self._rewriting()))

    def _rewriting(self) -> Rewriting:
        grant = self._destination.grant

        def ticket(text: str) -> str:
            return self._plane.grants.token(msgspec.structs.replace(grant, ticket=text))

        def public(protocol: str) -> PublicAddress:
            if protocol != grant.protocol:
                return self._plane.sibling(grant, protocol)
            if self._destination.protocol.at_root:
                return PublicAddress(self._plane.public_url)
            return self._plane.address(protocol, self._located.token)

        return Rewriting(self._destination.endpoint, public, ticket)

    def error_of(self, failure: TransportFailure, method: str) -> Exception:
        cause: BaseException | None = failure
        while cause is not None and not isinstance(cause, AddressRefused):
            cause = cause.__cause__
        if cause is not None:
            return _bad(self.name, f"returned an address that may not be connected to: {cause}")
        if failure.phase is Phase.CONNECTING:
            self._plane.endpoints.forget(self._destination.grant.runtime_id)
            return RuntimeUnreachable(
                "The runtime runs, but nothing accepts connections at its address.", provider=self.name
            )
        return forwarding_error(self.name, failure, method)


def _document(body: bytes, provider: str) -> Any:
    if has_slow_numbers(body):
        raise _bad(provider, "sent a document with too many numbers that take long to decode")
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as exc:
        raise _bad(provider, "sent a document that is not JSON") from exc


def _bad(provider: str, what: str) -> ProviderBadResponse:
    return ProviderBadResponse(f"The runtime's server {what}.", failure=ProviderFailure(provider))
