"""The settings of listeners: addresses as users write them, TLS, origins of web pages (CORS), and the data plane."""

import ipaddress
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from gateway.ports.sealing import key_bytes
from gateway.ports.section import Section

_SPLIT: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})\Z", re.ASCII)
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A host (an IP address without brackets, or a name) and a TCP port; port 0 selects a free port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect. Any name except ``localhost`` is assumed to be reachable."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """Return the address in ``host:port``. Raises ``ValueError`` with a sentence for anything else.

    A port alone is refused too, so that the user always states which interfaces are opened.
    """
    match = _SPLIT.match(text)
    if match is None:
        raise ValueError("an address must be host:port or [IPv6]:port, such as 127.0.0.1:8080")
    port = int(match["port"])
    if port > 65535:
        raise ValueError("a port must be 0 to 65535")
    if match["v6"] is not None:
        try:
            return ListenAddress(str(ipaddress.IPv6Address(match["v6"])), port)
        except ValueError:
            raise ValueError("the text in brackets must be an IPv6 address") from None
    try:
        return ListenAddress(str(ipaddress.IPv4Address(match["host"])), port)
    except ValueError:
        if not _HOST_NAME.match(match["host"]):
            raise ValueError("the host must be an IP address or a host name") from None
    return ListenAddress(match["host"].lower(), port)


_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?\Z", re.ASCII
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def _origin(text: str) -> str:
    """The origin as browsers send it: in lower case, without the default port of its scheme."""
    found = _ORIGIN.match(text.lower())
    if found is None or int(found["port"] or 0) > 65535:
        raise ValueError(
            "an origin must be scheme://host or scheme://host:port, such as https://app.example: no path, no *, and an "
            "international name in its ASCII form"
        )
    scheme, host, port = found["scheme"], found["host"], int(found["port"] or 0)
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


Origin = Annotated[str, AfterValidator(_origin)]


class CorsSettings(Section):
    """The ``origins`` whose pages may call the API and read its responses. A browser may keep the response to a
    preflight for ``max_age`` seconds."""

    origins: list[Origin] = []
    max_age: Annotated[int, Field(ge=0, le=86_400)] = 600


File = Annotated[str, Field(min_length=1)]


class TlsFault(Exception):
    """A file cannot be used. ``setting`` is ``cert`` or ``key``."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting
        self.message = message


class TlsSettings(Section):
    """The certificate of a listener, with those of its issuers, and its private key: files in PEM. Without them the
    listener speaks plain HTTP."""

    cert: File | None = None
    key: File | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("give both cert and key, or neither")
        return self

    @property
    def files(self) -> dict[str, Path]:
        return {name: Path(file) for name, file in (("cert", self.cert), ("key", self.key)) if file is not None}

    def relative_to(self, folder: Path) -> Self:
        """These settings with full paths; relative ones start at ``folder``."""
        return self.model_copy(update={name: str(folder / file) for name, file in self.files.items()})

    def context(self) -> ssl.SSLContext | None:
        """What a new connection needs, read from the files now; None without TLS. Raises :class:`TlsFault`."""
        files = self.files
        if not files:
            return None
        for setting, file in files.items():
            try:
                file.read_bytes()
            except OSError as exc:
                raise TlsFault(setting, f"the file {file} cannot be read: {exc.strerror}") from exc
        try:
            ssl.create_default_context(cafile=files["cert"])
        except ssl.SSLError as exc:
            raise TlsFault("cert", f"the file {files['cert']} holds no readable certificate in PEM format") from exc
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(files["cert"], files["key"], password="")
        except ssl.SSLError as exc:
            if exc.reason == "KEY_VALUES_MISMATCH":
                raise TlsFault("key", f"the key in {files['key']} is not that of the first certificate") from exc
            raise TlsFault("key", f"the file {files['key']} holds no readable private key in PEM format") from exc
        return context


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
