"""The headers of every response."""

from typing import Final

from aiohttp import hdrs, web
from multidict import istr

from gateway import __version__
from gateway.domain.access import rate_headers
from gateway.http.cors import Cors
from gateway.ports.context import RequestContext

REQUEST_ID: Final = istr("X-Request-ID")

_RATE_POLICY: Final = istr("RateLimit-Policy")
_RATE: Final = istr("RateLimit")
_NOSNIFF: Final = istr("X-Content-Type-Options")
_SERVER_NAME: Final = f"runtime-gateway/{__version__}"


def finish_headers(
    response: web.StreamResponse, request: web.BaseRequest, ctx: RequestContext, cors: Cors, *, private: bool
) -> None:
    """Set the headers of every response. ``private``: not to be stored, unless the handler set ``Cache-Control``."""
    headers = response.headers
    headers[REQUEST_ID] = ctx.request_id
    headers[_NOSNIFF] = "nosniff"
    headers[hdrs.SERVER] = _SERVER_NAME
    if ctx.rate is not None:
        headers[_RATE_POLICY], headers[_RATE] = rate_headers(*ctx.rate)
    if private:
        headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    cors.mark(request.headers, headers)
