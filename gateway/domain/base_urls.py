"""Base URLs of providers: which forms can be used, and which spellings mean the same address."""

import ipaddress
import re
import socket
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, urlsplit

_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+\Z")
_NOT_IN_A_URL: Final = re.compile(r"[\\\"<>^`{|}]|%(?![0-9A-Fa-f]{2})")
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]\Z", re.ASCII)
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,254}}\Z)(?:{_LABEL}\.)*{_LABEL}\.?\Z")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def require_base_url(url: str) -> str:
    """Return the base URL without slashes at its end and with a :func:`normalized_path`. Raises ``ValueError`` with a
    sentence for a URL to which no path can be appended, or that no request can be sent to."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise ValueError("the host or the port of the base URL cannot be read") from None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise ValueError("the base URL starts with http:// or https:// and names a host")
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong in the base URL; use token")
    if "?" in url or "#" in url:
        raise ValueError("the base URL has no query and no fragment")
    if not _PRINTABLE.match(url) or _NOT_IN_A_URL.search(url):
        raise ValueError("the base URL has characters that a URL cannot contain")
    if port == 0 or not _is_host(host):
        raise ValueError("the host or the port of the base URL cannot be read")
    path = normalized_path(parts.path).rstrip("/")
    if any(segment in {"", ".", ".."} for segment in path.split("/")[1:]):
        raise ValueError("the path of the base URL has an empty segment, or one that is . or ..")
    return f"{parts.scheme}://{parts.netloc}{path}"


def normalized_path(path: str) -> str:
    """Return the path with every character decoded that needs no percent-encoding (RFC 3986, 6.2.2)."""
    return _ENCODED.sub(_decoded, path)


def _decoded(encoded: re.Match[str]) -> str:
    character = unquote(encoded[0])
    return character if _UNRESERVED.match(character) else encoded[0].upper()


def canonical_host(host: str) -> str:
    """Return one form for all spellings of a host: in lower case, without a dot at the end; an IPv4 address in four
    decimal numbers, also for ``127.1`` and one that is mapped to IPv6; 127.0.0.1 for ``localhost``."""
    name = host.lower().removesuffix(".")
    try:
        address = ipaddress.IPv6Address(name)
        return str(address.ipv4_mapped or address)
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton("127.1" if name == "localhost" else name))
    except OSError:
        return name


@lru_cache(maxsize=1024)
def same_address(url: str, own_paths: tuple[str, ...] = ()) -> str:
    """Return one form for all spellings of a base URL that mean the same server and path.

    The scheme is in lower case, the host canonical; the default port, slashes at the end, and one of ``own_paths`` at
    the end of the path, which the adapter otherwise appends, are left out.
    """
    parts = urlsplit(url)
    host = canonical_host(parts.hostname or "")
    if ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{parts.port}"
    path = parts.path.rstrip("/")
    for own in own_paths:
        if path.endswith(own):
            path = path.removesuffix(own)
            break
    return f"{parts.scheme}://{host}{port}{path.rstrip('/')}"


def is_unprotected(url: str) -> bool:
    """Return whether requests to the URL cross a network unencrypted: plain HTTP to a host beyond loopback."""
    parts = urlsplit(url)
    host = canonical_host(parts.hostname or "")
    if parts.scheme != "http" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST_NAME.match(host) is not None
    try:
        return ipaddress.IPv6Address(host).scope_id is None
    except ValueError:
        return False
