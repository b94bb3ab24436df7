"""Calls of web pages of other origins (CORS): which origins may read responses, and the responses to preflights; and
protection of a gateway without keys from web pages, because a browser on its machine sends what any page asks for."""

import ipaddress
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import CIMultiDict, MultiMapping, istr

from gateway.domain.errors import FieldError, PermissionDenied
from gateway.http.headers import PASSES_TO_PROVIDER
from gateway.settings import CorsSettings

_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS: Final = (
    "Authorization",
    "X-API-Key",
    "Content-Type",
    "Cache-Control",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "traceparent",
    "X-Request-ID",
)
_KNOWN: Final = frozenset(map(str.lower, _REQUEST_HEADERS))
_EXPOSED: Final = (
    "X-Request-ID, Retry-After, ETag, Location, Age, RateLimit, RateLimit-Policy, Idempotency-Replayed, Cache-Status, "
    "Preference-Applied"
)
_VARY: Final = "Origin, Authorization"
_V1: Final = "/v1/"


class Cors:
    """The origins whose pages may call. Cookies and other credentials of the browser are never allowed: a page sends
    its key itself."""

    def __init__(self, settings: CorsSettings) -> None:
        self.replace(settings)

    def replace(self, settings: CorsSettings) -> None:
        """Apply these settings to all later requests."""
        self._origins = frozenset(settings.origins)
        self._max_age = str(settings.max_age)

    def lists(self, sent: MultiMapping[str]) -> bool:
        """Whether the headers of a request have exactly one ``Origin``, and it is listed."""
        origins = sent.getall(hdrs.ORIGIN, ())
        return len(origins) == 1 and origins[0] in self._origins

    def mark(self, sent: MultiMapping[str], headers: CIMultiDict[str]) -> None:
        """Add the headers that let a page of a listed origin read the response, given those of the request."""
        if not self._origins:
            return
        headers.add(hdrs.VARY, _VARY)
        if hdrs.ORIGIN in sent and self.lists(sent):
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = sent[hdrs.ORIGIN]
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED

    def preflight(self, request: web.Request) -> web.Response:
        """The response to a preflight. Raises :class:`PermissionDenied` for an origin that is not listed."""
        if not self.lists(request.headers):
            detail = "Pages of this origin may not call this gateway."
            raise PermissionDenied(detail, errors=[FieldError(detail, "not_allowed", header="Origin")])
        allowed = [*_REQUEST_HEADERS, *_further_headers(request)]
        return web.Response(
            status=204,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS,
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(allowed),
                hdrs.ACCESS_CONTROL_MAX_AGE: self._max_age,
            },
        )


def is_preflight(request: web.BaseRequest) -> bool:
    """Whether a browser asks with this request if a page may send another one. It never has a key."""
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ORIGIN in request.headers
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    )


def _further_headers(request: web.Request) -> Iterator[str]:
    """The other headers that the page wants to send, outside of ``/v1``: those that the pass-through forwards."""
    if request.path.startswith(_V1):
        return
    for line in request.headers.getall(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, ()):
        for name in map(str.strip, line.lower().split(",")):
            if name not in _KNOWN and PASSES_TO_PROVIDER[name]:
                yield name


_SITE: Final = istr("Sec-Fetch-Site")


def refuse_other_hosts(headers: MultiMapping[str]) -> None:
    """Raise :class:`PermissionDenied` if ``Host`` is not a name of loopback: a page whose own name resolves to loopback
    (DNS rebinding) has its own name there. A request without ``Host`` is no browser's."""
    if not all(_is_loopback(_name(f"//{host}")) for host in headers.getall(hdrs.HOST, ())):
        raise _denied("Without keys (auth: none), only localhost and loopback addresses are served.", "Host")


def refuse_cross_site(headers: MultiMapping[str]) -> None:
    """Raise :class:`PermissionDenied` for a request that a page of another site caused."""
    if any(site.strip().lower() == "cross-site" for site in headers.getall(_SITE, ())):
        raise _denied("Without keys (auth: none), requests of other sites are not served.", "Sec-Fetch-Site")
    own = {_name(f"//{host}") for host in headers.getall(hdrs.HOST, ())}
    if any(_name(origin) not in own for origin in headers.getall(hdrs.ORIGIN, ())):
        raise _denied("Without keys (auth: none), requests of other sites are not served.", "Origin")


def _name(url: str) -> str:
    """The host name of a URL in lower case; empty if it has no host."""
    try:
        return (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _denied(detail: str, header: str) -> PermissionDenied:
    return PermissionDenied(detail, errors=[FieldError(detail, "not_allowed", header=header)])
