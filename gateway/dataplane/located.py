"""The token of a request, and what the request asks of the runtime."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, unquote_plus

from aiohttp import web
from multidict import istr

from gateway.domain.errors import InvalidRequest, Unauthenticated

TICKET_PROTOCOL: Final = "rtgw.ticket."
"""The subprotocol that carries a token: a browser's WebSocket can send no header."""

_AUTHORIZATION: Final = istr("Authorization")
_SUBPROTOCOL: Final = istr("Sec-WebSocket-Protocol")
_IN_PATH: Final = re.compile(r"/(?P<protocol>[a-z_]{1,32})/(?P<token>[A-Za-z0-9_-]{64,})(?P<rest>/[^?]*)?\Z")
_IN_QUERY: Final = frozenset({"token", "ticket"})


@dataclass(frozen=True, slots=True)
class Located:
    """``protocol`` is empty for a token at the root. ``path`` and ``query`` (without ``?``) are what the runtime's
    server is asked, without the token. ``offered``: the subprotocol that carried the token."""

    protocol: str
    token: str = field(repr=False)
    path: str
    query: str = field(repr=False)
    offered: str | None = field(default=None, repr=False)


def locate(request: web.Request, *, websocket: bool) -> Located:
    """Find the token in the path, in ``Authorization: Bearer``, and for a WebSocket also in a subprotocol or the query.

    Raises :class:`Unauthenticated` without one, and :class:`InvalidRequest` for a path that is not unambiguous.
    """
    path, _, query = request.raw_path.partition("?")
    if not path.startswith("/"):
        raise InvalidRequest("The request target has to be a path, not a whole URL.")
    if (found := _IN_PATH.match(path)) is not None:
        return Located(found["protocol"], found["token"], _checked(found["rest"] or ""), query)
    _checked(path)
    scheme, _, bearer = request.headers.get(_AUTHORIZATION, "").strip().partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return Located("", bearer.strip(), path, query)
    if websocket:
        for offered in subprotocols(request):
            if offered.startswith(TICKET_PROTOCOL):
                return Located("", offered.removeprefix(TICKET_PROTOCOL), path, query, offered)
        parts = query.split("&") if query else []
        for part in parts:
            name, _, value = part.partition("=")
            if name in _IN_QUERY and value:
                rest = "&".join(one for one in parts if one is not part)
                return Located("", unquote_plus(value), path, rest)
    raise Unauthenticated(
        "An address of the data plane contains a token, or is used with one as Authorization: Bearer; "
        "get it with POST /v1/runtimes/{id}/connections."
    )


def subprotocols(request: web.Request) -> Iterator[str]:
    """The subprotocols that a WebSocket offers."""
    for value in request.headers.getall(_SUBPROTOCOL, ()):
        yield from filter(None, map(str.strip, value.split(",")))


def _checked(path: str) -> str:
    """A path without ``.`` and ``..``, also encoded: they could lead out of the runtime's own address."""
    text = unquote(path).replace("\\", "/") if "%" in path or "\\" in path else path
    if not {".", ".."}.isdisjoint(text.split("/")):
        raise InvalidRequest("The path has a segment of dots.")
    return path
