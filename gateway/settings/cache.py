"""The settings of the read cache."""

from typing import Annotated

from pydantic import Field

from gateway.ports.section import Section


class CacheSettings(Section):
    """How long a cached response is served: for ``ttl`` seconds, and for ``stale_if_error`` seconds more if the
    provider fails. ``max_entries`` and ``max_bytes`` bound all cached responses together."""

    enabled: bool = True
    ttl: Annotated[float, Field(gt=0, le=60)] = 1
    stale_if_error: Annotated[float, Field(ge=0, le=3600)] = 60
    max_entries: Annotated[int, Field(ge=1, le=100_000)] = 2000
    max_bytes: Annotated[int, Field(ge=64 << 10, le=1 << 30)] = 16 << 20
