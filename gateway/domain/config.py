"""The durable runtime's config, version v2: its known fields and their bounds, as the provider documents them.

The models only validate. What is sent to the provider is the document exactly as the caller wrote it, because the
provider distinguishes absent, null and empty, and because only the provider fills in defaults. Unknown keys are passed
on and listed in ``warnings``.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator
from pydantic.functional_validators import AfterValidator
from pydantic_core import PydanticCustomError

from gateway.domain.errors import pointer
from gateway.domain.field_errors import MAX_ERRORS
from gateway.domain.ownership import OWNER_MARK
from gateway.domain.runtime import FieldWarning
from gateway.domain.validation import INTEGRAL, Integer
from gateway.domain.values import UUID_PATTERN

NonEmpty = Annotated[str, Field(min_length=1)]
Uuid = Annotated[str, Field(pattern=UUID_PATTERN, json_schema_extra={"format": "uuid"})]
Port = Annotated[int, Field(ge=1, le=65535), INTEGRAL]


def _without_mark(labels: dict[str, str]) -> dict[str, str]:
    if OWNER_MARK in labels:
        raise PydanticCustomError("reserved", f"The name {OWNER_MARK} is reserved for the gateway; choose another one.")
    return labels


Labels = Annotated[dict[str, str], AfterValidator(_without_mark)]

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:\*\.)?(?:{_LABEL}\.)+{_LABEL}\Z")
_TCP: Final = re.compile(r"tcp://(\[[0-9a-f:.]+\]|[^:/\[\]]+):(\d{1,5})\Z")


def _egress_target(target: str) -> str:
    text = target.lower()
    if match := _TCP.match(text):
        if not 1 <= int(match[2]) <= 65535:
            raise ValueError("the port of a tcp:// target is 1 to 65535")
        text = match[1].strip("[]")
        if text.startswith("*"):
            raise ValueError("a tcp:// target names one host")
    if _HOST.match(text):
        return target
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            "a target is a dotted host name, *.suffix, an IP address, a CIDR block without host bits, or tcp://host:port"
        ) from None
    return target


class Section(BaseModel):
    """Base of the config's objects: known fields are validated, unknown fields are accepted.

    A model is built when its first value is validated. ``model_construct()`` makes defaults without building it.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)


class BuildSource(Section):
    """Where the runtime image comes from."""

    kind: NonEmpty = "builtin"
    ref: NonEmpty = "runtime"


class Build(Section):
    """How the runtime image is built. ``opensandbox`` is the build provider of self-hosted platforms."""

    profile: NonEmpty = "default"
    provider: Literal["auto", "docker", "e2b", "opensandbox"] = "auto"
    source: BuildSource = BuildSource.model_construct()


class ConfigCapability(Section):
    """A capability to install. Without ``version`` the latest version is tracked."""

    name: NonEmpty
    version: NonEmpty | None = None
    enabled: bool = True


class Defaults(Section):
    """What a session uses when it does not specify anything else."""

    agent: NonEmpty | None = None
    capability: NonEmpty | None = None
    model: NonEmpty | None = None
    system_prompt: str | None = None


class Metadata(Section):
    """Labels, free-form."""

    labels: Labels = {}


class Resources(Section):
    """Compute resources. ``memory_mb`` is in MiB; the provider documents no bounds for it."""

    cpu_cores: Annotated[int, Field(ge=1, le=32), INTEGRAL] = 2
    memory_mb: Integer = 2048


class RuntimeServer(Section):
    """The server inside the sandbox. The values of ``env`` are treated as secrets."""

    env: dict[str, str] = {}


class Egress(Section):
    """Where the sandbox may connect to. Absent: the operator's minimum is inherited. Empty: only the platform."""

    allow: Annotated[list[Annotated[str, AfterValidator(_egress_target)]], Field(max_length=50)]


class Sandbox(Section):
    """The sandbox around the runtime. The provider documents no bounds for ``timeout_seconds``."""

    exposed_ports: list[Port] = []
    timeout_seconds: Integer | None = None
    workspace_mount: bool = True
    egress: Egress | None = None


class Secrets(Section):
    """Stored secrets that are passed to the runtime, by UUID."""

    secret_ids: list[Uuid] = []


class RuntimeConfig(Section):
    """A complete config. What is left out is the provider's default."""

    version: Literal["v2"] = "v2"
    build: Build = Build.model_construct()
    capabilities: list[ConfigCapability] = []
    defaults: Defaults = Defaults.model_construct()
    metadata: Metadata = Metadata.model_construct()
    resources: Resources = Resources.model_construct()
    runtime_server: RuntimeServer = RuntimeServer.model_construct()
    sandbox: Sandbox = Sandbox.model_construct()
    secrets: Secrets = Secrets.model_construct()

    _document: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_document(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        parsed = handler(data)
        if isinstance(data, Mapping):
            parsed._document = dict(data)
        return parsed

    @property
    def document(self) -> dict[str, Any]:
        """The config exactly as the caller wrote it."""
        return self._document

    def with_mark(self, mark: str | None) -> Self:
        """The config with the mark of its runtime's owner, if there is one."""
        if mark is None:
            return self
        marked = self.model_copy()
        marked._document = labelled(self._document, OWNER_MARK, mark)
        return marked

    def __repr__(self) -> str:
        return "RuntimeConfig(…)"

    __str__ = __repr__

    def secret_values(self) -> Iterator[str]:
        """The values that must not be logged or returned: those of ``runtime_server.env``."""
        yield from self.runtime_server.env.values()


def labelled(document: Mapping[str, Any], name: str, value: str) -> dict[str, Any]:
    """The document of a config with one more label."""
    metadata = document.get("metadata", {})
    return {**document, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), name: value}}}


def unknown_keys(config: RuntimeConfig) -> list[FieldWarning]:
    """A warning for every key of the config that this gateway does not know. If there are more than
    :data:`MAX_ERRORS`, the last warning says how many others there are."""
    pointers = list(_unknown(config, ("config",)))
    shown = pointers if len(pointers) <= MAX_ERRORS else pointers[: MAX_ERRORS - 1]
    detail = "The gateway does not know this key; it was passed on unchanged."
    warnings = [FieldWarning(pointer=where, detail=detail) for where in shown]
    if others := len(pointers) - len(shown):
        detail = f"The gateway does not know {others} other keys; they were passed on unchanged."
        warnings.append(FieldWarning(pointer="#/config", detail=detail))
    return warnings


def _unknown(section: BaseModel, at: tuple[str | int, ...]) -> Iterator[str]:
    for name in section.model_extra or {}:
        yield pointer(*at, name)
    for name in section.model_fields_set & type(section).model_fields.keys():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _unknown(value, (*at, name))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from _unknown(item, (*at, name, index))
