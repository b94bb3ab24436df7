"""Where the settings of a running process come from, to be read again when they change."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.ports.provider_settings import ProviderSettings
from gateway.settings.loader import LoadedSettings, load_settings
from gateway.settings.problems import SettingsError
from gateway.settings.secret_files import stamp


@dataclass(slots=True)
class SettingsSource:
    """A settings file, with the flags (by dotted path) that go over it. The environment is the process's own."""

    file: Path
    provider_models: Mapping[str, type[ProviderSettings]]
    overrides: Mapping[str, object] = field(default_factory=dict)
    dialect_eras: Mapping[str, Collection[str]] | None = None
    _files: Mapping[Path, object] = field(default_factory=dict, init=False, repr=False)

    def load(self) -> LoadedSettings:
        """Read everything. Raises :class:`SettingsError` with every fault."""
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
        return loaded

    def changed(self) -> bool:
        """Whether any file that counted at the last :meth:`load` (of secrets and of certificates as well) is another
        one now. A change while it was being read is one."""
        return any(stamp(file) != before for file, before in self._files.items())
