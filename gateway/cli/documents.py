"""Input that users write for a command: YAML or JSON files, and ``--set a.b=value``."""

from typing import Any

import click


def read_file(stream: Any) -> dict[str, Any]:
    """Return the mapping in an open file. Raises a usage error that names the line, never the content."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        document = YAML(typ="safe", pure=True).load(stream.read())
    except MarkedYAMLError as exc:
        mark = exc.problem_mark
        where = f" in line {mark.line + 1}" if mark else ""
        raise click.BadParameter(f"{stream.name}: {exc.problem or 'not YAML'}{where}", param_hint="-f") from exc
    except (YAMLError, ValueError) as exc:
        raise click.BadParameter(f"{stream.name} is neither YAML nor JSON", param_hint="-f") from exc
    if not isinstance(document, dict):
        raise click.BadParameter(f"{stream.name} does not hold a mapping", param_hint="-f")
    return document


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
