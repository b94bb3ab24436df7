"""The emulated platform's own validation. It shares no code with the gateway's, because tests against an emulator with
the same mistakes would pass. Types, bounds and defaults are those of the provider's documentation.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gateway.testing.exchange import Integer

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_KINDS: Final = {"literal_error": "enum", "model_type": "dict_type", "model_attributes_type": "dict_type"}


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def _canonical_uuid(value: str) -> str:
    if not is_uuid(value):
        raise PydanticCustomError("uuid_parsing", "Input should be a valid UUID")
    return value.lower()


def _known_states(values: list[str]) -> list[str]:
    if not {*values} <= {"idle", "running", "paused"}:
        raise PydanticCustomError("enum", "Input should be 'idle' or 'running' or 'paused'")
    return values


Named = Annotated[str, Field(min_length=1)]
Uuid = Annotated[str, AfterValidator(_canonical_uuid)]
Key = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s/]+$")]
Limit = Annotated[Integer, Field(ge=60)] | None

UUID: Final[TypeAdapter[str]] = TypeAdapter(Uuid)


class Body(BaseModel):
    """Base of the bodies. Unknown members are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Section(BaseModel):
    """Base of the config's objects. Unknown members are kept, because it is not documented what the platform does with
    them."""

    model_config = ConfigDict(extra="allow", strict=True)


class Source(Section):
    kind: Named = "builtin"
    ref: Named = "runtime"


class Build(Section):
    profile: Named = "default"
    provider: Literal["auto", "docker", "e2b", "opensandbox"] = "auto"
    source: Source = Source()


class Capability(Section):
    name: Named
    version: Named | None = None
    enabled: bool = True


class Defaults(Section):
    agent: Named | None = None
    capability: Named | None = None
    model: Named | None = None
    system_prompt: str | None = None


class Metadata(Section):
    labels: dict[str, str] = {}


class Resources(Section):
    cpu_cores: Annotated[Integer, Field(ge=1, le=32)] = 2
    memory_mb: Integer = 2048


class RuntimeServer(Section):
    env: dict[str, str] = {}


class Egress(Section):
    allow: Annotated[list[Named], Field(max_length=50)]


class Sandbox(Section):
    exposed_ports: list[Annotated[Integer, Field(ge=1, le=65535)]] = []
    timeout_seconds: Integer | None = None
    workspace_mount: bool = True
    egress: Egress | None = None

    @model_serializer(mode="wrap")
    def _without_absent_egress(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        shown: dict[str, Any] = handler(self)
        return shown if "egress" in self.model_fields_set else {k: v for k, v in shown.items() if k != "egress"}


class Secrets(Section):
    secret_ids: list[Uuid] = []


class Config(Section):
    """A config of version v2, with the defaults of what is absent."""

    version: Literal["v2"] = "v2"
    build: Build = Build()
    capabilities: list[Capability] = []
    defaults: Defaults = Defaults()
    metadata: Metadata = Metadata()
    resources: Resources = Resources()
    runtime_server: RuntimeServer = RuntimeServer()
    sandbox: Sandbox = Sandbox()
    secrets: Secrets = Secrets()


class Create(Body):
    project: Key | None = None
    key: Key | None = None
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    description: Annotated[str, Field(max_length=500)] | None = None
    config: Config | None = None
    requested_runtime_limit_seconds: Limit = None


class ReplaceConfig(Body):
    config: Config


class Start(Body):
    secret_ids: list[Uuid] | None = None
    requested_runtime_limit_seconds: Limit = None


class Keepalive(Body):
    extend_seconds: Annotated[Integer, Field(ge=60, le=3600)]


class Install(Body):
    name: Named
    version: Named | None = None


class Patch(Body):
    """Exactly one member; the others stay absent."""

    enabled: bool = True
    flags: dict[str, bool | None] = {}
    version: Named = "latest"

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError("value_error", "Exactly one of enabled, flags and version is needed")
        return self


class Project(Section):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    key: Key | None = None
    description: str | None = None


class Query(BaseModel):
    """The query of a list, whose values are text."""

    state: Annotated[list[str], AfterValidator(_known_states)]
    project_id: Uuid | None
    owner: Literal["me"] | None
    limit: Annotated[int, Field(ge=1, le=100)]


def issues(exc: ValidationError, *where: str) -> Sequence[dict[str, Any]]:
    """The ``errors`` items for an invalid request. ``where`` is the path of the value: body, query, or part of the
    path."""
    return [
        {"loc": [*where, *error["loc"]], "msg": error["msg"], "type": _KINDS.get(error["type"], error["type"])}
        for error in exc.errors(include_url=False, include_input=False, include_context=False)
    ]
