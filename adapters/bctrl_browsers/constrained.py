"""The members of the provider's create and update that refer to something of the account, or bound a lifetime."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.domain.constraint_rules import lifetime_faults
from gateway.domain.constraints import Allowance, Reference, ReferenceKind
from gateway.domain.errors import FieldError, pointer

# No other form: parsers disagree about what is the host of a URL with a backslash, a tab or two signs "@".
_URL: Final = re.compile(
    r"(?:http|socks5)://(?:[^@/?#\\\s]*@)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?", re.ASCII
)


def refused_members(body: Mapping[str, Any], allowance: Allowance, *at: str) -> Iterator[FieldError]:
    """The faults of a body in the provider's own members, which need not be valid otherwise. ``at`` is its path."""
    yield from allowance.refused(_references(body, at))
    seconds = body.get("timeoutSeconds")
    if isinstance(seconds, int | float):
        yield from lifetime_faults(allowance, seconds, pointer(*at, "timeoutSeconds"))


def _references(body: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[Reference]:
    """A browser that is copied counts as a profile. Saved and managed proxies cannot be allowed."""
    extensions = body.get("extensions")
    for index, extension in enumerate(extensions if isinstance(extensions, list) else ()):
        yield Reference(ReferenceKind.EXTENSION, _text(extension), pointer(*at, "extensions", index))
    if (copied := body.get("fromBrowser")) is not None:
        yield Reference(ReferenceKind.PROFILE, _text(copied), pointer(*at, "fromBrowser"))
    if (proxy := body.get("proxy")) is not None:
        yield Reference(ReferenceKind.PROXY_HOST, _host(proxy), pointer(*at, "proxy"))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _host(proxy: Any) -> str | None:
    """The host of a proxy with an address of its own; None for any other form, and for more than one address."""
    if isinstance(proxy, Mapping):
        if proxy.keys() & {"id", "pool"} or proxy.get("type", "custom") != "custom" or {"host", "url"} <= proxy.keys():
            return None
        if "host" in proxy:
            return _text(proxy["host"])
        proxy = proxy.get("url")
    match = _URL.fullmatch(proxy) if isinstance(proxy, str) else None
    return match["host"] if match else None
