"""Which headers the pass-through forwards, in both directions.

A header is forwarded only if its name consists of letters, digits and hyphens. CGI, WSGI, Rack and PHP applications
read ``X_HTTP_METHOD_OVERRIDE`` and ``X-HTTP-Method-Override`` as the same header, and some servers treat every other
character like a hyphen too, so a check of one spelling could be bypassed with another. No provider API needs them.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from gateway.domain.errors import FieldError, InvalidRequest

_PLAIN: Final = re.compile(r"[a-z0-9-]+\Z", re.ASCII)

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    }
)
"""Headers of one connection, not of the message (RFC 9110, 7.6.1)."""

_NOT_TO_PROVIDER: Final = _HOP_BY_HOP | {
    # credentials of the caller, which are for the gateway only
    "authorization",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "cookie",
    "cookie2",
    # set by the gateway itself
    "host",
    "x-host",
    "expect",
    "x-request-id",
    "traceparent",
    # how the request reached the gateway
    "forwarded",
    "via",
}

_FAMILIES_NOT_TO_PROVIDER: Final = (
    # how the request reached the gateway, or a path other than the one that the rules checked
    "x-forward",
    "x-original",
    "x-originating-",
    "x-rewrite-",
    "x-middleware-",  # Next.js skips its checks, or serves another path, for its internal ones
    "x-matched-path",
    "x-invoke-",
    "x-envoy",
    "x-real-",
    "proxy",  # CGI programs read Proxy as the environment variable HTTP_PROXY
    "x-proxy",
    # a method other than the one that the rules checked
    "x-http-",
    # an identity that only a trusted proxy may set
    "remote",
    "x-remote",
    "x-auth-request-",
    "x-authenticated-",
    "x-webauth-",
    "x-goog-",
    "x-amzn-oidc-",
    "x-ms-client-principal",
    "cf-access-",
    "client-cert",
    "x-client-cert",
    "ssl-client",
    "x-ssl-client",
)
_ENDINGS_NOT_TO_PROVIDER: Final = ("client-ip", "connecting-ip")
_OVERRIDE: Final = "override"

_NOT_TO_CALLER: Final = _HOP_BY_HOP | {
    # statements of a provider about its own host, which the client would apply to the gateway
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "public-key-pins",
    "alt-svc",
    "clear-site-data",
    "nel",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    # set by the gateway itself
    "server",
    "x-request-id",
}

_FAMILIES_NOT_TO_CALLER: Final = (
    "access-control-",  # which pages may read it is the gateway's to say
    # instructions to a server in front of the gateway, which would replace the response by a file or path of its own
    "x-accel-",
    "x-sendfile",
    "x-lighttpd-send",
    "x-litespeed-",
)

_SANDBOX: Final = (istr("Content-Security-Policy"), "sandbox")
"""Beside a policy of the provider, so that its pages run without the gateway's origin. All policies apply together."""

_KEPT_NAMES: Final = 1024
_LONGEST_KEPT_NAME: Final = 64

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class HeaderRule(dict[str, bool]):
    """Whether a header is forwarded, by its name as spelled. ``rule[name]`` is one dict look-up for a known name.

    Clients and providers choose names freely, so the cached names are bounded in number and in length."""

    def __init__(
        self, dropped: frozenset[str], families: tuple[str, ...] = (), endings: tuple[str, ...] = (), *, part: str = ""
    ) -> None:
        """``dropped``: complete names; ``families`` and ``endings``: prefixes and suffixes of names; ``part``: a text
        that no name may contain."""
        super().__init__()
        self._dropped = dropped
        self._families = families
        self._endings = endings
        self._part = part

    def __missing__(self, name: str) -> bool:
        passes = self._passes(name.lower())
        if len(name) <= _LONGEST_KEPT_NAME:
            if len(self) >= _KEPT_NAMES:
                self.clear()
            self[str(name)] = passes
        return passes

    def _passes(self, name: str) -> bool:
        if _PLAIN.match(name) is None:
            return False
        name = name.strip("-")
        return not (
            name in self._dropped
            or name.startswith(self._families)
            or name.endswith(self._endings)
            or (self._part and self._part in name)
        )


PASSES_TO_PROVIDER: Final = HeaderRule(
    _NOT_TO_PROVIDER, _FAMILIES_NOT_TO_PROVIDER, _ENDINGS_NOT_TO_PROVIDER, part=_OVERRIDE
)
PASSES_TO_CALLER: Final = HeaderRule(_NOT_TO_CALLER, _FAMILIES_NOT_TO_CALLER)


def canonical_name(name: str) -> str:
    """The form in which header names are compared: lower case, ``_`` replaced by ``-``, no hyphens at the ends."""
    return name.strip().lower().replace("_", "-").strip("-")


def is_websocket(request: web.Request) -> bool:
    """Whether the request asks for an upgrade to WebSocket (RFC 6455, 4.1)."""
    headers = request.headers
    return (
        hdrs.UPGRADE in headers
        and request.method == hdrs.METH_GET
        and request.version >= (1, 1)
        and headers[hdrs.UPGRADE].strip().lower() == "websocket"
        and "upgrade" in _tokens(headers.getall(hdrs.CONNECTION, ()))
        and not request.body_exists
    )


def to_provider(
    headers: Any, *, websocket: bool, traced: bool, credentials: frozenset[str] = frozenset()
) -> CIMultiDict[str]:
    """The caller's headers to forward. Raises :class:`InvalidRequest` for a value that is not UTF-8 text.

    ``traced`` False: the caller sent no valid ``traceparent``, so its ``tracestate`` is dropped too. ``credentials``
    are the names of the headers that carry the provider's own credentials; the caller's are dropped."""
    withheld = _not_withheld_by_rule(credentials)
    if hdrs.CONNECTION in headers:
        withheld |= _named(headers.getall(hdrs.CONNECTION))
    passed = CIMultiDict(
        [
            (name, value)
            for name, value in headers.items()
            if PASSES_TO_PROVIDER[name] and not (withheld and canonical_name(name) in withheld)
        ]
    )
    for name, value in passed.items():
        if not (value.isascii() and value.isprintable()):
            _require_text(str(name), value)
    if not traced:
        passed.popall("tracestate", None)
    if websocket:
        passed[hdrs.UPGRADE], passed[hdrs.CONNECTION] = "websocket", "Upgrade"
    return passed


def to_caller(headers: Any, cleaned: Callable[[str], str]) -> CIMultiDict[str]:
    """The provider's headers to return, each value passed through ``cleaned``, and a policy that
    separates a page of the provider from the gateway's origin."""
    passed = interim_to_caller(headers, cleaned)
    passed.add(*_SANDBOX)
    return passed


def interim_to_caller(headers: Any, cleaned: Callable[[str], str]) -> CIMultiDict[str]:
    """The headers of a 1xx response to return: nothing is added."""
    withheld: frozenset[str] = frozenset()
    if hdrs.CONNECTION in headers:
        withheld = _named(headers.getall(hdrs.CONNECTION))
    return CIMultiDict(
        [
            (name, cleaned(value if value.isascii() and value.isprintable() else _readable(value)))
            for name, value in headers.items()
            if PASSES_TO_CALLER[name] and not (withheld and canonical_name(name) in withheld)
        ]
    )


@lru_cache(256)
def _not_withheld_by_rule(names: frozenset[str]) -> frozenset[str]:
    return frozenset(filter(PASSES_TO_PROVIDER.__getitem__, map(canonical_name, names)))


def _named(values: Iterable[str]) -> frozenset[str]:
    return frozenset(canonical_name(name) for value in values for name in value.split(","))


def _tokens(values: Iterable[str]) -> frozenset[str]:
    return frozenset(name.strip().lower() for value in values for name in value.split(","))


def _require_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise _no_text(name) from exc
    if _CONTROL.search(value):
        raise _no_text(name)


def _no_text(name: str) -> InvalidRequest:
    detail = f"The header {name} has bytes that are not UTF-8, or control characters."
    return InvalidRequest(detail, errors=[FieldError(detail, "not_allowed", header=name)])


def _readable(value: str) -> str:
    """A value that can be sent: without control characters; bytes that are not UTF-8 are decoded as Latin-1."""
    raw = value.encode(errors="surrogateescape")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return _CONTROL.sub("", text)
