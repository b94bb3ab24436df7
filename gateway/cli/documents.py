"""Input that users write for a command: YAML or JSON files, and ``--set a.b=value``."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import click


def read_paths(path: str) -> list[dict[str, Any]]:
    """Return the documents of a file, of the YAML and JSON files of a folder by name, or of stdin."""
    folder, documents = Path(path), list[dict[str, Any]]()
    files = sorted(map(str, folder.iterdir())) if folder.is_dir() else [path]
    if folder.is_dir():
        files = [file for file in files if file.endswith((".yaml", ".yml", ".json"))]
    for file in files:
        with click.File(encoding="utf-8")(file) as stream:  # a usage error where it cannot be opened
            documents += read_documents(stream)
    return documents


def read_documents(stream: Any) -> list[dict[str, Any]]:
    """Return the mappings of an open file with one or more documents; a printed list as its items. Raises as
    :func:`read_file`."""
    found = []
    for document in _loaded(stream):
        items = document["items"] if isinstance(document, dict) and document.get("object") == "list" else [document]
        found += [_mapping(stream, item) for item in items]
    return found


def read_file(stream: Any) -> dict[str, Any]:
    """Return the mapping in an open file. Raises a usage error that names the line, never the content."""
    found = _loaded(stream)
    return _mapping(stream, found[0] if len(found) == 1 else None)


def _mapping(stream: Any, document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise click.BadParameter(f"{stream.name} does not hold a mapping", param_hint="-f")
    return document


def _loaded(stream: Any) -> list[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        text = stream.read()
        with suppress(json.JSONDecodeError, RecursionError):  # YAML reads the two halves of an escaped character as two
            return [json.loads(text, object_pairs_hook=_unique)]
        return list(YAML(typ="safe", pure=True).load_all(text))
    except MarkedYAMLError as exc:
        mark = exc.problem_mark
        where = f" in line {mark.line + 1}" if mark else ""
        raise click.BadParameter(f"{stream.name}: {exc.problem or 'not YAML'}{where}", param_hint="-f") from exc
    except (YAMLError, ValueError) as exc:
        raise click.BadParameter(f"{stream.name} is neither YAML nor JSON", param_hint="-f") from exc


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(members)) < len(members):
        raise json.JSONDecodeError("a member occurs twice", "", 0)  # YAML names the line
    return found


def put(document: dict[str, Any], assignments: tuple[str, ...]) -> None:
    """Apply each ``a.b=value`` to a document. Values are YAML: ``4``, ``true``, ``[a, b]``, ``"4"``.

    Raises a usage error for an assignment that cannot be read or applied.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    for assignment in assignments:
        dotted, separator, text = assignment.partition("=")
        parts = dotted.split(".")
        if not separator or not all(parts):
            raise click.BadParameter("expected PATH=VALUE, such as config.resources.cpu_cores=4", param_hint="--set")
        try:
            value = YAML(typ="safe", pure=True).load(text)
        except (YAMLError, ValueError) as exc:
            raise click.BadParameter(f"the value of {dotted} is not YAML", param_hint="--set") from exc
        section = document
        for part in parts[:-1]:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise click.BadParameter(f"{dotted}: {part} is not a mapping", param_hint="--set")
        section[parts[-1]] = value
