"""Faults of the settings, gathered so that all are told at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

Path = tuple[str, ...]
"""Where a setting is: ``("providers", "durable-demo", "base_url")``."""

Origins = dict[Path, str]
"""Where the value of a setting came from: ``gateway.yaml:12``, ``env RTGW_HTTP__LISTEN``, ``flag``."""


class Problem(NamedTuple):
    """One fault. ``path`` is dotted; for a fault of a whole source, the file (with line and column) or the variable."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class SettingsError(Exception):
    """The settings cannot be used. ``problems`` holds every fault of every source; no message holds a value. ``files``
    are those that were read, or could not be, each as it was then."""

    def __init__(self, problems: Sequence[Problem], files: Mapping[FilePath, object] | None = None) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = list(problems)
        self.files = files or {}


class Problems:
    """Gathers faults. The first fault at a place is its cause; what follows from it there is left out."""

    def __init__(self) -> None:
        self._found: dict[Path, str] = {}

    def add(self, at: Path, message: str) -> None:
        """Note a fault of one setting."""
        self._found.setdefault(at, message)

    def within(self, at: Path) -> bool:
        """Whether there is a fault at this place or inside it."""
        return any(path[: len(at)] == at for path in self._found)

    def __bool__(self) -> bool:
        return bool(self._found)

    def told(self, origins: Mapping[Path, str]) -> list[Problem]:
        """All faults in the order they were found, each with the origin of what is at fault."""
        return [Problem(".".join(at), message + _origin(at, origins)) for at, message in self._found.items()]


def _origin(at: Path, origins: Mapping[Path, str]) -> str:
    for length in range(len(at), 0, -1):
        if origin := origins.get(at[:length]):
            return f" ({origin})"
    return ""
