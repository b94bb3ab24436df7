"""The settings of the store and of creates, which it remembers. Times are in seconds."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_serializer, field_validator, model_validator

from gateway.ports.sealing import key_bytes
from gateway.settings.section import Section

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")
_HIDDEN: Final = "**********"


class StoreSettings(Section):
    """Where creates are remembered. ``url`` is ``sqlite:///FILE`` or ``postgresql://…`` with or without a password;
    ``encryption_keys`` are 32 bytes each in base64, the newest first."""

    url: SecretStr = SecretStr("sqlite:///runtime-gateway.db")
    migrate: Literal["auto", "manual"] = "auto"
    encryption_keys: Annotated[list[SecretStr], Field(validate_default=True, max_length=16)] = []
    keep_specs: bool = True
    timeout: Annotated[float, Field(ge=0.1, le=60)] = 5
    connections: Annotated[int, Field(ge=1, le=100)] = 4

    @classmethod
    def in_file(cls, path: Path) -> Self:
        """A store in a SQLite file, and everything else as it is by default."""
        return cls(url=SecretStr(f"{_SQLITE}{path}"))

    @property
    def file(self) -> Path | None:
        """The file of a SQLite store; None for PostgreSQL."""
        url = self.url.get_secret_value()
        return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None

    def beside(self, folder: Path) -> Self:
        """The same store, its file, where that is relative, in this folder."""
        if self.file is None:
            return self
        return self.model_copy(update={"url": SecretStr(f"{_SQLITE}{folder.absolute() / self.file}")})

    @field_validator("url")
    @classmethod
    def _known(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url.startswith(_SQLITE):
            file = url.removeprefix(_SQLITE)
            if not file.strip("/") or file.endswith("/") or "?" in file or "\0" in file or file == ":memory:":
                raise ValueError("a SQLite store is a file and has no options: sqlite:///FILE")
        elif not url.startswith(_POSTGRES):
            raise ValueError("the store is sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE")
        elif not _readable(url):
            raise ValueError("the host or the port of the store's address cannot be read")
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _usable(cls, keys: list[SecretStr], info: ValidationInfo) -> list[SecretStr]:
        secrets = [key_bytes(key.get_secret_value()) for key in keys]
        if len(set(secrets)) < len(secrets):
            raise ValueError("an encryption key stands there twice")
        url = info.data.get("url")
        if not keys and url is not None and not url.get_secret_value().startswith(_SQLITE):
            raise ValueError("at least one key is needed for PostgreSQL, and all replicas share it")
        return keys

    @field_serializer("url", when_used="json")
    def _shown(self, value: SecretStr) -> str:
        """A file's place is no secret; an address may hold a password in more than one place."""
        return _HIDDEN if self.file is None else value.get_secret_value()


def _readable(url: str) -> bool:
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    return port != 0


class CreatesSettings(Section):
    """How creates are kept to one runtime each.

    ``wait_out`` is how long a provider may take to make what it was asked for, and ``join_wait`` how long a caller
    waits for another one's create. A create is sent ``send_within`` so many seconds after it was written down, and
    ``lease_margin`` is added to its deadline before another process may take it over. ``retention`` is how long a
    settled one is kept. The reconciler looks every ``settle_every`` seconds for what is due, and settles
    ``settling_in_flight`` at once.
    """

    wait_out: Annotated[float, Field(gt=0, le=43_200)] = 300
    join_wait: Annotated[float, Field(ge=0, le=60)] = 10
    send_within: Annotated[float, Field(gt=0, le=60)] = 5
    lease_margin: Annotated[float, Field(ge=1, le=600)] = 30
    retention: Annotated[float, Field(ge=60, le=2_592_000)] = 86400
    settle_every: Annotated[float, Field(ge=0.05, le=60)] = 1
    settling_in_flight: Annotated[int, Field(ge=1, le=64)] = 4

    @model_validator(mode="after")
    def _remembered_long_enough(self) -> Self:
        if self.retention < self.wait_out:
            raise ValueError("retention is shorter than wait_out: a create would be forgotten before it is settled")
        return self
