"""Reads that may be answered from memory: what the caller's ``Cache-Control`` asks for, and what the answer says of it
(``Cache-Status``, RFC 9211; ``Age``, RFC 9111)."""

import re
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from gateway.api.cache.cache import ANY, Answer, CacheDirectives, Key, Read, ReadCache, Result, Served
from gateway.api.conditions import none_match
from gateway.api.responses import JSON
from gateway.ports.context import RequestContext

_CACHE_STATUS: Final = istr("Cache-Status")
_KEEP: Final = "private, no-cache"
"""Callers may keep what they read, and have to ask with ``If-None-Match`` before they use it again."""

_MAX_AGE: Final = re.compile(r'max-age="?([0-9]{1,9})"?\Z', re.ASCII)
_NEW: Final = -1.0

_HEADERS: Final = CIMultiDict({hdrs.CONTENT_TYPE: JSON, hdrs.CACHE_CONTROL: _KEEP})


@lru_cache(maxsize=64)
def terms_of(cache_control: str | None) -> CacheDirectives:
    """What a ``Cache-Control`` of a request asks for: ``no-cache`` and ``max-age=0`` a new answer, ``max-age`` one that
    is not older, ``no-store`` a new one that is not kept. What is not understood is ignored."""
    if cache_control is None:
        return ANY
    directives = [directive.strip().lower() for directive in cache_control.split(",")]
    ages = [float(found[1]) or _NEW for directive in directives if (found := _MAX_AGE.match(directive))]
    store = "no-store" not in directives
    if not store or "no-cache" in directives:
        ages.append(_NEW)
    return CacheDirectives(min(ages, default=None), store)


async def answer_read(
    reads: ReadCache, key: Key, read: Read, request: web.Request, ctx: RequestContext
) -> web.Response:
    """The answer to a read, from memory where that will do. Raises what ``read`` raises."""
    terms = terms_of(request.headers.get(hdrs.CACHE_CONTROL))
    served = reads.fresh(key, terms) or await reads.read(key, read, terms)
    ctx.cache = served.result
    providers = served.answer.providers
    ctx.provider = providers[0] if len(providers) == 1 else None
    response = answer(served.answer, request)
    response.headers[_CACHE_STATUS] = _status(served)
    if served.age is not None:
        response.headers[hdrs.AGE] = str(int(served.age))
    return response


def answer(found: Answer, request: web.Request) -> web.Response:
    """A whole answer, or 304 where the caller has it already."""
    headers = _HEADERS.copy()
    etag = found.etag
    if etag is not None:
        headers[hdrs.ETAG] = etag
        sent = request.headers.get(hdrs.IF_NONE_MATCH)
        if sent is not None and not none_match(sent, etag):
            del headers[hdrs.CONTENT_TYPE]
            return web.Response(status=304, headers=headers)
    return web.Response(body=found.body, headers=headers)


def _status(served: Served) -> str:
    told = "runtime-gateway"
    if served.forward is None:
        told += "; hit"
    else:
        told += f"; fwd={served.forward}"
    error = served.error
    if error is not None and error.failure is not None and error.failure.status is not None:
        told += f"; fwd-status={error.failure.status}"
    if served.stored:
        told += "; stored"
    if served.result is Result.COLLAPSED:
        told += "; collapsed"
    if served.ttl is not None:
        told += f"; ttl={int(served.ttl // 1)}"
    if error is not None:
        told += f"; detail={error.code}"
    elif not served.answer.whole:
        told += "; detail=incomplete"
    return told
