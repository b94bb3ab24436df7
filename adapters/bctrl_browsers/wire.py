"""The JSON of the browser API, and the provider's enumerations.

Responses are decoded leniently: a browser must have only the members that address it and give its state. The structs
have the members that the model has fields for; the rest of a response stays plain JSON.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

API_VERSION: Final = "2026-10-03"

MARKER: Final = "rgw_intent"
"""The member of a browser's ``metadata`` that contains the marker of its create."""


class Status(StrEnum):
    """The status of a browser: ``running`` while it has a current run."""

    IDLE = "idle"
    RUNNING = "running"


class RunStatus(StrEnum):
    """The status of a run, one lifetime of a browser's process."""

    STARTING = "starting"
    ACTIVE = "active"
    STANDBY = "standby"
    STOPPING = "stopping"
    ENDED = "ended"
    FAILED = "failed"


class ProxyProtocol(StrEnum):
    """The workspaces API and the unified API call this the proxy's type."""

    HTTP = "http"
    SOCKS5 = "socks5"


class Incoming(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of response bodies."""


class ConnectionsBody(Incoming, frozen=True, kw_only=True):
    """``currentRun.connections``. Every URL is a credential."""

    cdp_url: str | None = None
    webdriver_url: str | None = None
    live_view_url: str | None = None
    live_view_read_only_url: str | None = None
    expires_at: str | None = None


class RunBody(Incoming, frozen=True, kw_only=True):
    """``currentRun``, which is absent until a run is admitted."""

    status: str
    end_reason: str | None = None
    connections: ConnectionsBody | None = None


class CaptchaBody(Incoming, frozen=True, kw_only=True):
    auto_solve: bool | None = None


class BrowserBody(Incoming, frozen=True, kw_only=True):
    """A browser, in every response that contains one. ``proxy`` has five forms."""

    id: str
    name: str
    status: str
    space_id: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    current_run: RunBody | None = None
    extensions: list[str] | None = None
    captcha: CaptchaBody | None = None
    metadata: dict[str, Any] | None = None
    proxy: Any = None


browser_body: Final = msgspec.json.Decoder(BrowserBody)
"""Decodes a browser."""


class BrowsersBody(Incoming, frozen=True, kw_only=True):
    data: list[BrowserBody]
    has_more: bool | None = None
    next_cursor: str | None = None


ROWS: Final = "data"
"""The member of a page that contains its rows."""

CURSOR: Final = "nextCursor"
"""The member of a page that contains the cursor of the next one."""

MORE: Final = "hasMore"
"""The member of a page that says whether there is a next one."""

NAME: Final = "name"
"""The member of a browser that contains its name."""


class RawBrowsersBody(Incoming, frozen=True, kw_only=True):
    """The same page as plain JSON, for the members that :class:`BrowserBody` does not have."""

    data: list[dict[str, Any]]


class WhoamiBody(Incoming, frozen=True, kw_only=True):
    """The owner of the credentials: an organization, or a user without one."""

    organization_id: str | None = None
    user_id: str | None = None
    default_space_id: str | None = None

    @property
    def account(self) -> str | None:
        """The id that all credentials of one account share."""
        return self.organization_id or self.user_id


class DeletedBody(Incoming, frozen=True, kw_only=True):
    id: str
    deleted: bool


class ReasonClass(StrEnum):
    """The coarse reasons that accompany the codes. After the last two the provider's client does not repeat a write."""

    INVALID_INPUT = "invalid_input"
    UNAUTHORIZED = "unauthorized"
    CAPABILITY_DENIED = "capability_denied"
    CAPABILITY_LIMIT = "capability_limit_exceeded"
    RATE_LIMITED = "rate_limited"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    UPSTREAM = "upstream"
    SERVER = "server"
    UNKNOWN = "unknown"
    OUTCOME_UNKNOWN = "outcome_unknown"


UNCLEAR: Final = frozenset({ReasonClass.UNKNOWN, ReasonClass.OUTCOME_UNKNOWN})
