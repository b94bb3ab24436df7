"""Checks of a request's head that the parser leaves out: the HTTP version and ``Host`` (RFC 9112, 2.3 and 3.2)."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion10, HttpVersion11

from gateway.domain.errors import FieldError, GatewayError, HttpVersionNotSupported, InvalidRequest

_HOST: Final = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::0*([0-9]{0,5}))?\Z", re.ASCII
)
_LAST_PORT: Final = 65_535


def head_fault(request: web.BaseRequest) -> GatewayError | None:
    """The error for a request of another version than HTTP/1.0 and HTTP/1.1, or whose ``Host`` is malformed, repeated,
    or missing (HTTP/1.1); else None. An empty ``Host`` is valid."""
    version = request.version
    if version not in (HttpVersion11, HttpVersion10):
        return unsupported_version()
    hosts = request.headers.getall(hdrs.HOST, ())
    if len(hosts) == 1:
        return None if _is_host(hosts[0]) else _host_error("The Host header is malformed.", "invalid")
    if hosts:
        return _host_error("There are several Host headers.", "repeated")
    return _host_error("HTTP/1.1 requires a Host header.", "required") if version == HttpVersion11 else None


def unsupported_version() -> GatewayError:
    """The error for a request of another version of HTTP."""
    return HttpVersionNotSupported("The gateway speaks HTTP/1.1 and HTTP/1.0 only.")


def _is_host(value: str) -> bool:
    found = _HOST.match(value)
    if found is None or int(found[2] or 0) > _LAST_PORT:
        return False
    if found[1] is not None:
        try:
            IPv6Address(found[1])
        except AddressValueError:
            return False
    return True


def _host_error(detail: str, code: str) -> GatewayError:
    return InvalidRequest(detail, errors=[FieldError(detail, code, header="Host")])
