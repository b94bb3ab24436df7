"""How an answer leaves the emulator, whole or not."""

import contextlib
import json
from typing import Final

from aiohttp import hdrs, web

from gateway.testing.exchange import Answer
from gateway.testing.faults import Html, Rule

_PAGE: Final = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0} upstream proxy</h1></body></html>"


def respond(answer: Answer) -> web.Response:
    """The whole answer."""
    if answer.content_type is not None:
        body, content_type = str(answer.body).encode(), answer.content_type
    elif answer.body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    else:
        body, content_type = json.dumps(answer.body).encode(), "application/json"
    return web.Response(status=answer.status, headers={hdrs.CONTENT_TYPE: content_type, **answer.headers}, body=body)


async def mangle(request: web.Request, answer: Answer, rule: Rule) -> web.StreamResponse:
    """The answer with the end that the rule gives it: half of it, broken, another's page, or none at all."""
    whole = respond(answer)
    body = whole.body if isinstance(whole.body, bytes) else b""
    if isinstance(rule, Html):
        return web.Response(status=rule.status, text=_PAGE.format(rule.status), content_type="text/html")
    if rule.fault == "malformed_json":
        whole.body = body[:-1] or b"{"
        whole.content_type = "application/json"
        return whole
    if rule.fault == "half_body" and body:
        response = web.StreamResponse(status=whole.status, headers=whole.headers)
        response.content_length = len(body)
        with contextlib.suppress(ConnectionError):  # the client has left before
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
        hang_up(request)
        return response
    hang_up(request)
    return whole


def hang_up(request: web.Request) -> None:
    """Close the connection after what was written; what comes later goes nowhere."""
    if request.transport is not None:
        request.transport.close()
