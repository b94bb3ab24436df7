"""The settings that all providers have. An adapter's ``settings.py`` adds fields of its own."""

import re
from typing import Annotated, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from gateway.domain.base_urls import require_base_url, same_address
from gateway.domain.values import PROVIDER_NAME_PATTERN, TRAITS, Operation
from gateway.ports.native import NativeSettings
from gateway.ports.policies import AccountLimits, PolicySettings
from gateway.ports.section import Section

DATA_HOST: Final = r"^(\*\.)?[A-Za-z0-9][A-Za-z0-9._-]{0,252}$|^[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?$"

_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+\Z")


class ProviderSettings(Section):
    """One account at one provider API. Times are in seconds.

    ``order``: the tier; lower tiers are chosen first. ``weight``: the share of creates inside a tier. ``deadlines``
    overrides the time limits of operations (keys as in :class:`Operation`). ``scope`` None: the provider is open.
    ``data_hosts`` are hosts of runtimes' addresses beside that of ``base_url``: names, ``*.`` and a name, IP addresses
    and networks. ``proxy`` is the URL of an outbound HTTP proxy, with a user and password if it needs them.
    ``own_paths`` are the paths of the API with which ``base_url`` may end, the longest first.
    """

    own_paths: ClassVar[tuple[str, ...]] = ()

    name: Annotated[str, Field(pattern=PROVIDER_NAME_PATTERN)]
    api: str
    base_url: str
    token: SecretStr
    scope: str | None = None
    order: Annotated[int, Field(ge=1, le=1000)] = 1
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    connect_timeout: Annotated[float, Field(gt=0, le=60)] = 5
    read_timeout: Annotated[float, Field(gt=0, le=600)] = 250
    deadlines: dict[Operation, Annotated[float, Field(gt=0, le=600)]] = {}
    max_response_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 8 << 20
    max_response_header_bytes: Annotated[int, Field(ge=1024, le=1 << 20)] = 64 << 10
    max_response_headers: Annotated[int, Field(ge=16, le=10_000)] = 256
    ca_file: str | None = None
    proxy: SecretStr | None = None
    data_hosts: Annotated[list[Annotated[str, Field(pattern=DATA_HOST)]], Field(max_length=100)] = []
    policies: PolicySettings = PolicySettings.model_construct()
    native: NativeSettings = NativeSettings.model_construct()
    limits: AccountLimits = AccountLimits.model_construct()

    @field_validator("base_url")
    @classmethod
    def _absolute_http_url(cls, value: str) -> str:
        return require_base_url(value)

    @field_validator("token")
    @classmethod
    def _usable_in_a_header(cls, value: SecretStr) -> SecretStr:
        if not _PRINTABLE.match(value.get_secret_value()):
            raise ValueError("the token is empty or has characters that an HTTP header cannot contain")
        return value

    @field_validator("proxy")
    @classmethod
    def _of_a_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                url = urlsplit(value.get_secret_value())
                usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
            except ValueError:
                usable = False
            if not usable or url.path.strip("/") or url.query or url.fragment:
                raise ValueError("the proxy must be http://[USER:PASSWORD@]HOST[:PORT], or https://… for TLS to it")
        return value

    @field_validator("scope")
    @classmethod
    def _canonical_scope(cls, value: str | None) -> str | None:
        return None if value is None else cls.parse_scope(value)

    @classmethod
    def parse_scope(cls, scope: str) -> str:
        """The canonical form of a scope that a person typed; an adapter overrides this. Raises ``ValueError`` that says
        what is wrong."""
        return scope

    @property
    def path_prefix(self) -> str:
        """The text between the base URL and a path of the API: the first of ``own_paths``, or nothing if the base URL
        ends in one of them."""
        ends_in_one = urlsplit(self.base_url).path.endswith(self.own_paths)
        return "" if ends_in_one else next(iter(self.own_paths), "")

    @property
    def address(self) -> str:
        """The base URL in the one form that all its spellings share."""
        return same_address(self.base_url, self.own_paths)

    def deadline(self, operation: Operation) -> float:
        """The time limit of an operation in seconds."""
        return self.deadlines.get(operation, TRAITS[operation].deadline)

    def credential_headers(self) -> dict[str, str]:
        """The headers that carry the token. An adapter whose API uses other headers overrides this."""
        return {"Authorization": f"Bearer {self.token.get_secret_value()}"}
