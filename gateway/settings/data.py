"""The settings of the data plane, the way into runtimes. Times are in seconds."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from gateway.ports.sealing import key_bytes
from gateway.ports.section import Section
from gateway.settings.listen import ListenAddress, Origin, parse_listen
from gateway.settings.tls import TlsSettings


def _base(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment or "@" in url.netloc:
        raise ValueError("this must be an http or https URL with a host, such as https://data.example.com")
    if url.path.strip("/"):
        raise ValueError("the URL must have no path: clients of durable runtimes drop it")
    return value.rstrip("/")


class DataSettings(Section):
    """The listener through which clients reach runtimes. ``public_url`` is its URL as clients see it; None: that of
    ``listen``. ``origins`` are the web pages that may connect. ``signing_keys`` (32 bytes each in base64, the newest
    first) encrypt tokens; without them the store's keys do. ``keepalive``: use extends the expiry of a runtime."""

    enabled: bool = False
    listen: Annotated[str, AfterValidator(lambda text: str(parse_listen(text)))] = "127.0.0.1:8081"
    public_url: Annotated[str, AfterValidator(_base)] | None = None
    origins: list[Origin] = []
    ping_interval: Annotated[float, Field(ge=1, le=3600)] = 15
    idle_timeout: Annotated[float, Field(ge=1, le=86_400)] = 3600
    keepalive: bool = False
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 40)] = 1 << 30
    signing_keys: Annotated[list[SecretStr], Field(max_length=16)] = []
    tls: TlsSettings = TlsSettings.model_construct()

    @field_validator("signing_keys")
    @classmethod
    def _usable(cls, value: list[SecretStr]) -> list[SecretStr]:
        for key in value:
            key_bytes(key.get_secret_value())
        return value

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.enabled and self.public_url is None and not self.address.is_loopback:
            raise ValueError("add public_url, the URL at which clients reach the address of listen")
        return self

    @property
    def address(self) -> ListenAddress:
        return parse_listen(self.listen)
