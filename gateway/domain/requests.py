"""The request bodies of the unified API, parsed.

A field that was not sent is not in ``model_fields_set``. Adapters send exactly the fields that were sent, because
providers distinguish absent, null and empty.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, PrivateAttr, SecretStr, ValidationInfo, field_validator, model_validator

from gateway.domain.config import Labels, NonEmpty, Port, RuntimeConfig, Uuid
from gateway.domain.validation import INTEGRAL, Input, Integer, optional
from gateway.domain.values import NAME_PATTERN, OWNER_PATTERN, PROVIDER_NAME_PATTERN, CreateFeature, Feature, Kind

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
ProviderName = Annotated[str, Field(pattern=PROVIDER_NAME_PATTERN)]
LimitSeconds = Annotated[int, Field(ge=60), INTEGRAL]


@dataclass(frozen=True, slots=True)
class Requirement:
    """A field that was sent, and the features of which a provider needs at least one to support it."""

    pointer: str
    any_of: frozenset[str]


class CreateRequest(Input):
    """The fields that the creates of all kinds have."""

    kind: str
    name: Name = optional("")
    provider: ProviderName = optional("")
    scope: Annotated[str, Field(min_length=1, max_length=200)] = optional("")
    labels: Labels = optional({})
    start: bool = optional(False)
    if_exists: Literal["return", "fail"] = "return"
    provider_options: dict[str, Any] = {}

    _owner_mark: str | None = PrivateAttr(default=None)

    @property
    def owner_mark(self) -> str | None:
        """The sealed name of the owner. An adapter sends it where the provider has room for what callers do not see."""
        return self._owner_mark

    def with_owner_mark(self, mark: str | None) -> Self:
        """The same create with another mark."""
        marked = self.model_copy()
        marked._owner_mark = mark
        return marked

    def requirements(self) -> Iterator[Requirement]:
        """The features that this request requires of a provider, by field."""
        if self.sent("start"):
            needed = {CreateFeature.LAUNCH_ON_CREATE, Feature.START} if self.start else {CreateFeature.CREATE_IDLE}
            yield Requirement("#/start", frozenset(needed))
        if self.sent("labels"):
            yield _needs("#/labels", CreateFeature.LABELS)

    def secret_values(self) -> Iterator[str]:
        """The values of this request that must not be logged or returned."""
        yield from ()


class CreateDurable(CreateRequest):
    """A durable runtime. At the provider, ``name`` becomes ``key`` and ``display_name`` becomes ``name``."""

    kind: Literal["durable"]
    display_name: Annotated[str, Field(min_length=1, max_length=100)] = optional("")
    description: Annotated[str, Field(max_length=500)] = optional("")
    project: str | None = None
    runtime_limit_seconds: LimitSeconds = optional(0)
    config: RuntimeConfig | None = None

    @field_validator("config")
    @classmethod
    def _labels_agree(cls, config: RuntimeConfig | None, info: ValidationInfo) -> RuntimeConfig | None:
        labels = info.data.get("labels")
        inner = config.metadata if config is not None else None
        if labels and inner is not None and inner.labels != labels and "labels" in inner.model_fields_set:
            raise ValueError("metadata.labels differs from the top-level labels, which set the same field")
        return config

    def requirements(self) -> Iterator[Requirement]:
        yield from super().requirements()
        for field, feature in _DURABLE_FIELDS.items():
            if self.sent(field):
                yield _needs(f"#/{field}", feature)

    def secret_values(self) -> Iterator[str]:
        if self.config is not None:
            yield from self.config.secret_values()


_DURABLE_FIELDS: Final = {
    "display_name": CreateFeature.DISPLAY_NAME,
    "description": CreateFeature.DESCRIPTION,
    "project": CreateFeature.PROJECT,
    "runtime_limit_seconds": CreateFeature.RUNTIME_LIMIT,
    "config": CreateFeature.CONFIG_V2,
}


class ProxyRequest(Input):
    """An outbound proxy for a browser."""

    type: Literal["http", "socks5"]
    host: str
    port: Port
    username: str = optional("")
    password: SecretStr = optional(SecretStr(""))


class ProfileLaunch(Input):
    """Launch with a saved browser profile."""

    mode: Literal["profile"]
    profile_id: Uuid

    def requirements(self) -> Iterator[Requirement]:
        yield _needs("#/launch/mode", CreateFeature.LAUNCH_PROFILE)


class EphemeralLaunch(Input):
    """Launch without a saved profile, and keep nothing. ``proxy: null`` requests no proxy; leaving it out does not."""

    mode: Literal["ephemeral"]
    extension_ids: list[str] = optional([])
    humanize: bool = optional(False)
    humanize_persona_id: Integer = optional(0)
    solve_captchas: bool = optional(False)
    proxy: ProxyRequest | None = None

    def requirements(self) -> Iterator[Requirement]:
        yield _needs("#/launch/mode", CreateFeature.LAUNCH_EPHEMERAL)
        for field, feature in _LAUNCH_FIELDS.items():
            if self.sent(field):
                yield _needs(f"#/launch/{field}", feature)
        if self.proxy is not None:
            yield _needs("#/launch/proxy/type", CreateFeature(f"proxy_{self.proxy.type}"))
        elif self.sent("proxy"):
            yield Requirement("#/launch/proxy", frozenset({CreateFeature.PROXY_HTTP, CreateFeature.PROXY_SOCKS5}))


_LAUNCH_FIELDS: Final = {
    "extension_ids": CreateFeature.EXTENSIONS,
    "humanize": CreateFeature.HUMANIZE,
    "humanize_persona_id": CreateFeature.HUMANIZE_PERSONA,
    "solve_captchas": CreateFeature.SOLVE_CAPTCHAS,
}


class CreateBrowser(CreateRequest):
    """A browser runtime."""

    kind: Literal["browser"]
    driver: Literal["puppeteer", "playwright", "selenium", "stagehand"] = optional("playwright")
    launch: Annotated[ProfileLaunch | EphemeralLaunch, Field(discriminator="mode")] = optional(None)

    def requirements(self) -> Iterator[Requirement]:
        yield from super().requirements()
        if self.sent("driver"):
            yield _needs("#/driver", CreateFeature(f"driver_{self.driver}"))
        if self.sent("launch"):
            yield from self.launch.requirements()

    def secret_values(self) -> Iterator[str]:
        if isinstance(self.launch, EphemeralLaunch) and self.launch.proxy is not None:
            yield self.launch.proxy.password.get_secret_value()


CREATE_REQUESTS: Final[dict[str, type[CreateRequest]]] = {Kind.DURABLE: CreateDurable, Kind.BROWSER: CreateBrowser}
"""The create body of each kind that can be created. The discriminator is ``kind``."""


class ReplaceConfig(Input):
    """Replace the whole config. What is left out is reset to the provider's default."""

    config: RuntimeConfig

    def secret_values(self) -> Iterator[str]:
        yield from self.config.secret_values()


class InstallCapability(Input):
    """Install a capability. Without ``version`` the latest version."""

    name: NonEmpty
    version: NonEmpty = optional("")


class UpdateCapability(Input):
    """Change one property of a binding. A flag set to null is reset to the capability's default."""

    enabled: bool = optional(False)
    flags: dict[str, bool | None] = optional({})
    version: NonEmpty = optional("")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("send exactly one of enabled, flags and version")
        return self


class AssignOwner(Input):
    """The owner of a runtime: the name of a principal or of a group. Null removes an assignment."""

    owner: Annotated[str, Field(pattern=OWNER_PATTERN)] | None


class ResolveIntent(Input):
    """What an operator decides about a parked create: it made the runtime ``made`` (the runtime's id, or the provider's
    own), or nothing (``absent``). ``note`` is the reason, for the audit trail."""

    made: Annotated[str, Field(min_length=1, max_length=4200)] = optional("")
    absent: Literal[True] = optional(True)
    note: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if self.sent("made") == self.sent("absent"):
            raise ValueError("send exactly one of made and absent")
        return self


class StartRequest(Input):
    """Options of a start. If ``secret_ids`` is null or left out, those of the config are used."""

    secret_ids: list[Uuid] | None = None
    runtime_limit_seconds: LimitSeconds | None = None


class StopRequest(Input):
    """Options of a stop. A durable runtime with an instance needs ``discard_state: true``."""

    discard_state: bool = False


class KeepaliveRequest(Input):
    """By how many seconds to extend the expiry."""

    extend_seconds: Annotated[int, Field(ge=60, le=3600), INTEGRAL] = 300


class ConnectRequest(Input):
    """Which connections to return; all of them if ``protocol`` is left out. ``ttl``: for how many seconds addresses of
    the gateway can be connected to; a provider's own addresses end when the provider says."""

    protocol: Literal["runtime_server", "cdp", "webdriver", "live_view"] | None = None
    ttl: Annotated[int, Field(ge=1, le=86_400), INTEGRAL] = 3600


class NoOptions(Input):
    """The body of a verb without options."""


def _needs(where: str, feature: CreateFeature) -> Requirement:
    return Requirement(where, frozenset({feature}))
