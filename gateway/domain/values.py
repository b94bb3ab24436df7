"""The closed vocabularies of the model (specification §1, §2) and the small parsers of what people type."""

import re
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What a runtime is. ``desktop`` and ``spreadsheet`` can only be listed and read, never created."""

    DURABLE = "durable"
    BROWSER = "browser"
    DESKTOP = "desktop"
    SPREADSHEET = "spreadsheet"


class State(StrEnum):
    """Where a runtime is now. A provider's unknown value reads as ``unknown``, never as an error."""

    IDLE = "idle"  # exists, no compute
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"


class WorkClass(StrEnum):
    """The class of work a provider call belongs to; limits and breakers are kept per class (promise P4)."""

    READ = "read"
    CREATE = "create"  # creates, config and binding writes
    START = "start"  # start, resume, keepalive, connections
    RELEASE = "release"  # stop, pause, reset, delete


NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
PROVIDER_NAME_PATTERN: Final = r"^[a-z0-9-]{1,40}$"
UUID_PATTERN: Final = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

_UUID: Final = re.compile(UUID_PATTERN.removesuffix("$") + r"\Z")


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID in its 36-character form, in either case."""
    return _UUID.match(text) is not None
