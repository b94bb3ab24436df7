"""HTTP headers of cached reads: ``Cache-Control`` of the request, ``Cache-Status`` (RFC 9211) and ``Age`` (RFC 9111) of
the response."""

import re
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web
from multidict import istr

from gateway.api.cache.cache import ANY, CacheDirectives, EncodedResponse, Key, Read, ReadCache, Result, Served
from gateway.api.conditions import none_match
from gateway.api.responses import JSON
from gateway.ports.context import RequestContext

_CACHE_STATUS: Final = istr("Cache-Status")
_KEEP: Final = "private, no-cache"
"""Callers may store a response, and have to revalidate it with ``If-None-Match`` before they use it again."""

_MAX_AGE: Final = re.compile(r'max-age="?([0-9]{1,9})"?\Z', re.ASCII)
_NEW: Final = -1.0


@lru_cache(maxsize=64)
def parse_cache_control(cache_control: str | None) -> CacheDirectives:
    """Parse the ``Cache-Control`` of a request: ``no-cache`` and ``max-age=0`` ask for a new response, ``max-age`` for
    one that is not older, ``no-store`` for a new one that is not stored. Unknown directives are ignored."""
    if cache_control is None:
        return ANY
    directives = [part.strip().lower() for part in cache_control.split(",")]
    ages = [float(found[1]) or _NEW for directive in directives if (found := _MAX_AGE.match(directive))]
    store = "no-store" not in directives
    if not store or "no-cache" in directives:
        ages.append(_NEW)
    return CacheDirectives(min(ages, default=None), store)


async def respond_cached(
    reads: ReadCache, key: Key, read: Read, request: web.Request, ctx: RequestContext
) -> web.Response:
    """The response to a read, from the cache if possible. Raises what ``read`` raises."""
    directives = parse_cache_control(request.headers.get(hdrs.CACHE_CONTROL))
    served = reads.fresh(key, directives) or await reads.read(key, read, directives)
    ctx.cache = served.result
    providers = served.response.providers
    ctx.provider = providers[0] if len(providers) == 1 else None
    response = respond(served.response, request)
    response.headers[_CACHE_STATUS] = _status(served, whole=ctx.principal.view is None)
    if served.age is not None:
        response.headers[hdrs.AGE] = str(int(served.age))
    return response


def respond(found: EncodedResponse, request: web.Request) -> web.Response:
    """The full response, or 304 if the caller already has it."""
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: JSON, hdrs.CACHE_CONTROL: _KEEP}
    etag = found.etag
    if etag is not None:
        headers[hdrs.ETAG] = etag
        sent = request.headers.get(hdrs.IF_NONE_MATCH)
        if sent is not None and not none_match(sent, etag):
            del headers[hdrs.CONTENT_TYPE]
            return web.Response(status=304, headers=headers)
    return web.Response(body=found.body, headers=headers)


def _status(served: Served, *, whole: bool) -> str:
    """``whole`` False: without the status of the provider."""
    status = "runtime-gateway"
    if served.forward is None:
        status += "; hit"
    else:
        status += f"; fwd={served.forward}"
    error = served.error
    if whole and error is not None and error.failure is not None and error.failure.status is not None:
        status += f"; fwd-status={error.failure.status}"
    if served.stored:
        status += "; stored"
    if served.result is Result.COLLAPSED:
        status += "; collapsed"
    if served.ttl is not None:
        status += f"; ttl={int(served.ttl // 1)}"
    if error is not None:
        status += f"; detail={error.code}"
    elif not served.response.whole:
        status += "; detail=incomplete"
    return status
