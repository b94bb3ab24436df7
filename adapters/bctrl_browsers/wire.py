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
    """The protocols of a proxy. The workspaces API and the unified API call this the proxy's type."""

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
    """``captcha``."""

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


class BrowsersBody(Incoming, frozen=True, kw_only=True):
    """A page of browsers."""

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
    """The response to a delete."""

    id: str
    deleted: bool


class Code(StrEnum):
    """The error codes that the adapter uses, of about 480 in the provider's client."""

    AUTH_REQUIRED = "auth.required"
    AUTH_INVALID = "auth.invalid"
    AUTH_EXPIRED = "auth.expired"
    AUTH_UNAUTHORIZED = "auth.unauthorized"
    AUTH_FORBIDDEN = "auth.forbidden"
    AUTH_RATE_LIMITED = "auth.rate_limited"
    INSUFFICIENT_CREDITS = "billing.insufficient_credits"
    INSUFFICIENT_PURCHASED_CREDITS = "billing.insufficient_purchased_credits"
    BROWSER_NOT_FOUND = "browser.not_found"
    BROWSER_NAME_CONFLICT = "browser.name_conflict"
    BROWSER_CHANGED = "browser.changed"
    BROWSER_NOT_RUNNING = "browser.not_running"
    BROWSER_ALREADY_STARTED = "browser.already_started"
    BROWSER_STATE_SAVING = "browser.state_saving"
    BROWSER_START_TIMEOUT = "browser.start_timeout"
    BROWSER_STOP_PENDING = "browser.stop_pending"
    BROWSER_IDENTITY_IN_USE = "browser.identity_in_use"
    BROWSER_PERSONA_REQUIRED = "browser.persona_required"
    BROWSER_NO_SAVED_STATE = "browser.no_saved_state"
    BROWSER_CONCURRENT_QUOTA = "browser.concurrent_quota_exceeded"
    BROWSER_NO_CONNECTIONS = "browser.connections_unavailable"
    EXTENSION_NOT_FOUND = "browser_extension.not_found"
    RUNTIME_NOT_FOUND = "runtime.not_found"
    RUNTIME_NAME_CONFLICT = "runtime.name_conflict"
    RUNTIME_NOT_STOPPED = "runtime.not_stopped"
    RUNTIME_NOT_ACTIVE = "runtime.not_active"
    RUNTIME_START_IN_PROGRESS = "runtime.start_in_progress"
    RUNTIME_STOPPING = "runtime.stopping"
    RUNTIME_NO_CAPACITY = "runtime.capacity_unavailable"
    RUNTIME_START_FAILED = "runtime.start_failed"
    PROXY_NOT_FOUND = "proxy.not_found"
    PROXY_OUT_OF_STOCK = "proxy.pool_out_of_stock"
    PROXY_PROTOCOL_INVALID = "proxy.protocol_invalid"
    PROXY_PROTOCOL_UNSUPPORTED = "proxy.protocol_unsupported"
    PROXY_URL_INVALID = "proxy.url_invalid"
    REQUEST_INVALID = "request.invalid"
    REQUEST_INVALID_JSON = "request.invalid_json"
    REQUEST_METHOD = "request.method_not_allowed"
    REQUEST_RATE_LIMITED = "request.rate_limited"
    REQUEST_VERSION = "request.version_unsupported"
    ROUTE_NOT_FOUND = "route.not_found"
    IDEMPOTENCY_MISMATCH = "idempotency.mismatch"
    IDEMPOTENCY_IN_PROGRESS = "idempotency_key_in_progress"
    IDEMPOTENCY_UNCERTAIN = "idempotency_key_uncertain"
    IDEMPOTENCY_FINALIZATION = "idempotency.finalization_uncertain"
    IDEMPOTENCY_NOT_REPLAYABLE = "idempotency.not_replayable"
    IDEMPOTENCY_RECONCILIATION = "idempotency.reconciliation_required"
    RATE_LIMIT = "rate_limit.exceeded"
    CURSOR_INVALID = "pagination.cursor_invalid"
    SPACE_NOT_FOUND = "space.not_found"
    SPACE_DELETING = "space.deleting"
    UPSTREAM_UNAVAILABLE = "upstream.unavailable"
    INTERNAL = "internal.error"


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


CODES: Final = frozenset(Code)
UNCLEAR: Final = frozenset({ReasonClass.UNKNOWN, ReasonClass.OUTCOME_UNKNOWN})
