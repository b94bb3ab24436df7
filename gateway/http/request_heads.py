"""Faults of a request's head: those that the parser reports, and those that it leaves out, which are the HTTP version,
``Host`` and the transfer coding (RFC 9112, 2.3, 3.2 and 6.1)."""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from itertools import chain
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong

from gateway.domain.errors import (
    FieldError,
    GatewayError,
    HeadersTooLarge,
    HttpVersionNotSupported,
    InvalidRequest,
    TransferCodingNotSupported,
    UriTooLong,
)

_HOST: Final = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::0*([0-9]{0,5}))?\Z", re.ASCII
)
_TOO_MANY: Final = ("Too many headers received",)
_BAD_CODING: Final = re.compile("Invalid `Transfer-Encoding`|Request has invalid `Tr|Duplicate 'Transfer-Encoding'")
_OTHER_VERSION: Final = {"Invalid HTTP version:", "Expected HTTP/2 Connection Preface:", "Pause on PRI/Upgrade:"}
_LAST_PORT: Final = 65_535


def head_fault(request: web.BaseRequest) -> GatewayError | None:
    """The error for a request of another version than HTTP/1.0 and HTTP/1.1, whose ``Host`` is malformed, repeated,
    or missing (HTTP/1.1), or with a transfer coding other than ``chunked``; else None. An empty ``Host`` is valid."""
    version = request.version
    if version != HttpVersion11 and version != HttpVersion10:  # noqa: PLR1714 (without a tuple, and the likely one first)
        return unsupported_version()
    hosts = request.headers.getall(hdrs.HOST, ())
    if len(hosts) > 1:
        return _host_error("There are several Host headers.", "repeated")
    if not hosts and version == HttpVersion11:
        return _host_error("HTTP/1.1 requires a Host header.", "required")
    if hosts and not _is_host(hosts[0]):
        return _host_error("The Host header is malformed.", "invalid")
    return _coding_fault(request) if hdrs.TRANSFER_ENCODING in request.headers else None


def bound_headers(request: web.Request, limit: int) -> None:
    """Raise :class:`HeadersTooLarge` if the headers are larger than ``limit`` bytes together."""
    if sum(map(len, chain.from_iterable(request.raw_headers))) > limit:
        raise HeadersTooLarge(f"The headers are larger than {limit} bytes together.")


def _coding_fault(request: web.BaseRequest) -> GatewayError | None:
    if request.version == HttpVersion10:  # a proxy that does not know the header may have forwarded it
        detail = "HTTP/1.0 has no Transfer-Encoding."
        return InvalidRequest(detail, errors=[FieldError(detail, "not_allowed", header="Transfer-Encoding")])
    codings = request.headers.getall(hdrs.TRANSFER_ENCODING)
    is_chunked = len(codings) == 1 and codings[0].isascii() and codings[0].lower() == "chunked"
    return None if is_chunked else _unsupported_coding()


def _unsupported_coding() -> GatewayError:
    detail = "The only transfer coding that the gateway supports is chunked."
    return TransferCodingNotSupported(detail, errors=[FieldError(detail, "unsupported", header="Transfer-Encoding")])


def unsupported_version() -> GatewayError:
    """The error for a request of another version of HTTP."""
    return HttpVersionNotSupported("The gateway speaks HTTP/1.1 and HTTP/1.0 only.")


@lru_cache(maxsize=64)
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


def parse_error(exc: HttpProcessingError, *, max_line: int, max_field: int, max_headers: int) -> GatewayError:
    """The error for a request that aiohttp's parser refused, given the parser's limits."""
    if isinstance(exc, LineTooLong):
        # The parser reports both with the same class; the two limits differ by one only to distinguish them here.
        if exc.args[1] == max_line:
            return UriTooLong(f"The request target is longer than {max_line} bytes.")
        return HeadersTooLarge(f"A header is longer than {max_field} bytes.")
    if exc.args == _TOO_MANY:
        return HeadersTooLarge(f"There are more than {max_headers} headers.")
    if _is_of_other_version(exc):
        return unsupported_version()
    if _BAD_CODING.match(exc.message):
        return _unsupported_coding()
    if isinstance(exc, BadHttpMethod):
        return InvalidRequest("The request does not begin with an HTTP method (is it TLS on a plain port?).")
    return InvalidRequest("The request breaks the rules of HTTP/1.1.")


def _is_of_other_version(exc: HttpProcessingError) -> bool:
    # The parser's reason is in the first two lines of the message; the others quote the request.
    return not _OTHER_VERSION.isdisjoint(line.strip() for line in exc.message.splitlines()[:2])
