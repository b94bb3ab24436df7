"""Addresses to listen on, as users write them, and the origins whose pages may call the API (CORS)."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gateway.ports.section import Section

_SPLIT: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})\Z", re.ASCII)
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A host (an IP address without brackets, or a name) and a TCP port; port 0 selects a free port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect. Any name except ``localhost`` is assumed to be reachable."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """Return the address in ``host:port``. Raises ``ValueError`` with a sentence for anything else.

    A port alone is refused too, so that the user always states which interfaces are opened.
    """
    match = _SPLIT.match(text)
    if match is None:
        raise ValueError("an address must be host:port or [IPv6]:port, such as 127.0.0.1:8080")
    port = int(match["port"])
    if port > 65535:
        raise ValueError("a port must be 0 to 65535")
    if match["v6"] is not None:
        try:
            return ListenAddress(str(ipaddress.IPv6Address(match["v6"])), port)
        except ValueError:
            raise ValueError("the text in brackets must be an IPv6 address") from None
    try:
        return ListenAddress(str(ipaddress.IPv4Address(match["host"])), port)
    except ValueError:
        if not _HOST_NAME.match(match["host"]):
            raise ValueError("the host must be an IP address or a host name") from None
    return ListenAddress(match["host"].lower(), port)


_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?\Z", re.ASCII
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def _origin(text: str) -> str:
    """The origin as browsers send it: in lower case, without the default port of its scheme."""
    found = _ORIGIN.match(text.lower())
    if found is None or int(found["port"] or 0) > 65535:
        raise ValueError(
            "an origin must be scheme://host or scheme://host:port, such as https://app.example: no path, no *, and an "
            "international name in its ASCII form"
        )
    scheme, host, port = found["scheme"], found["host"], int(found["port"] or 0)
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


Origin = Annotated[str, AfterValidator(_origin)]


class CorsSettings(Section):
    """The ``origins`` whose pages may call the API and read its responses. A browser may keep the response to a
    preflight for ``max_age`` seconds."""

    origins: list[Origin] = []
    max_age: Annotated[int, Field(ge=0, le=86_400)] = 600
