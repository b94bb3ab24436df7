"""Sends an emulator's answers, complete or damaged."""

import contextlib
import json
from typing import Final

from aiohttp import hdrs, web

from gateway.testing.exchange import Answer
from gateway.testing.faults import Html, Rule

_PAGE: Final = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0} upstream proxy</h1></body></html>"


def respond(answer: Answer) -> web.Response:
    if answer.content_type is not None:
        body, content_type = str(answer.body).encode(), answer.content_type
    elif answer.body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    else:
        body, content_type = json.dumps(answer.body).encode(), "application/json"
    return web.Response(status=answer.status, headers={hdrs.CONTENT_TYPE: content_type, **answer.headers}, body=body)


async def mangle(request: web.Request, answer: Answer, rule: Rule) -> web.StreamResponse:
    """The response that a rule damages: half a body, malformed JSON, a proxy's HTML page, or a closed connection."""
    complete = respond(answer)
    body = complete.body if isinstance(complete.body, bytes) else b""
    if isinstance(rule, Html):
        return web.Response(status=rule.status, text=_PAGE.format(rule.status), content_type="text/html")
    if rule.fault == "malformed_json":
        complete.body = body[:-1] or b"{"
        complete.content_type = "application/json"
        return complete
    if rule.fault == "half_body" and body:
        response = web.StreamResponse(status=complete.status, headers=complete.headers)
        response.content_length = len(body)
        with contextlib.suppress(ConnectionError):  # the client has closed the connection
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
        disconnect(request)
        return response
    disconnect(request)
    return complete


def disconnect(request: web.Request) -> None:
    """Close the connection after the bytes written so far; later writes are discarded."""
    if request.transport is not None:
        request.transport.close()
