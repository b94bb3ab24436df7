"""The operations of the unified API on runtimes: class of work, deadline, and the name in logs and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.domain.access import Permission
from gateway.domain.values import WorkClass


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
