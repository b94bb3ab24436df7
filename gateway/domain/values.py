"""The enumerations of the model (docs/model.md), the operations with their class of work, and the patterns of names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


class Permission(StrEnum):
    """One thing that a caller may do. The API and the settings call permissions ``scopes``; in the code a scope is a
    provider's tenancy."""

    READ = "runtimes:read"
    CREATE = "runtimes:create"
    LIFECYCLE = "runtimes:lifecycle"
    CONNECT = "runtimes:connect"
    CONFIG = "runtimes:config"
    NATIVE = "native"
    AUDIT = "audit"
    ADMIN = "admin"


NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
OWNER_PATTERN: Final = r"^[\x21-\x7e]{1,320}$"
"""The name of a principal or of a group."""

PROVIDER_NAME_PATTERN: Final = r"^[a-z0-9-]{1,40}$"
UUID_PATTERN: Final = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

_UUID_SHAPE: Final = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx\n"
_SHAPED: Final = bytes(
    120 if char in b"0123456789abcdefABCDEF" else char if char in b"-\n" else 0 for char in range(256)
)


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID in its 36-character form, in either case."""
    return are_uuids((text,))


def are_uuids(texts: Sequence[str]) -> bool:
    """Whether all ``texts`` are UUIDs. (This takes a tenth of the time of a regular expression for each. A text with a
    line break changes the number of lines, so it cannot pass as two.)"""
    return "\n".join((*texts, "")).encode(errors="replace").translate(_SHAPED) == _UUID_SHAPE * len(texts)


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


class Operation(StrEnum):
    """One use case on runtimes, which is also the name of the provider calls that it makes."""

    CREATE = "create"
    LIST = "list"
    GET = "get"
    GET_CONFIG = "get_config"
    REPLACE_CONFIG = "replace_config"
    LIST_CAPABILITIES = "list_capabilities"
    INSTALL_CAPABILITY = "install_capability"
    UPDATE_CAPABILITY = "update_capability"
    REMOVE_CAPABILITY = "remove_capability"
    RESOLVE_CAPABILITIES = "resolve_capabilities"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    RESET = "reset"
    KEEPALIVE = "keepalive"
    CONNECT = "connect"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class OperationTraits:
    """``work``: the class of work. ``mutates``: a call whose response is lost may have changed something.
    ``deadline``: the default time limit in seconds for all provider calls of one operation together. ``permission``:
    what a caller of the operation needs."""

    work: WorkClass
    mutates: bool
    deadline: float
    permission: Permission = Permission.LIFECYCLE


_READ: Final = OperationTraits(WorkClass.READ, mutates=False, deadline=10, permission=Permission.READ)
_WRITE: Final = OperationTraits(WorkClass.CREATE, mutates=True, deadline=30, permission=Permission.CONFIG)
_START: Final = OperationTraits(WorkClass.START, mutates=True, deadline=240)
_RELEASE: Final = OperationTraits(WorkClass.RELEASE, mutates=True, deadline=60)

TRAITS: Final[Mapping[Operation, OperationTraits]] = {
    Operation.CREATE: OperationTraits(WorkClass.CREATE, mutates=True, deadline=60, permission=Permission.CREATE),
    Operation.LIST: _READ,
    Operation.GET: _READ,
    Operation.GET_CONFIG: _READ,
    Operation.REPLACE_CONFIG: _WRITE,
    Operation.LIST_CAPABILITIES: _READ,
    Operation.INSTALL_CAPABILITY: _WRITE,
    Operation.UPDATE_CAPABILITY: _WRITE,
    Operation.REMOVE_CAPABILITY: _WRITE,
    Operation.RESOLVE_CAPABILITIES: _READ,
    Operation.START: _START,
    Operation.PAUSE: _RELEASE,
    Operation.RESUME: _START,
    Operation.STOP: _RELEASE,
    Operation.RESET: _RELEASE,
    Operation.KEEPALIVE: OperationTraits(WorkClass.START, mutates=True, deadline=30),
    Operation.CONNECT: OperationTraits(WorkClass.START, mutates=True, deadline=240, permission=Permission.CONNECT),
    Operation.DELETE: _RELEASE,
}

_RELEASES: Final = frozenset({"revoke", *(name for name, traits in TRAITS.items() if traits.work is WorkClass.RELEASE)})


def is_release(operation: str) -> bool:
    """Whether a call of the API or of a dialect, by its operation's name (``stopRuntime``, ``revokeConnections``,
    ``browsers_stop``), ends something. Limits never refuse it."""
    return operation.removesuffix("Runtime").removesuffix("Connections").rpartition("_")[2] in _RELEASES


class Feature(StrEnum):
    """Features that a verb or a part of the API requires."""

    CONFIG = "config"
    CAPABILITY_BINDINGS = "capability_bindings"
    START = "start"
    PAUSE = "pause"
    STOP = "stop"
    STOP_DISCARDS_STATE = "stop_discards_state"
    RESET = "reset"
    KEEPALIVE = "keepalive"
    CONNECTIONS = "connections"
    DELETE = "delete"


class CreateFeature(StrEnum):
    """Features that fields of a create require (:meth:`gateway.domain.requests.CreateRequest.requirements`)."""

    LAUNCH_ON_CREATE = "launch_on_create"  # a create also starts compute
    CREATE_IDLE = "create_idle"  # a create can make a runtime without compute
    DISPLAY_NAME = "display_name"
    DESCRIPTION = "description"
    PROJECT = "project"
    LABELS = "labels"
    RUNTIME_LIMIT = "runtime_limit_seconds"
    CONFIG_V2 = "config_v2"
    DRIVER_PUPPETEER = "driver_puppeteer"
    DRIVER_PLAYWRIGHT = "driver_playwright"
    DRIVER_SELENIUM = "driver_selenium"
    DRIVER_STAGEHAND = "driver_stagehand"
    LAUNCH_PROFILE = "launch_profile"
    LAUNCH_EPHEMERAL = "launch_ephemeral"
    EXTENSIONS = "extension_ids"
    HUMANIZE = "humanize"
    HUMANIZE_PERSONA = "humanize_persona_id"
    SOLVE_CAPTCHAS = "solve_captchas"
    PROXY_HTTP = "proxy_http"
    PROXY_SOCKS5 = "proxy_socks5"
