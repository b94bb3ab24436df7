"""The pass-through: ``/native/{provider}/…`` is the provider's own API, called with the gateway's credentials.

The provider's responses are returned unchanged, errors included; the gateway's own errors are problems.
``Proxy-Status`` (RFC 9209) marks the responses of a provider.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web
from multidict import CIMultiDict, istr

from gateway.api.pipeline import Endpoints
from gateway.domain.errors import GatewayError, InvalidRequest, NotFound, PermissionDenied, ProviderNotConfigured
from gateway.domain.values import Permission
from gateway.http.audit import PATH, RequestAudit
from gateway.http.bodies import BodyReader
from gateway.http.forwarding import BUFFERED_BYTES, Forwarding, forwarding_error
from gateway.http.headers import interim_to_caller, is_websocket, to_caller, to_provider
from gateway.http.in_flight import SAFE_METHODS
from gateway.http.mounting import mounted
from gateway.http.native_addresses import NativeAddresses
from gateway.http.uploads import StreamedUpload
from gateway.ports.context import RequestContext
from gateway.ports.native import WEBSOCKET
from gateway.ports.transport import TransportFailure
from gateway.settings import HttpSettings
from gateway.upstream.exchange import Exchange, NativeRequest
from gateway.upstream.http1.origin import Origin
from gateway.upstream.http1.response import IncomingResponse
from gateway.upstream.passthrough import NATIVE, PassThrough

PREFIX: Final = "/native/"

_TARGET: Final = re.compile(r"/native/(?P<provider>[a-z0-9-]{1,40})(?P<path>(?:/[^?#]*)?)(?P<query>(?:\?[^#]*)?)\Z")
_DIALECT: Final = re.compile(_TARGET.pattern.replace("/native", "", 1))
_PATH: Final = re.compile(r"(?:[A-Za-z0-9/._~!$&'()*+,=:@-]++|%[0-9A-Fa-f]{2})*+\Z")  # RFC 3986, 3.3, without ;
_QUERY: Final = re.compile(r"[\x21\x22\x24-\x7e]*\Z")
_NO_SEGMENT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")
_NO_NAME: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|(?:^|/)[. ]*(?:[/;]|\Z)")
_DOTS: Final = re.compile(r"[. ]+(?:;|\Z)")


@dataclass(frozen=True, slots=True)
class NativeTarget:
    """``provider`` is the segment before the path: a provider's name, or the prefix of a dialect. ``path`` and
    ``query`` (with its ``?``) as they were sent; ``segments`` are those of the path, decoded once."""

    provider: str
    path: str
    query: str
    segments: tuple[str, ...]


def parse_target(raw: str, *, dialect: bool = False) -> NativeTarget:
    """Parse the request target, as sent in the request line; of a ``dialect``, it begins with its prefix.

    Raises :class:`NotFound` for a path that is not below ``/native/{provider}``, and :class:`InvalidRequest` for a path
    that is not valid in a URL or has ``.``, ``..`` or empty segments, ``;``, or an encoded slash, backslash or control
    character. Of a dialect, a segment may have encoded slashes, between parts that are segments themselves.
    """
    if not raw.startswith("/"):
        raise InvalidRequest("The request target has to be a path, not a whole URL.")
    match = (_DIALECT if dialect else _TARGET).match(raw)
    if match is None:
        raise NotFound("There is no such path; what a provider answers itself is at /native/{provider}/….")
    path, query = match["path"], match["query"]
    if _PATH.match(path) is None:
        raise InvalidRequest("The path has a character that has to be percent-encoded, or a ; or a broken encoding.")
    if _QUERY.match(query) is None:
        raise InvalidRequest("The query has a character that has to be percent-encoded.")
    segments = path[1:].split("/") if path else []
    if "%" in path:
        segments = [_decoded(segment, _NO_NAME if dialect and segment else _NO_SEGMENT) for segment in segments]
    if "" in segments[:-1] or path == "//":
        raise InvalidRequest("The path has an empty segment.")
    if ("/." in path or "%" in path) and any(_DOTS.match(segment) for segment in segments):
        raise InvalidRequest("The path has a segment of dots.")
    return NativeTarget(match["provider"], path, query, tuple(segments))


def _decoded(segment: str, refused: re.Pattern[str]) -> str:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequest("The path has percent-encoded bytes that are not UTF-8.") from exc
    if refused.search(text):
        raise InvalidRequest("The path has an encoded slash, backslash or control character.")
    return text


ROUTE: Final = "/native/{provider}/{path}"

_PROXY_STATUS: Final = istr("Proxy-Status")


def register_native(native: "NativeCalls", endpoints: Endpoints) -> None:
    handler = endpoints.bind_raw(NATIVE, NATIVE, ROUTE, native.forward, permission=Permission.NATIVE, bounded=False)
    for path in ("/native", "/native/{target:.*}"):
        endpoints.routes.add(path, {"*": handler})


class NativeCalls:
    """Passes requests on to ``providers``, by name. ``on_write`` is called with the name of a provider that a request
    may have changed."""

    def __init__(
        self,
        providers: Mapping[str, PassThrough],
        http: HttpSettings,
        endpoints: Endpoints,
        on_write: Callable[[str], None] | None = None,
    ) -> None:
        self._cors = endpoints.cors
        self._rates = endpoints.rates
        self._audit = endpoints.audit(NATIVE)
        self._providers = providers
        self._on_write = on_write
        self._body_timeout = http.body_timeout
        self._buffered_bytes = min(http.max_body_bytes, BUFFERED_BYTES)
        self._bodies = BodyReader(http.model_copy(update={"max_body_bytes": self._buffered_bytes}))

    async def forward(self, request: web.Request, ctx: RequestContext) -> web.StreamResponse:
        """Check the request's target against the rules, and forward the request."""
        target = parse_target(request.raw_path)
        ctx.principal.require_native()
        provider = self._providers.get(target.provider)
        if not ctx.principal.sees(target.provider):
            raise NotFound("There is no such path.")
        if provider is None:
            raise ProviderNotConfigured(f"This gateway has no provider {target.provider}.", provider=target.provider)
        ctx.provider = provider.name
        ctx.changes = {"method": request.method, PATH: target.path}
        websocket = is_websocket(request)
        if not provider.rules.allow(WEBSOCKET if websocket else request.method, target.segments):
            raise PermissionDenied(
                f"{'A WebSocket' if websocket else request.method} to this path is not among the rules of "
                f"providers.{provider.name}.native.allow in the gateway's settings.",
                provider=provider.name,
            )
        return await self._send(
            request, ctx, provider, target.path + target.query, mounted(f"/native/{provider.name}"), self._audit
        )

    async def forward_to(
        self, request: web.Request, ctx: RequestContext, name: str, target: str, base: str, audit: RequestAudit | None
    ) -> web.StreamResponse:
        """Pass a request on that a dialect forwards. ``target`` is the path and query below the base URL of the
        provider, ``base`` the path at the gateway that stands for that URL. The rules of ``native.allow`` do not
        apply."""
        provider = self._providers.get(name)
        if provider is None:
            raise NotFound("There is no such path.")
        ctx.provider = name
        ctx.changes = {"method": request.method, PATH: target.partition("?")[0]}
        return await self._send(request, ctx, provider, target, base, audit)

    async def _send(
        self,
        request: web.Request,
        ctx: RequestContext,
        provider: PassThrough,
        target: str,
        base: str,
        audit: RequestAudit | None,
    ) -> web.StreamResponse:
        websocket = is_websocket(request)
        if provider.rate is not None:
            await self._rates.charge(ctx, provider.name, provider.rate)
        headers = to_provider(
            request.headers,
            websocket=websocket,
            traced=ctx.traceparent is not None,
            credentials=provider.credential_names,
        )
        upload = StreamedUpload(request, provider.limits.max_body_bytes, self._body_timeout)
        outgoing = NativeRequest(request.method, target, headers)
        if upload.length and upload.length <= self._buffered_bytes:
            outgoing.body = await self._bodies.read_raw(request) or None
            provider = self._providers.get(provider.name, provider)  # the settings may have changed meanwhile
        provider.sign(headers, ctx)
        native = _NativeTarget(provider, _addresses(base, provider.base_url))
        forwarding = Forwarding(request, ctx, native, upload, self._cors, audit=audit)
        if self._on_write is not None and (websocket or request.method not in SAFE_METHODS):
            forwarding.on_write = partial(self._on_write, provider.name)
        return await forwarding.run(outgoing, websocket=websocket)


_addresses: Final = lru_cache(64)(NativeAddresses)


@dataclass(slots=True, eq=False, repr=False)
class _NativeTarget:
    _provider: PassThrough
    _addresses: NativeAddresses

    @property
    def name(self) -> str:
        return self._provider.name

    @property
    def origin(self) -> Origin:
        return self._provider.origin

    def exchange(self, ctx: RequestContext) -> Exchange:
        return self._provider.exchange(ctx)

    def to_caller(self, headers: CIMultiDict[str], target: str, status: int) -> CIMultiDict[str]:
        is_interim = status < 200 and status != 101
        passed = (interim_to_caller if is_interim else to_caller)(headers, self._provider.without_credentials)
        self._addresses.rewrite(passed, target)
        if not is_interim:
            passed.add(_PROXY_STATUS, f"runtime-gateway; received-status={status}")
        return passed

    def rewritten(self, _response: IncomingResponse) -> None:
        return None

    def error_of(self, failure: TransportFailure, method: str) -> GatewayError:
        return forwarding_error(self._provider.name, failure, method)
