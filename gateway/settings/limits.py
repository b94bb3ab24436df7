"""The settings of limits, and of the process: reload, health checks, shutdown, and the read cache."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from gateway.domain.access import Limits
from gateway.ports.policies import RateText, parse_rate
from gateway.ports.section import Section
from gateway.settings.store import require_extra

_SCHEMES: Final = {"valkey": "redis", "valkeys": "rediss", "redis+unix": "unix", "valkey+unix": "unix"}
"""Schemes that the client spells differently: both servers speak one protocol."""

_KNOWN: Final = frozenset({"redis", "rediss", "unix"})


class LimitsSettings(Section):
    """Where the requests of principals and accounts are counted: in the memory of each process, or for all replicas in
    the Redis or Valkey at ``storage``, whose answer is awaited for at most ``timeout`` seconds."""

    storage: SecretStr | None = None
    timeout: Annotated[float, Field(ge=0.01, le=10)] = 0.25

    @field_validator("storage")
    @classmethod
    def _known(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        scheme, separator, rest = value.get_secret_value().partition("://")
        url = f"{_SCHEMES.get(scheme, scheme)}{separator}{rest}"
        if url.partition("://")[0] not in _KNOWN or not _has_address(url):
            raise ValueError(
                "the storage must be redis://HOST, rediss://HOST (TLS), redis+unix:///SOCKET, or valkey://…"
            )
        require_extra("redis", "redis")
        return SecretStr(url)


def _has_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.path if parts.scheme == "unix" else parts.hostname) and parts.port != 0
    except ValueError:
        return False


class PrincipalLimits(Section):
    """The limits of a principal. Left out: any number. ``requests`` is a rate, such as ``600/minute``, ``running`` the
    number of instances that start, run or stop, ``runtimes`` that of runtimes that are not stopped, failed or
    deleted, ``connections`` that of connections at once through the data plane of each process."""

    requests: RateText | None = None
    running: Annotated[int, Field(ge=0, le=100_000)] | None = None
    runtimes: Annotated[int, Field(ge=0, le=100_000)] | None = None
    connections: Annotated[int, Field(ge=0, le=100_000)] | None = None

    @property
    def limits(self) -> Limits:
        """The limits as the domain knows them."""
        rate = None if self.requests is None else parse_rate(self.requests)
        return Limits(requests=rate, running=self.running, runtimes=self.runtimes, connections=self.connections)


class ReloadSettings(Section):
    """Reload of the settings without a restart: after SIGHUP and, with ``watch``, within ``every`` seconds after the
    settings file, or a file that it names, has changed."""

    watch: bool = True
    every: Annotated[float, Field(ge=0.05, le=3600)] = 5


class HealthSettings(Section):
    """Health checks of the providers: with ``probe``, the gateway tests whether each provider responds and accepts the
    credentials: at the start, after a change of its settings, and every ``every`` seconds. A check takes at most
    ``timeout`` seconds."""

    probe: bool = True
    every: Annotated[float, Field(ge=0.05, le=3600)] = 30
    timeout: Annotated[float, Field(gt=0, le=60)] = 5


class ShutdownSettings(Section):
    """Shutdown after SIGTERM: the readiness probe fails at once, but connections are accepted for ``delay`` more
    seconds; requests in flight then have ``grace`` seconds to finish."""

    delay: Annotated[float, Field(ge=0, le=600)] = 0
    grace: Annotated[float, Field(ge=0, le=600)] = 30


class UsageSettings(Section):
    """Every ``sweep_every`` seconds, one replica lists all runtimes of each provider for the metrics; None: never."""

    sweep_every: Annotated[float, Field(ge=10, le=86_400)] | None = None


class CacheSettings(Section):
    """How long a cached response is served: for ``ttl`` seconds, and for ``stale_if_error`` seconds more if the
    provider fails. ``max_entries`` and ``max_bytes`` bound all cached responses together."""

    enabled: bool = True
    ttl: Annotated[float, Field(gt=0, le=60)] = 1
    stale_if_error: Annotated[float, Field(ge=0, le=3600)] = 60
    max_entries: Annotated[int, Field(ge=1, le=100_000)] = 2000
    max_bytes: Annotated[int, Field(ge=64 << 10, le=1 << 30)] = 16 << 20
