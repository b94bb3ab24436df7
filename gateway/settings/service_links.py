"""Variables that Kubernetes, or a container link, adds to the environment for each Service of the namespace.

The variables of a Service ``rtgw`` or ``rtgw-…`` start with the same prefix as those of the settings. They are
distinguished by name and value together, so that a misspelt setting such as ``RTGW_PORT=8080`` is still a fault.
"""

import ipaddress
import re
from typing import Final

_ENDPOINT: Final = re.compile(r"(?:tcp|udp|sctp)://\S+\Z")
_PROTOCOL: Final = re.compile(r"(?:tcp|udp|sctp)\Z")
_NUMBER: Final = re.compile(r"[0-9]{1,5}\Z")
_NAME: Final = re.compile(
    r"(?P<address>_SERVICE_HOST|_PORT_[0-9]+_(?:TCP|UDP|SCTP)_ADDR)\Z"
    r"|(?P<endpoint>_PORT|_PORT_[0-9]+_(?:TCP|UDP|SCTP))\Z"
    r"|(?P<protocol>_PORT_[0-9]+_(?:TCP|UDP|SCTP)_PROTO)\Z"
    r"|(?P<number>_SERVICE_PORT(?:_[A-Z0-9_]+)?|_PORT_[0-9]+_(?:TCP|UDP|SCTP)_PORT)\Z"
)


def is_service_link(variable: str, value: str) -> bool:
    """Return whether both the name and the value of a variable are those of a Service."""
    match = _NAME.search(variable)
    if match is None:
        return False
    if match["address"]:
        return _is_address(value)
    pattern = _ENDPOINT if match["endpoint"] else _PROTOCOL if match["protocol"] else _NUMBER
    return pattern.match(value) is not None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
