"""The runtime and its parts, exactly as the unified API shows them (docs/model.md).

``None`` means that the provider does not report the value. Times are RFC 3339 strings as the provider wrote them.
Fields of type ``X | UnsetType`` appear only in the responses that set them.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.domain.values import Kind, State


class Model(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all response bodies. They are trees, without references back, so the garbage collector does not track
    them."""


class Action(Model, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a verb is possible now. ``requires`` names body fields that it requires; ``reason`` says why the verb is
    not possible. ``discards_state`` is set for a verb that is possible and loses what is inside the runtime."""

    allowed: bool
    requires: dict[str, Any] | UnsetType = UNSET
    discards_state: bool | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class Cost(Model, frozen=True, kw_only=True):
    """Credits of the current instance (durable): integers, in the provider's unit."""

    billed_credits: int = 0
    running_credits: int = 0
    estimated_total_credits: int = 0


class Project(Model, frozen=True, kw_only=True):
    """The project of a durable runtime."""

    id: str | None = None
    key: str | None = None
    name: str | None = None


class Instance(Model, frozen=True, kw_only=True):
    """The current compute of a durable runtime, without its address. ``extra`` holds the provider's members that are
    not in the model."""

    id: str | None = None
    provider: str | None = None
    provider_instance_id: str | None = None
    state: str | None = None
    pause_reason: str | None = None
    created_at: str | None = None
    expires_at: str | None = None
    total_runtime_seconds: int | None = None
    runtime_limit_seconds: int | None = None
    supports_pause: bool | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class DurablePart(Model, frozen=True, kw_only=True):
    """The fields of a durable runtime. ``config_pending``: the running instance is older than the config."""

    project: Project | None = None
    config_version: str | None = None
    config_digest: str | None = None
    config_pending: bool | None = None
    created_by: str | None = None
    owned_by_me: bool | None = None
    instance: Instance | None = None


class Proxy(Model, frozen=True, kw_only=True):
    """An outbound proxy, without its password."""

    type: str | None = None
    host: str | None = None
    port: int | None = None
    username: str | None = None


class Launch(Model, frozen=True, kw_only=True):
    """How a browser was launched, as far as the provider reports it."""

    mode: str | None = None
    profile_id: str | None = None
    extension_ids: list[str] | None = None
    humanize: bool | None = None
    humanize_persona_id: int | None = None
    solve_captchas: bool | None = None
    proxy: Proxy | None = None


class BrowserPart(Model, frozen=True, kw_only=True):
    """The fields of a ``browser``, ``desktop`` or ``spreadsheet`` runtime."""

    driver: str | None = None
    launch: Launch | None = None
    running: bool | None = None
    current_driver: str | None = None
    default_context_id: str | None = None
    default_page_id: str | None = None
    storage_workspace: str | None = None


PARTS: Final[Mapping[str, str]] = {
    Kind.DURABLE: "durable",
    Kind.BROWSER: "browser",
    Kind.DESKTOP: "browser",
    Kind.SPREADSHEET: "browser",
}
"""The member of :class:`Runtime` that holds what only runtimes of this kind have."""


class FieldWarning(Model, frozen=True, kw_only=True):
    """A notice about a field that was accepted. ``pointer`` is a URI-fragment JSON pointer."""

    pointer: str
    detail: str


class CreateAttempt(Model, frozen=True, kw_only=True):
    """A provider to which the create was sent before, and which provably created nothing. ``code`` is the code of its
    error."""

    provider: str
    code: str


_NO_ACTIONS: Final = msgspec.Raw(b"{}")


class Runtime(Model, frozen=True, kw_only=True):
    """The resource. ``owner`` is the principal or group that created it, where that is known. ``etag`` is set in
    responses with one runtime, not in the items of a list. ``actions`` is the JSON of an ``Action`` by verb, which
    is encoded once for all runtimes that have the same.

    ``adopted``: the response to the create was lost, and this is the only runtime of the name that appeared since.
    ``attempts``: the providers to which the create was sent before this one.
    """

    object: Literal["runtime"] = "runtime"
    id: str
    kind: str
    provider: str
    scope: str
    provider_id: str
    owner: str | None = None
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    labels: dict[str, str] | None = None
    state: State
    state_reason: str | None = None
    provider_state: dict[str, Any] = msgspec.field(default_factory=dict)
    actions: msgspec.Raw = msgspec.field(default_factory=lambda: _NO_ACTIONS)
    cost: Cost | None = None
    created_at: str | None = None
    updated_at: str | None = None
    expires_at: str | None = None
    etag: str | None = None
    durable: DurablePart | None = None
    browser: BrowserPart | None = None
    provider_data: dict[str, Any] = msgspec.field(default_factory=dict)
    created: bool | UnsetType = UNSET
    adopted: bool | UnsetType = UNSET
    attempts: list[CreateAttempt] | UnsetType = UNSET
    changed: bool | UnsetType = UNSET
    warnings: list[FieldWarning] | UnsetType = UNSET

    @property
    def may_be_own(self) -> bool:
        """Whether the runtime may belong to the gateway's account: False only where the provider says it does not."""
        return self.durable is None or self.durable.owned_by_me is not False

    @property
    def instance_id(self) -> str | None:
        """The id of the compute; None where the provider reports none. Every start after a stop changes it."""
        instance = self.durable.instance if self.durable else None
        return instance.id if instance else None


class ConfigDocument(Model, frozen=True, kw_only=True):
    """A durable runtime's complete config. The ``ETag`` header is the quoted ``config_digest``."""

    config: dict[str, Any]
    config_version: str | None = None
    config_digest: str | None = None
    warnings: list[FieldWarning] | UnsetType = UNSET


class CapabilityBinding(Model, frozen=True, kw_only=True):
    """An agent capability that is installed on a durable runtime."""

    id: str
    name: str
    version: str
    enabled: bool
    artifact_id: str
    flags: dict[str, bool] | None = None
    component_counts: dict[str, int] | None = None
    description: str | None = None
    latest_version: str | None = None
    source: str | None = None


class CapabilityBindings(Model, frozen=True, kw_only=True):
    """All bindings of a runtime."""

    items: list[CapabilityBinding]


class ResolvedCapability(Model, frozen=True, kw_only=True):
    """An enabled capability and the bundle that it resolves to. Further members are the provider's own."""

    name: str
    version: str
    artifact_digest: str
    artifact_s3_prefix: str
    runtime_digest: str
    flags: dict[str, bool] | None = None
    commands: list[Any] | None = None


class ResolvedCapabilities(Model, frozen=True, kw_only=True):
    """What the enabled bindings resolve to, and their combined digest."""

    runtime_digest: str
    capabilities: list[ResolvedCapability]


class Lease(Model, frozen=True, kw_only=True):
    """The expiry of a runtime after a keepalive."""

    id: str
    expires_at: str | None


class Connection(Model, frozen=True, kw_only=True):
    """An endpoint of a running runtime. ``url`` and ``token`` are secrets, so the response is never stored or cached.
    ``http_url`` is the address in the form that some clients of the protocol ask for."""

    protocol: Literal["runtime_server", "cdp", "webdriver", "live_view"]
    url: str
    http_url: str | None = None
    token: str | None = None
    expires_at: str | None = None


class Connections(Model, frozen=True, kw_only=True):
    """The connections of a running runtime."""

    items: list[Connection]


class DataConnection(Model, frozen=True, kw_only=True):
    """A connection through the data plane that is open. ``bytes_in`` were sent to the runtime, ``bytes_out`` by it."""

    protocol: str
    principal: str
    opened_at: str
    last_used_at: str
    bytes_in: int
    bytes_out: int


class DataConnections(Model, frozen=True, kw_only=True):
    """The open connections to a runtime."""

    items: list[DataConnection]


ENCODER: Final = msgspec.json.Encoder()
"""Encodes every :class:`Model`, and every type that msgspec supports."""
