"""The enumerations of the model (docs/model.md), and the patterns of names and ids."""

import re
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit


class Kind(StrEnum):
    """The kind of a runtime. ``desktop`` and ``spreadsheet`` can be listed and read, but not created."""

    DURABLE = "durable"
    BROWSER = "browser"
    DESKTOP = "desktop"
    SPREADSHEET = "spreadsheet"


class State(StrEnum):
    """The state of a runtime. A provider's state that its adapter does not know becomes ``unknown``, not an error."""

    IDLE = "idle"  # exists, no compute
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"


class WorkClass(StrEnum):
    """The class of work of a provider call. Bulkheads and breakers are per class (docs/promises.md#p4)."""

    READ = "read"
    CREATE = "create"  # creates, config and binding writes
    START = "start"  # start, resume, keepalive, connections
    RELEASE = "release"  # stop, pause, reset, delete


NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
OWNER_PATTERN: Final = r"^[\x21-\x7e]{1,320}$"
"""The name of a principal or of a group."""

PROVIDER_NAME_PATTERN: Final = r"^[a-z0-9-]{1,40}$"
UUID_PATTERN: Final = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

_UUID: Final = re.compile(UUID_PATTERN.removesuffix("$") + r"\Z")


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID in its 36-character form, in either case."""
    return _UUID.match(text) is not None


_CONNECTION_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})


def is_connection_url(text: str) -> bool:
    """Whether ``text`` is an absolute URL with the scheme http, https, ws or wss and a host. Clients open these URLs,
    so a URL such as ``javascript:…`` or ``file:…`` must not reach them."""
    # urlsplit would remove line breaks and tabs, and browsers read a backslash as a slash
    if not text.isprintable() or " " in text or "\\" in text:
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in _CONNECTION_SCHEMES and bool(parts.hostname)
