"""Reads the settings file (YAML 1.2) into plain values and their lines, and collects the faults of the settings."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from types import UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

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


_MERGE_TAG: Final = "tag:yaml.org,2002:merge"
_REFERENCE: Final = re.compile(
    r"(?P<escaped>\$\$\{)|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<bad>))"
)


@dataclass(slots=True)
class Document:
    """Plain values and, for every value and section, its origin."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: Origins = field(default_factory=dict)


def read_document(
    file: FilePath, environ: Mapping[str, str], problems: Problems, only: Collection[str] | None = None
) -> Document | None:
    """Read a settings file, and replace each ``${NAME}`` by the environment variable. Sections that are not in ``only``
    are ignored, with their faults; None: all sections are read.

    Adds every fault to ``problems``. Returns None, after adding a problem, when the file cannot be read at all.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as exc:
        problems.add((str(file),), f"cannot be read: {exc.strerror}")
        return None
    except UnicodeDecodeError:
        problems.add((str(file),), "is not UTF-8 text")
        return None
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as exc:
        mark = exc.problem_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        problems.add((where,), exc.problem or "is not YAML")
        return None
    except YAMLError:
        problems.add((str(file),), "holds characters that YAML does not allow")
        return None
    if root is None:
        return Document()
    if not isinstance(root, MappingNode):
        problems.add((f"{file}:1",), "is not a mapping of settings")
        return None
    return _Builder(file, yaml, environ, problems, only).document(root)


@dataclass(slots=True, repr=False)
class _Builder:
    """Converts the YAML nodes of one file into values, and records their origins and faults."""

    _file: FilePath
    _yaml: YAML
    _environ: Mapping[str, str]
    _problems: Problems
    _only: Collection[str] | None
    _origins: Origins = field(default_factory=dict, init=False)
    _open: set[int] = field(default_factory=set, init=False)

    def document(self, root: MappingNode) -> Document:
        return Document(self._mapping(root, ()), self._origins)

    def _value(self, node: Node, at: Path) -> Any:
        if id(node) in self._open:
            self._problems.add(at, "this alias refers to a value that contains the alias itself")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, at)
            if isinstance(node, SequenceNode):
                return [self._item(item, (*at, str(index))) for index, item in enumerate(node.value)]
            return self._scalar(node, at)
        finally:
            self._open.discard(id(node))

    def _item(self, node: Node, at: Path) -> Any:
        self._origins[at] = f"{self._file}:{node.start_mark.line + 1}"
        return self._value(node, at)

    def _mapping(self, node: MappingNode, at: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            where = (*at, key.value if isinstance(key, ScalarNode) else f"line {line}")
            if not isinstance(key, ScalarNode) or key.tag == _MERGE_TAG:
                self._problems.add(where, "a setting's name must be plain text; merge keys (<<) are not supported")
                continue
            if key.value in lines:
                self._problems.add(where, f"repeated in line {line}; first given in line {lines[key.value]}")
                continue
            lines[key.value] = line
            if self._only is not None and not at and key.value not in self._only:
                continue
            self._origins[where] = f"{self._file}:{line}"
            found[key.value] = self._value(value, where)
        return found

    def _scalar(self, node: Node, at: Path) -> Any:
        try:
            value = self._yaml.constructor.construct_object(node)
        except (YAMLError, ValueError):
            self._problems.add(at, "the value does not fit its YAML tag")
            return None
        return self._interpolated(value, at) if isinstance(value, str) else value

    def _interpolated(self, text: str, at: Path) -> str:
        def replacement(match: re.Match[str]) -> str:
            if match["escaped"]:
                return "${"
            if match["bad"] is not None:
                self._problems.add(at, "a reference must be ${NAME} or ${NAME:-default}; write $${ for a literal ${")
                return ""
            value = self._environ.get(match["name"])
            if match["default"] is not None:
                return value or match["default"]
            if value is None:
                self._problems.add(at, f"the environment variable {match['name']} is not set")
                return ""
            return value

        return _REFERENCE.sub(replacement, text)


_QUOTED: Final = re.compile(r"'([^']*)'")


def did_you_mean(given: object, known: Iterable[str], *, at_least: float = 0.6) -> str:
    """The end of a message: ``; did you mean level?`` if a known name resembles the given one, else nothing.
    ``at_least`` is how similar they are, from 0 to 1."""
    import difflib  # noqa: PLC0415 (only faults need it)

    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(given).lower(), names, 1, at_least)
    return f"; did you mean {names[close[0]]}?" if close else ""


def suggestion(model: Any, error: Mapping[str, Any]) -> str:
    """The same for a fault that pydantic found in a section: an unknown setting, or none of the possible values."""
    if error["type"] == "extra_forbidden":
        return did_you_mean(error["loc"][-1], _names(model, error["loc"][:-1]))
    if error["type"] in {"enum", "literal_error"} and isinstance(error["input"], str):
        return did_you_mean(error["input"], _QUOTED.findall(error["ctx"]["expected"]))
    return ""


def _names(annotation: Any, at: tuple[str | int, ...]) -> Iterator[str]:
    """The settings of the section at a path below a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        if not at:
            yield from fields
        elif at[0] in fields:
            yield from _names(fields[str(at[0])].annotation, at[1:])
    elif get_origin(annotation) in {Union, UnionType} or hasattr(annotation, "__metadata__"):
        for argument in get_args(annotation):
            yield from _names(argument, at)
    elif get_origin(annotation) in {dict, list} and at:
        yield from _names(get_args(annotation)[-1], at[1:])
