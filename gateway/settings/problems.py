"""Faults of the settings, collected so that all are reported at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

Path = tuple[str, ...]
"""The path of a setting: ``("providers", "durable-demo", "base_url")``."""

Origins = dict[Path, str]
"""The origin of each value, by path: ``gateway.yaml:12``, ``env RTGW_HTTP__LISTEN``, ``flag``."""


class Problem(NamedTuple):
    """One fault. ``path`` is dotted; for a fault of a whole source, the file (with line and column) or the variable."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class SettingsError(Exception):
    """The settings cannot be used.

    ``problems`` holds every fault of every source; no message contains a value. ``files`` has the files that were read
    or could not be read, each with its stamp at that time.
    """

    def __init__(self, problems: Sequence[Problem], files: Mapping[FilePath, object] | None = None) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = list(problems)
        self.files = files or {}


class Problems:
    """Collects faults. Only the first fault of a path is kept: later ones of the same path are its consequences."""

    def __init__(self) -> None:
        self._found: dict[Path, str] = {}

    def add(self, at: Path, message: str) -> None:
        """Add a fault of one setting, unless its path already has one."""
        self._found.setdefault(at, message)

    def within(self, at: Path) -> bool:
        """Return whether there is a fault at this path or below it."""
        return any(path[: len(at)] == at for path in self._found)

    def __bool__(self) -> bool:
        return bool(self._found)

    def with_origins(self, origins: Mapping[Path, str]) -> list[Problem]:
        """Return all faults in the order of the file, each with the origin of the faulty value. ``origins`` are in the
        order of the file; faults of what it does not have come last."""
        places = {at: place for place, at in enumerate(origins)}

        def place(at: Path) -> int:
            known = (places[at[:length]] for length in range(len(at), 0, -1) if at[:length] in places)
            return next(known, len(places))

        found = sorted(self._found, key=place)
        return [Problem(".".join(at), self._found[at] + _origin(at, origins)) for at in found]


def _origin(at: Path, origins: Mapping[Path, str]) -> str:
    for length in range(len(at), 0, -1):
        if origin := origins.get(at[:length]):
            return f" ({origin})"
    return ""
