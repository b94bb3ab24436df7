"""Reads the settings file (YAML 1.2) into plain values, and records the line of each."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gateway.settings.problems import Origins, Path, Problems

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
