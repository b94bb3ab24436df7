"""The durable API's JSON, as far as it is known. Members that may be absent, null or of an unknown type are optional.

A response is decoded once, by a decoder that refuses unknown members. Only when that fails is the body decoded again,
leniently and as plain JSON, so that the members that the model does not know can be shown. Members that a provider
adds later therefore cost time but never break a call.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET

from gateway.domain.values import are_uuids

ERROR_CODES: Final = (400, 401, 403, 404, 409, 422, 426, 429, 500, 502, 504)
"""Every ``code`` of an error, in the order of the provider's documentation."""

Number = int | float


class InstanceBody(msgspec.Struct, kw_only=True, gc=False):
    """The sandbox of a runtime (``RuntimeInstanceData``)."""

    sandbox_id: str | None = None
    provider: str | None = None
    provider_sandbox_id: str | None = None
    sandbox_url: str | None = None
    state: str | None = None
    created_at: str | None = None
    expires_at: str | None = None
    pause_reason: str | None = None
    billed_credits: Number | None = None
    running_credits: Number | None = None
    estimated_total_credits: Number | None = None
    total_runtime_seconds: Number | None = None
    actual_runtime_limit_seconds: Number | None = None
    supports_pause: bool | None = None
    requested_runtime_limit_seconds: Any = UNSET
    configured_runtime_limit_seconds: Any = UNSET
    requested_runtime_limit_source_level: Any = UNSET
    configured_runtime_limit_source_level: Any = UNSET
    startup_timing: Any = UNSET


class RuntimeBody(msgspec.Struct, kw_only=True, gc=False):
    """A runtime in a response: list rows, create, get, start and the other verbs."""

    id: str
    key: str | None = None
    name: str | None = None
    description: str | None = None
    status: str | None = None
    instance: InstanceBody | None = None
    project_id: str | None = None
    project_key: str | None = None
    project_name: str | None = None
    config_version: str | None = None
    config_digest: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    created_by: Any = None
    owned_by_me: bool | None = None
    created: Any = None
    sandbox_token: str | None = None
    materialization_stale: bool | None = None
    config: Any = None


class ListBody(msgspec.Struct, kw_only=True, gc=False):
    """Response of ``GET /runtimes``."""

    items: list[RuntimeBody]
    next_cursor: str | None = None


class ConfigBody(msgspec.Struct, kw_only=True):
    """Response of ``GET`` and ``PUT /runtimes/{id}/config``."""

    config: dict[str, Any]
    config_version: str | None = None
    config_digest: str | None = None


class KeepaliveResponse(msgspec.Struct, kw_only=True):
    """Response of ``POST /runtimes/{id}/keepalive``."""

    expires_at: str


class BindingBody(msgspec.Struct, kw_only=True):
    """A capability installed on a runtime (``RuntimeCapabilityBinding``)."""

    id: str
    artifact_id: str
    name: str = msgspec.field(name="capability_name")
    version: str
    enabled: bool
    flags: dict[str, bool] | None = None
    component_counts: dict[str, int] | None = None
    description: str | None = None
    latest_version: str | None = None
    source: str | None = None


class BindingsBody(msgspec.Struct, kw_only=True):
    """Response of ``GET /runtimes/{id}/capabilities``. The API does not require ``items`` here."""

    items: list[BindingBody] | None = None


class ResolvedBody(msgspec.Struct, kw_only=True):
    """A capability with its bundle, in the response of ``GET /runtimes/{id}/capabilities/resolved``."""

    name: str
    version: str
    artifact_digest: str
    artifact_s3_prefix: str
    runtime_digest: str
    flags: dict[str, bool] | None = None
    commands: list[Any] | None = None


class ResolvedListBody(msgspec.Struct, kw_only=True):
    """Response of ``GET /runtimes/{id}/capabilities/resolved``."""

    runtime_digest: str
    capabilities: list[ResolvedBody]


class AnyPage(msgspec.Struct, kw_only=True):
    """A page of runtimes whose rows are not interpreted."""

    items: list[dict[str, Any]]
    next_cursor: str | None = None


class WorkspacesBody(msgspec.Struct, kw_only=True):
    """Response of ``GET /org/{org}/ws`` on platforms that return an object."""

    workspaces: list[dict[str, Any]]


class StoredSecret(msgspec.Struct, kw_only=True):
    """One stored secret as its owner lists it: every known member except the value."""

    id: str
    name: str
    masked_value: Any = UNSET
    created_at: Any = UNSET
    updated_at: Any = UNSET


class StoredSecrets(msgspec.Struct, kw_only=True):
    """Response of ``GET /user/secrets``. Unknown members are dropped: one of them could be the value."""

    secrets: list[StoredSecret]
    total: Any = UNSET


class UserBody(msgspec.Struct, kw_only=True):
    """Response of ``GET /user``: the user who owns the credentials."""

    id: Annotated[str, msgspec.Meta(min_length=1)]


class _ExactInstance(InstanceBody, kw_only=True, forbid_unknown_fields=True):
    pass


class _ExactRuntime(RuntimeBody, kw_only=True, forbid_unknown_fields=True):
    instance: _ExactInstance | None = None


class _ExactList(ListBody, kw_only=True, forbid_unknown_fields=True):
    items: list[_ExactRuntime]  # type: ignore[assignment]


config_body: Final = msgspec.json.Decoder(ConfigBody)
keepalive_response: Final = msgspec.json.Decoder(KeepaliveResponse)
binding_body: Final = msgspec.json.Decoder(BindingBody)
bindings_body: Final = msgspec.json.Decoder(BindingsBody)
resolved_list_body: Final = msgspec.json.Decoder(ResolvedListBody)
user_body: Final = msgspec.json.Decoder(UserBody)
any_object: Final = msgspec.json.Decoder(dict[str, Any])
any_objects: Final = msgspec.json.Decoder(list[dict[str, Any]])
stored_secrets: Final = msgspec.json.Decoder(StoredSecrets)
any_page: Final = msgspec.json.Decoder(AnyPage)
any_json: Final = msgspec.json.Decoder()

ROWS: Final = "items"
"""The member of a page that holds its rows."""

CURSOR: Final = "next_cursor"
"""The member of a page that holds the cursor of the next one."""

NAME: Final = "key"
"""The member of a runtime that holds its name."""

_exact_runtime: Final = msgspec.json.Decoder(_ExactRuntime)
_exact_list: Final = msgspec.json.Decoder(_ExactList)
_runtime: Final = msgspec.json.Decoder(RuntimeBody)
_list: Final = msgspec.json.Decoder(ListBody)
_workspaces: Final = msgspec.json.Decoder(WorkspacesBody)


def runtime_body(body: bytes) -> tuple[RuntimeBody, Mapping[str, Any] | None]:
    """Decode a runtime; if it has unknown members, also return it as plain JSON.

    Raises ``ValueError`` or ``RecursionError`` when the body is not a runtime.
    """
    runtime: RuntimeBody
    try:
        runtime, raw = _exact_runtime.decode(body), None
    except msgspec.ValidationError:
        runtime, raw = _runtime.decode(body), any_object.decode(body)
    _check_ids((runtime,))
    return runtime, raw


def list_body(body: bytes) -> tuple[ListBody, Sequence[Mapping[str, Any]] | None]:
    """Decode a page of runtimes; if it has unknown members, also return its items as plain JSON.

    Raises ``ValueError`` or ``RecursionError`` when the body is not such a page.
    """
    page: ListBody
    try:
        page, raws = _exact_list.decode(body), None
    except msgspec.ValidationError:
        page, raws = _list.decode(body), any_object.decode(body)["items"]
    _check_ids(page.items)
    return page, raws


def _check_ids(runtimes: Iterable[RuntimeBody]) -> None:
    # Declared as text: decoding to uuid.UUID and converting back takes three times as long.
    if not are_uuids([runtime.id for runtime in runtimes]):
        raise msgspec.ValidationError("Expected `uuid`, got `str` - at `$.id`")


def workspaces(body: bytes) -> list[dict[str, Any]]:
    """The workspaces of an organization: an array, or an object with the array in ``workspaces`` (clients read both).

    Raises ``ValueError`` or ``RecursionError`` for anything else.
    """
    try:
        return any_objects.decode(body)
    except msgspec.ValidationError:
        return _workspaces.decode(body).workspaces
