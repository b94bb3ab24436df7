"""Which headers pass through, in both directions."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway.domain.errors import FieldError, InvalidRequest

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
"""Of one connection, not of the message (RFC 9110, 7.6.1)."""

_NOT_TO_PROVIDER: Final = _HOP_BY_HOP | {
    # who the caller is to the gateway, and to nobody else
    "authorization",
    "x-api-key",
    "cookie",
    # set anew
    "host",
    "expect",
    "x-request-id",
    "traceparent",
    # another method or path than the rules have seen
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    # the way to the gateway, which is the provider's business as little
    "forwarded",
    "via",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
}

_NOT_TO_CALLER: Final = _HOP_BY_HOP | {
    # what a provider says of its own host would be taken for the gateway's
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "public-key-pins",
    "alt-svc",
    "clear-site-data",
    "nel",
    "report-to",
    "reporting-endpoints",
    # set anew
    "server",
    "x-request-id",
}


_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def is_websocket(request: web.Request) -> bool:
    """Whether the request asks to become a WebSocket (RFC 6455, 4.1)."""
    headers = request.headers
    return (
        hdrs.UPGRADE in headers
        and request.method == hdrs.METH_GET
        and request.version >= (1, 1)
        and headers[hdrs.UPGRADE].strip().lower() == "websocket"
        and "upgrade" in _named(headers.getall(hdrs.CONNECTION, ()))
        and not request.body_exists
    )


def to_provider(headers: Any, *, websocket: bool, traced: bool) -> CIMultiDict[str]:
    """The headers of the caller that go out. Raises :class:`InvalidRequest` for one that is no text.

    ``traced`` False: the caller sent no trace context that can be passed on, and so none of what belongs to one."""
    kept_back = _NOT_TO_PROVIDER
    if hdrs.CONNECTION in headers:
        kept_back |= _named(headers.getall(hdrs.CONNECTION))
    passed = CIMultiDict([(name, value) for name, value in headers.items() if name.lower() not in kept_back])
    for name, value in passed.items():
        if not (value.isascii() and value.isprintable()):
            _require_text(str(name), value)
    if not traced:
        passed.popall("tracestate", None)
    if websocket:
        passed[hdrs.UPGRADE], passed[hdrs.CONNECTION] = "websocket", "Upgrade"
    return passed


def to_caller(headers: Any, cleaned: Callable[[str], str]) -> CIMultiDict[str]:
    """The headers of the provider that go back, each value ``cleaned``."""
    kept_back = _NOT_TO_CALLER
    if hdrs.CONNECTION in headers:
        kept_back |= _named(headers.getall(hdrs.CONNECTION))
    return CIMultiDict(
        [
            (name, cleaned(value if value.isascii() and value.isprintable() else _readable(value)))
            for name, value in headers.items()
            if name.lower() not in kept_back
        ]
    )


def _named(values: Iterable[str]) -> frozenset[str]:
    return frozenset(name.strip().lower() for value in values for name in value.split(","))


def _require_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise _no_text(name) from exc
    if _CONTROL.search(value):
        raise _no_text(name)


def _no_text(name: str) -> InvalidRequest:
    detail = f"The header {name} has bytes that are no UTF-8, or control characters."
    return InvalidRequest(detail, errors=[FieldError(detail, "not_allowed", header=name)])


def _readable(value: str) -> str:
    """A value as it can be sent: without control characters, and bytes that are no UTF-8 read as Latin-1."""
    raw = value.encode(errors="surrogateescape")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return _CONTROL.sub("", text)
