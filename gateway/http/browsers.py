"""Protection of a gateway without keys from web pages: a browser on its machine sends what any page asks for."""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs
from multidict import MultiMapping, istr

from gateway.domain.errors import FieldError, PermissionDenied

_SITE: Final = istr("Sec-Fetch-Site")


def refuse_other_hosts(headers: MultiMapping[str]) -> None:
    """Raise :class:`PermissionDenied` if ``Host`` is not a name of loopback: a page whose own name resolves to loopback
    (DNS rebinding) has its own name there. A request without ``Host`` is no browser's."""
    if not all(_is_loopback(_name(f"//{host}")) for host in headers.getall(hdrs.HOST, ())):
        raise _denied("Without keys (auth: none), only localhost and loopback addresses are served.", "Host")


def refuse_cross_site(headers: MultiMapping[str]) -> None:
    """Raise :class:`PermissionDenied` for a request that a page of another site caused."""
    if any(site.strip().lower() == "cross-site" for site in headers.getall(_SITE, ())):
        raise _denied("Without keys (auth: none), requests of other sites are not served.", "Sec-Fetch-Site")
    own = {_name(f"//{host}") for host in headers.getall(hdrs.HOST, ())}
    if any(_name(origin) not in own for origin in headers.getall(hdrs.ORIGIN, ())):
        raise _denied("Without keys (auth: none), requests of other sites are not served.", "Origin")


def _name(url: str) -> str:
    """The host name of a URL in lower case; empty if it has no host."""
    try:
        return (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _denied(detail: str, header: str) -> PermissionDenied:
    return PermissionDenied(detail, errors=[FieldError(detail, "not_allowed", header=header)])
