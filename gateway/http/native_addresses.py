"""Addresses of a provider in headers of its responses, turned into addresses of the pass-through.

Otherwise a redirect of a provider to itself would lead a client past the gateway, where it has no credentials, or, if
it is relative, into the gateway's own API.
"""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict, istr

from gateway.domain.base_urls import normalized_path
from gateway.ports.redirects import origin_of

_QUOTED_OR_TARGET: Final = re.compile(r'"(?:[^"\\]|\\.)*"|<([^<>]*)>')
_REFRESH: Final = re.compile(r"""(\s*[\d.]*\s*[;,]?\s*(?:url\s*=\s*)?["']?)([^"']*)(.*)""", re.IGNORECASE | re.DOTALL)
"""What precedes the address in ``Refresh``, the address, and what follows it."""
_REFRESH_NAME: Final = istr("Refresh")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True)
class NativeAddresses:
    """Rewrites the addresses below ``base_url`` of a provider to paths below ``path`` of the gateway."""

    path: str
    base_url: str
    _base: SplitResult = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_base", urlsplit(self.base_url))

    def rewrite(self, headers: CIMultiDict[str], path: str) -> None:
        """Rewrite ``Location``, ``Content-Location``, and the addresses in ``Link`` and ``Refresh``. ``path`` is the
        path and query of the request, below the base URL; relative addresses are resolved against it."""
        for name, rewritten in (
            (hdrs.LOCATION, self.address),
            (hdrs.CONTENT_LOCATION, self.address),
            (hdrs.LINK, self._links),
            (_REFRESH_NAME, self._refresh),
        ):
            if name in headers:
                for value in headers.popall(name):
                    headers.add(name, rewritten(value, path))

    def address(self, value: str, path: str) -> str:
        """The path at the gateway for an address below the base URL; any other address unchanged.

        A relative address that leads out of the base URL becomes absolute, because a client would resolve it against
        the gateway. An address that clients and the gateway could read differently is not rewritten.
        """
        text = value.strip()
        if not text or text.startswith("#") or _UNSAFE.search(text):
            return value
        try:
            written, target = urlsplit(text), urlsplit(urljoin(self.base_url + path, text))
            ours = origin_of(target) == origin_of(self._base) and "@" not in target.netloc
        except ValueError:
            return value
        if not ours:
            return value
        prefix, path = self._base.path.rstrip("/"), normalized_path(target.path)
        below = path == prefix or path.startswith(prefix + "/")
        if below and not _has_dots(path):
            rest = path[len(prefix) :]
            return urlunsplit(("", "", f"{self.path}{rest}", target.query, target.fragment))
        return value if written.netloc else target.geturl()

    def _refresh(self, value: str, path: str) -> str:
        found = _REFRESH.fullmatch(value)
        return value if found is None else found[1] + self.address(found[2], path) + found[3]

    def _links(self, value: str, path: str) -> str:
        def rewritten(match: re.Match[str]) -> str:
            return match[0] if match[1] is None else f"<{self.address(match[1], path)}>"

        return _QUOTED_OR_TARGET.sub(rewritten, value)


def _has_dots(path: str) -> bool:
    return not {".", ".."}.isdisjoint(unquote(segment) for segment in path.split("/"))


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
