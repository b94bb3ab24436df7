"""The constraints of a principal: what its requests may refer to, and how much they may take."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.domain.constraints import Allowance, ReferenceKind, canonical
from gateway.domain.values import UUID_PATTERN
from gateway.ports.section import Section

_DURATION: Final = re.compile(r"(\d{1,9})([smhd]?)\Z")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(value: Any) -> Any:
    """The seconds of a duration such as ``90m``; any other value unchanged."""
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return int(match[1]) * _SECONDS[match[2]]
    return value


def _pattern(value: str) -> str:
    if not all(value.partition("/")[::2]):
        raise ValueError("a build source is kind/ref; each part may be a pattern with *")
    return value


DURATION: Final = BeforeValidator(
    seconds_of, json_schema_input_type=int | Annotated[str, Field(pattern=r"^[0-9]{1,9}[smhd]?$")]
)

Duration = Annotated[int, DURATION, Field(ge=1, le=366 * 86400)]
"""A duration in seconds, also written as ``30s``, ``90m``, ``2h`` or ``7d``."""

Reference = Annotated[str, Field(min_length=1, max_length=500)]
Uuid = Annotated[str, Field(pattern=UUID_PATTERN)]
SourcePattern = Annotated[Reference, AfterValidator(_pattern)]
Driver = Literal["puppeteer", "playwright", "selenium", "stagehand"]


class AllowedProxies(Section):
    """The hosts of the proxies that may be used."""

    hosts: frozenset[Reference] = frozenset()


class ResourceBounds(Section):
    """The largest values of the same members of a config."""

    cpu_cores: Annotated[int, Field(ge=1)] | None = None
    memory_mb: Annotated[int, Field(ge=1)] | None = None


class AllowSettings(Section):
    """The constraints of a principal. References that are not listed are refused. ``drivers``, ``resources`` and
    ``max_lifetime`` apply where they are given."""

    profile_ids: frozenset[Reference] = frozenset()
    extension_ids: frozenset[Reference] = frozenset()
    secret_ids: frozenset[Uuid] = frozenset()
    projects: frozenset[Reference] = frozenset()
    proxy: AllowedProxies = AllowedProxies.model_construct()
    build_sources: frozenset[SourcePattern] = frozenset()
    drivers: Annotated[frozenset[Driver], Field(min_length=1)] | None = None
    resources: ResourceBounds = ResourceBounds.model_construct()
    max_lifetime: Duration | None = None

    @property
    def allowance(self) -> Allowance:
        """The constraints as the domain knows them."""
        lists = {
            ReferenceKind.PROFILE: self.profile_ids,
            ReferenceKind.EXTENSION: self.extension_ids,
            ReferenceKind.SECRET: self.secret_ids,
            ReferenceKind.PROJECT: self.projects,
            ReferenceKind.PROXY_HOST: self.proxy.hosts,
        }
        sources = (pattern.partition("/") for pattern in self.build_sources)
        return Allowance(
            references=frozenset((kind, canonical(kind, value)) for kind, values in lists.items() for value in values),
            build_sources=frozenset((kind, ref) for kind, _, ref in sources),
            drivers=self.drivers,
            cpu_cores=self.resources.cpu_cores,
            memory_mb=self.resources.memory_mb,
            max_lifetime=self.max_lifetime,
        )
