"""The source of a running process's settings, from which they can be read again, and the effective settings to show."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from gateway.domain.access import share
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.section import Section
from gateway.settings.document import Problem, SettingsError
from gateway.settings.environment import leaves
from gateway.settings.loader import LoadedSettings, load_settings
from gateway.settings.model import Settings
from gateway.settings.secret_files import stamp

_S = TypeVar("_S", bound=Section)


def of_one_worker(settings: Settings, workers: int) -> Settings:
    """The settings with the bounds of what is in flight divided by the number of workers."""

    def part(section: _S, *names: str) -> _S:
        bounds = {name: bound for name in names if (bound := getattr(section, name)) is not None}
        return section.model_copy(update={name: share(bound, workers) for name, bound in bounds.items()})

    def provider(one: ProviderSettings) -> ProviderSettings:
        lanes = {name: part(lane, "in_flight", "waiting") for name, lane in one.policies.lanes().items()}
        policies = one.policies.model_copy(update=lanes)
        return one.model_copy(update={"policies": policies, "native": part(one.native, "max_in_flight")})

    connections = ("max_connections", "max_idle_connections_per_address")
    return settings.model_copy(
        update={
            "http": part(settings.http, *connections, "max_requests_in_flight", "max_waiting"),
            "data": part(settings.data, "max_connections"),
            "creates": part(settings.creates, "settling_in_flight"),
            "providers": {name: provider(one) for name, one in settings.providers.items()},
        }
    )


@dataclass(slots=True)
class SettingsSource:
    """A settings file, and the flags (``overrides``, by dotted path) that override it. The environment is that of the
    process. ``dialect_eras`` is that of :func:`load_settings`. Each of several ``workers`` gets its share of the
    bounds. ``warnings`` are those of the last successful load."""

    file: Path
    provider_models: Mapping[str, type[ProviderSettings]]
    overrides: Mapping[str, object] = field(default_factory=dict)
    dialect_eras: Mapping[str, Collection[str]] | None = None
    workers: int = 1
    warnings: tuple[Problem, ...] = field(default=(), init=False)
    _files: Mapping[Path, object] = field(default_factory=dict, init=False, repr=False)

    def load(self) -> LoadedSettings:
        """Read the settings from all sources. Raises :class:`SettingsError` with every fault."""
        try:
            loaded = load_settings(
                self.file,
                provider_models=self.provider_models,
                overrides=self.overrides,
                dialect_eras=self.dialect_eras,
            )
        except SettingsError as error:
            self._files = error.files
            raise
        self._files = loaded.files
        self.warnings = loaded.warnings
        return replace(loaded, settings=of_one_worker(loaded.settings, self.workers))

    def changed(self) -> bool:
        """Return whether any file that the last :meth:`load` used has changed since, secrets and certificates included.

        A change while a file was being read counts too.
        """
        return any(stamp(file) != before for file, before in self._files.items())


class EffectiveSetting(NamedTuple):
    """The effective value of one setting. ``origin`` is ``default``, ``FILE:LINE``, ``env NAME`` or ``flag``."""

    path: str
    value: Any
    origin: str


def effective(loaded: LoadedSettings) -> list[EffectiveSetting]:
    """Return every effective setting, in the order of the model. Secrets are ``**********``."""
    shown = loaded.settings.model_dump(mode="json")
    for provider in shown["providers"].values():
        del provider["name"]
    unordered = {at for at, value in leaves(loaded.settings.model_dump()) if isinstance(value, frozenset)}
    dotted = [(".".join(at), sorted(value) if at in unordered else value) for at, value in leaves(shown)]
    return [EffectiveSetting(path, value, loaded.origins.get(path, "default")) for path, value in dotted]
