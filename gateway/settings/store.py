"""The settings of the store, of the creates that it records, and of the audit trail. Times are in seconds."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_serializer, field_validator, model_validator

from gateway.ports.sealing import key_bytes
from gateway.ports.section import Section
from gateway.settings.allow import DURATION


def require_extra(extra: str, package: str) -> None:
    """Raise ``ValueError`` if the package of this extra is not installed. It is not imported."""
    if find_spec(package) is None:
        raise ValueError(f"{package} is not installed: install runtime-gateway[{extra}]")


_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")
_HIDDEN: Final = "**********"


class StoreSettings(Section):
    """The store that records creates. ``url`` is ``sqlite:///FILE`` or ``postgresql://…``, with or without a password.
    ``encryption_keys`` are 32 bytes each in base64, the newest first."""

    url: SecretStr = SecretStr("sqlite:///runtime-gateway.db")
    migrate: Literal["auto", "manual"] = "auto"
    encryption_keys: Annotated[list[SecretStr], Field(validate_default=True, max_length=16)] = []
    keep_specs: bool = True
    timeout: Annotated[float, Field(ge=0.1, le=60)] = 5
    connections: Annotated[int, Field(ge=1, le=100)] = 4

    @classmethod
    def in_file(cls, path: Path) -> Self:
        """Return the settings of a store in a SQLite file, with defaults for everything else."""
        return cls(url=SecretStr(f"{_SQLITE}{path}"))

    @property
    def file(self) -> Path | None:
        """The file of a SQLite store; None for PostgreSQL."""
        url = self.url.get_secret_value()
        return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None

    def relative_to(self, folder: Path) -> Self:
        """Return the same settings with an absolute file: a relative file starts at ``folder``."""
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
                raise ValueError("a SQLite store must be a file, without options: sqlite:///FILE")
        elif not url.startswith(_POSTGRES):
            raise ValueError("the store must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE")
        elif not _readable(url):
            raise ValueError("the host or the port of the store's address cannot be read")
        else:
            require_extra("postgres", "asyncpg")
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _usable(cls, keys: list[SecretStr], info: ValidationInfo) -> list[SecretStr]:
        secrets = [key_bytes(key.get_secret_value()) for key in keys]
        if len(set(secrets)) < len(secrets):
            raise ValueError("an encryption key is given twice")
        url = info.data.get("url")
        if not keys and url is not None and not url.get_secret_value().startswith(_SQLITE):
            raise ValueError("at least one key is required for PostgreSQL, and all replicas share it")
        return keys

    @field_serializer("url", when_used="json")
    def _shown(self, value: SecretStr) -> str:
        """Show the path of a file. Hide an address as a whole: it can contain a password in more than one part."""
        return _HIDDEN if self.file is None else value.get_secret_value()


def _readable(url: str) -> bool:
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    return port != 0


class CreatesSettings(Section):
    """How the gateway ensures that each create makes one runtime (``docs/creates.md``).

    ``wait_out`` is how long a provider may take to create a runtime after the request. ``join_wait`` is how long a
    caller waits for the same create of another caller. A create is sent within ``send_within`` seconds after its intent
    was written, and ``lease_margin`` is added to its deadline before another process may take it over. ``retention``
    is how long a settled intent is kept. The reconciler searches for due intents every ``settle_every`` seconds, and
    settles up to ``settling_in_flight`` at once.
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
            raise ValueError("retention is shorter than wait_out: a create would be deleted before it is settled")
        return self


_BESIDE: Final = "runtime-gateway.audit"


class AuditSettings(Section):
    """``retention`` is how long the store keeps audit events. ``journal`` is the folder of the events that are not in
    the store yet, of at most ``journal_max_bytes``; None: beside the store, as ``FILE.audit``."""

    retention: Annotated[int, DURATION, Field(ge=3600, le=3660 * 86400)] = 90 * 86400
    journal: Path | None = None
    journal_max_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = 256 << 20

    def folder(self, store: StoreSettings, base: Path = Path()) -> Path:
        """The folder of the journal. A relative path starts at ``base``."""
        default = Path(_BESIDE) if store.file is None else store.file.with_name(f"{store.file.name}.audit")
        return base / (self.journal or default)
