"""The JSON of the API (README.md, "What is known"), and the provider's enumerations.

Responses are decoded leniently. A runtime must have only the members that address it and give its state, because the
members of list rows are documented in part. Enumerations are decoded as plain text, because new values may appear.
"""

from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import SecretStr


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
    """The states of a runtime."""

    ACTIVE = "active"
    STOPPED = "stopped"
    FAILED = "failed"


class ProxyType(StrEnum):
    """The protocols of a proxy."""

    HTTP = "http"
    SOCKS5 = "socks5"


class LaunchMode(StrEnum):
    """Launch with a saved profile, or without keeping anything."""

    PROFILE = "profile"
    EPHEMERAL = "ephemeral"


class Outgoing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of request bodies. A member that the caller did not send is ``UNSET`` and is left out of the JSON."""


class Proxy(Outgoing, frozen=True, kw_only=True):
    """``launch.config.proxy``."""

    type: str
    host: str
    port: int
    username: str | UnsetType = UNSET
    password: SecretStr | UnsetType = UNSET


class LaunchConfig(Outgoing, frozen=True, kw_only=True):
    """``launch.config`` of an ephemeral launch."""

    humanize: bool | UnsetType = UNSET
    humanize_persona_id: int | UnsetType = UNSET
    solve_captchas: bool | UnsetType = UNSET
    proxy: Proxy | UnsetType | None = UNSET


class EphemeralLaunch(Outgoing, frozen=True, kw_only=True):
    """``launch`` without a profile. ``extensionIds`` is a sibling of ``config``, not a member of it."""

    mode: str = LaunchMode.EPHEMERAL
    extension_ids: list[str] | UnsetType = UNSET
    config: LaunchConfig | UnsetType = UNSET


class ProfileLaunch(Outgoing, frozen=True, kw_only=True):
    """``launch`` with a saved profile."""

    mode: str = LaunchMode.PROFILE
    profile_id: str


class CreateRuntime(Outgoing, frozen=True, kw_only=True):
    """The body of a create."""

    alias: str
    kind: str
    driver: str | UnsetType = UNSET
    launch: ProfileLaunch | EphemeralLaunch | UnsetType = UNSET


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
    """A runtime, in every response that contains one."""

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
    """The list of an account's workspaces."""

    workspaces: list[dict[str, Any]]


def members(struct: type[msgspec.Struct]) -> frozenset[str]:
    """The JSON names of a struct's fields."""
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
