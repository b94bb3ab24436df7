"""The JSON of the API (README.md, "What is known"), and the provider's enumerations.

Responses are decoded leniently. A runtime must have only the members that address it and give its state, because the
members of list rows are documented in part. Enumerations are decoded as plain text, because new values may appear.
"""

from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec


class Driver(StrEnum):
    """The drivers that a create can request."""

    PUPPETEER = "puppeteer"
    PLAYWRIGHT = "playwright"
    SELENIUM = "selenium"
    STAGEHAND = "stagehand"


class Kind(StrEnum):
    """The kinds of runtimes; only ``browser`` can be created."""

    BROWSER = "browser"
    DESKTOP = "desktop"
    SPREADSHEET = "spreadsheet"


class Status(StrEnum):
    ACTIVE = "active"
    STOPPED = "stopped"
    FAILED = "failed"


class ProxyType(StrEnum):
    HTTP = "http"
    SOCKS5 = "socks5"


class LaunchMode(StrEnum):
    """Launch with a saved profile, or without keeping anything."""

    PROFILE = "profile"
    EPHEMERAL = "ephemeral"


class Incoming(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of response bodies."""


class Summary(Incoming, frozen=True, kw_only=True):
    """``summary`` of a runtime: the state of its browser."""

    browser_running: bool | None = None
    current_driver: str | None = None
    default_context_id: str | None = None
    default_page_id: str | None = None
    launch_mode: str | None = None
    profile_id: str | None = None
    storage_workspace: str | None = None


class Runtime(Incoming, frozen=True, kw_only=True):
    id: UUID
    alias: str
    kind: str
    status: str
    workspace_id: str | None = None
    driver: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    summary: Summary | None = None


class Runtimes(Incoming, frozen=True, kw_only=True):
    """The list of a workspace. The API has no pages; ``has_more`` and ``next_cursor`` are those of later eras, and show
    that a list is incomplete."""

    runtimes: list[Runtime]
    has_more: bool | None = None
    next_cursor: str | None = None


ROWS: Final = "runtimes"
"""The member of a list that contains its rows."""

NAME: Final = "alias"
"""The member of a runtime that contains its name."""


class RawRuntimes(Incoming, frozen=True, kw_only=True):
    """The same list as plain JSON, for the members that :class:`Runtime` does not have."""

    runtimes: list[dict[str, Any]]


class Workspaces(Incoming, frozen=True, kw_only=True):
    workspaces: list[dict[str, Any]]


def members(struct: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(struct.__struct_encode_fields__)


class ReasonClass(StrEnum):
    """The coarse reasons that accompany the codes (flat and current eras)."""

    INVALID_INPUT = "invalid_input"
    UNAUTHORIZED = "unauthorized"
    CAPABILITY_DENIED = "capability_denied"
    CAPABILITY_LIMIT = "capability_limit_exceeded"
    RATE_LIMITED = "rate_limited"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    UPSTREAM = "upstream"
    SERVER = "server"
