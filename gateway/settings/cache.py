"""The settings of the read cache."""

from typing import Annotated

from pydantic import Field

from gateway.settings.section import Section


class CacheSettings(Section):
    """For how long reads are answered from memory: ``ttl`` seconds while all is well, and ``stale_if_error`` seconds
    longer where the provider fails. ``max_bytes`` bounds all answers together."""

    enabled: bool = True
    ttl: Annotated[float, Field(gt=0, le=60)] = 1
    stale_if_error: Annotated[float, Field(ge=0, le=3600)] = 60
    max_entries: Annotated[int, Field(ge=1, le=100_000)] = 2000
    max_bytes: Annotated[int, Field(ge=64 << 10, le=1 << 30)] = 16 << 20
