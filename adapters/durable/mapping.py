"""Conversion between the domain and the durable API's JSON, in both directions."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from adapters.durable.wire import InstanceBody, Number, RuntimeBody
from gateway.domain.config import labelled
from gateway.domain.errors import ValidationFailed
from gateway.domain.ids import SEPARATOR, b64url, format_runtime_id
from gateway.domain.lifecycle import encoded_actions
from gateway.domain.ownership import OWNER_MARK
from gateway.domain.requests import CreateDurable, InstallCapability, StartRequest, UpdateCapability
from gateway.domain.runtime import Cost, DurablePart, Instance, Model, Project, Runtime
from gateway.domain.values import CreateFeature, State
from gateway.ports.redaction import OwnerMarks, without_secrets
from gateway.ports.redaction import unmarked as without_marks

ModelT = TypeVar("ModelT", bound=Model)

STATES: Final[Mapping[str, State]] = {"idle": State.IDLE, "running": State.RUNNING, "paused": State.PAUSED}
"""The provider's ``status`` values; any other reads as unknown."""

CREATE_FEATURES: Final[frozenset[str]] = frozenset(
    {
        CreateFeature.CREATE_IDLE,
        CreateFeature.DISPLAY_NAME,
        CreateFeature.DESCRIPTION,
        CreateFeature.PROJECT,
        CreateFeature.CONFIG_V2,
        CreateFeature.LABELS,
        CreateFeature.RUNTIME_LIMIT,
    }
)
"""The features of a create. It reserves no compute."""

START_FIELDS: Final = {"secret_ids": "secret_ids", "runtime_limit_seconds": "requested_runtime_limit_seconds"}
CREATE_FIELDS: Final = {
    "name": "key",
    "display_name": "name",
    "description": "description",
    "project": "project",
    "config": "config",
    "runtime_limit_seconds": "requested_runtime_limit_seconds",
}
"""The members of the bodies of a start and a create, by field of the unified request."""

_CACHED_COMMON: Final = 256
_RUNTIME_MEMBERS: Final = frozenset(RuntimeBody.__struct_fields__)
_INSTANCE_MEMBERS: Final = frozenset(InstanceBody.__struct_fields__)
_UNMODELLED: Final = tuple(field.name for field in msgspec.structs.fields(InstanceBody) if field.default is UNSET)


def create_body(request: CreateDurable) -> bytes:
    """The body of a create: exactly the fields that the caller sent, with the config as it was written.

    Top-level labels go to ``config.metadata.labels``, and with a config or labels so does the mark of the owner. (No
    config is sent for it: the provider compares one that was sent with that of an existing runtime.) Raises
    :class:`ValidationFailed` for values that JSON cannot represent.
    """
    body = {"key": request.name, **request.sent_fields(CREATE_FIELDS)}
    if request.config is not None:
        body["config"] = request.config.document
    if request.sent("labels"):
        config = body.get("config") or {}
        body["config"] = {**config, "metadata": {**config.get("metadata", {}), "labels": request.labels}}
    if request.owner_mark is not None and body.get("config") is not None:
        body["config"] = labelled(body["config"], OWNER_MARK, request.owner_mark)
    return encode(body, "#/config")


def labels_disagree(request: CreateDurable) -> bool:
    """Whether ``labels`` and ``config.metadata.labels`` were both sent and differ."""
    metadata = request.config.metadata if request.config is not None else None
    twice = request.sent("labels") and metadata is not None and "labels" in metadata.model_fields_set
    return twice and metadata is not None and metadata.labels != request.labels


def start_body(request: StartRequest) -> bytes:
    """The body of a start: always an object, which may be empty."""
    return msgspec.json.encode(request.sent_fields(START_FIELDS))


def unmarked(body: bytes) -> bytes:
    """A response without the marks of owners."""
    return without_marks(body, (OWNER_MARK,), ("items", "config", "metadata", "labels"))


def capability_body(request: InstallCapability | UpdateCapability) -> bytes:
    """The body of an install or an update of a binding: exactly the fields that the caller sent."""
    return encode(request.sent_fields(), "#")


def encode(body: object, where: str) -> bytes:
    """Encode as JSON. Raises :class:`ValidationFailed` at the pointer ``where`` for what JSON cannot represent."""
    try:
        return msgspec.json.encode(body)
    except (UnicodeEncodeError, RecursionError) as exc:
        what = "is nested too deeply" if isinstance(exc, RecursionError) else "holds text that is not Unicode"
        raise ValidationFailed.at(where, f"This {what}.") from exc


def reference(scope: str, runtime_id: str, *, pinned: bool) -> str:
    """The reference in a public id: the UUID; for an open provider (not pinned) preceded by the encoded scope."""
    return runtime_id if pinned else f"{b64url(scope)}{SEPARATOR}{runtime_id}"


class Reader:
    """Converts the runtimes of one configured provider. ``features`` determine the ``actions`` of each runtime."""

    def __init__(self, provider: str, features: frozenset[str], *, pinned: bool) -> None:
        self._provider = provider
        self.owner_marks = OwnerMarks()
        self._pinned = pinned
        self._features = features
        self._common = lru_cache(_CACHED_COMMON)(self._common_part)

    def runtime(self, body: RuntimeBody, raw: Mapping[str, Any] | None, scope: str) -> Runtime:
        """The domain's runtime. ``raw`` is the same JSON undecoded, if it has members that the model does not know."""
        runtime_id, instance = body.id.lower(), body.instance
        data = {} if raw is None else _unknown(raw, _RUNTIME_MEMBERS)
        created_by = body.created_by
        if created_by is not None and not isinstance(created_by, str):
            data["created_by"], created_by = without_secrets(created_by), None
        owned = body.owned_by_me
        common = (
            self._common(scope, body.status, owned)
            if instance is None
            else self._common(scope, body.status, owned, instance.state, instance.supports_pause)
        )
        runtime = replace(
            common,
            id=common.id + runtime_id,
            provider_id=runtime_id,
            name=body.key,
            display_name=body.name,
            description=body.description,
            created_at=body.created_at,
            updated_at=body.updated_at,
            durable=DurablePart(
                project=_project(body),
                config_version=body.config_version,
                config_digest=body.config_digest,
                config_pending=body.materialization_stale,
                created_by=created_by,
                owned_by_me=owned,
                instance=None if instance is None else _instance(instance, raw),
            ),
        )
        if instance is None and body.config is None and not data:
            return runtime
        labels = None if body.config is None else _labels(body.config)
        mark = None if labels is None else labels.pop(OWNER_MARK, None)
        return replace(
            runtime,
            owner=None if mark is None else self.owner_marks.open(body.key, mark),
            labels=labels,
            state_reason=instance.pause_reason if instance is not None and common.state is State.PAUSED else None,
            cost=None if instance is None else _cost(instance),
            # A paused instance keeps the stale expiry of its last start; only a running one expires.
            expires_at=instance.expires_at if instance is not None and common.state is State.RUNNING else None,
            provider_data=data,
        )

    def _common_part(
        self,
        scope: str,
        status: str | None,
        owned: bool | None,
        instance_state: str | None = None,
        can_pause: bool | None = None,
    ) -> Runtime:
        """What the runtimes of a scope in the same state have in common: they share it. Their ids start with its id."""
        state = STATES.get(status or "", State.UNKNOWN)
        return Runtime(
            id=format_runtime_id(self._provider, reference(scope, "", pinned=self._pinned)),
            kind="durable",
            provider=self._provider,
            scope=scope,
            provider_id="",
            state=state,
            provider_state={"status": status, "instance": instance_state},
            actions=encoded_actions(self._features, state, instance_can_pause=can_pause, owned=owned),
        )


def _instance(body: InstanceBody, raw: Mapping[str, Any] | None) -> Instance:
    known = None if raw is None else raw.get("instance")
    extra = _unknown(known, _INSTANCE_MEMBERS) if isinstance(known, Mapping) else {}
    for name in _UNMODELLED:
        value = getattr(body, name)
        if value is not UNSET:
            extra[name] = without_secrets(value)
    return Instance(
        id=body.sandbox_id,
        provider=body.provider,
        provider_instance_id=body.provider_sandbox_id,
        state=body.state,
        pause_reason=body.pause_reason,
        created_at=body.created_at,
        expires_at=body.expires_at,
        total_runtime_seconds=_integer(body.total_runtime_seconds),
        runtime_limit_seconds=_integer(body.actual_runtime_limit_seconds),
        supports_pause=body.supports_pause,
        extra=extra,
    )


def _cost(body: InstanceBody) -> Cost | None:
    if body.billed_credits is body.running_credits is body.estimated_total_credits is None:
        return None
    return Cost(
        billed_credits=int(body.billed_credits or 0),
        running_credits=int(body.running_credits or 0),
        estimated_total_credits=int(body.estimated_total_credits or 0),
    )


def _project(body: RuntimeBody) -> Project | None:
    if body.project_id is None and body.project_key is None and body.project_name is None:
        return None
    return Project(id=body.project_id, key=body.project_key, name=body.project_name)


def _integer(number: Number | None) -> int | None:
    return None if number is None else int(number)


def _labels(config: Any) -> dict[str, str] | None:
    """The labels of a config, if the response holds one. The rest is not read, because its env holds secrets."""
    metadata = config.get("metadata") if isinstance(config, Mapping) else None
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    if not isinstance(labels, Mapping) or not all(isinstance(value, str) for value in labels.values()):
        return None
    return dict(labels)


def _unknown(raw: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    shown: dict[str, Any] = without_secrets({name: raw[name] for name in raw.keys() - known})
    return shown


def converted(body: msgspec.Struct, model: type[ModelT]) -> ModelT:
    """A config document, a capability binding, or the resolved capabilities in the provider's order: the members of a
    response as the domain's. Those that the response lacks stay None."""
    return msgspec.convert(body, model, from_attributes=True)
