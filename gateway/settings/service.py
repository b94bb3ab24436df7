"""The settings of the process: reload of the settings, health checks of the providers, shutdown, and the read cache."""

from typing import Annotated

from pydantic import Field

from gateway.ports.section import Section


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


class CacheSettings(Section):
    """How long a cached response is served: for ``ttl`` seconds, and for ``stale_if_error`` seconds more if the
    provider fails. ``max_entries`` and ``max_bytes`` bound all cached responses together."""

    enabled: bool = True
    ttl: Annotated[float, Field(gt=0, le=60)] = 1
    stale_if_error: Annotated[float, Field(ge=0, le=3600)] = 60
    max_entries: Annotated[int, Field(ge=1, le=100_000)] = 2000
    max_bytes: Annotated[int, Field(ge=64 << 10, le=1 << 30)] = 16 << 20
