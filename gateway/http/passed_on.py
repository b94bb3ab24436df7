"""Responses of a provider as they are sent to a caller, without what aiohttp would add to them."""

import re
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict

UNREAD_BYTES: Final = 1 << 16
"""While a caller has not read this many bytes, 1xx responses to it are dropped."""

_TAKES_INTERIM_FOR_FINAL: Final = re.compile(r"python-(?:urllib|requests)", re.IGNORECASE)
"""User agents that use Python's ``http.client``. It skips 100 only, and takes every other 1xx response for the final
one; on a kept connection the final one would then be taken for the response to the next request (RFC 8297, 3)."""


class PassedStream(web.StreamResponse):
    """A response whose body is written as it arrives. Its head is sent at once.

    aiohttp declares such a body without a ``Content-Type`` as ``application/octet-stream``, and clients that would look
    at the body then do not (RFC 9110, 8.3).
    """

    async def _prepare_headers(self) -> None:
        is_declared = hdrs.CONTENT_TYPE in self.headers
        await super()._prepare_headers()
        if not is_declared:
            self.headers.popall(hdrs.CONTENT_TYPE, None)


def pass_interim(request: web.Request, status: int, reason: str | None, headers: CIMultiDict[str]) -> None:
    """Send a 1xx response, without waiting. A caller that speaks HTTP/1.0 (RFC 9110, 15.2), or is known to mistake it
    for the final response, gets none. One that reads too slowly misses some: they are announcements only."""
    transport = request.transport
    if transport is None or transport.get_write_buffer_size() > UNREAD_BYTES or not _understands_interim(request):
        return
    headers.popall(hdrs.CONTENT_LENGTH, None)
    lines = [f"HTTP/1.1 {status} {reason or ''}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    transport.write("\r\n".join(lines).encode())


def _understands_interim(request: web.Request) -> bool:
    agent = request.headers.get(hdrs.USER_AGENT, "")
    return request.version >= HttpVersion11 and _TAKES_INTERIM_FOR_FINAL.search(agent) is None
