"""Results on stdout: a table for people, JSON or YAML for programs, names for shells. Notes on stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import click

from gateway.cli.failures import one_line

Columns = Mapping[str, Callable[[Mapping[str, Any]], object]]


def members(*titles: str) -> Columns:
    """Columns for the members whose names are the titles, in lower case and with ``_`` for a space."""
    return {title: partial(_member, title.lower().replace(" ", "_")) for title in titles}


def _member(name: str, item: Mapping[str, Any]) -> object:
    return item.get(name)


RUNTIME_COLUMNS: Final[Columns] = {
    **members("ID", "KIND", "SCOPE", "NAME", "STATE"),
    "CREATED": lambda item: item.get("created_at"),
}


def note(text: str) -> None:
    """Print a line that is not part of the result, on stderr."""
    click.echo(one_line(text), err=True)


def show_list(document: Mapping[str, Any], output: str, columns: Columns, name: str = "id") -> None:
    """Print a document with ``items``; ``name`` is the member that ``-o name`` prints for each item."""
    if output == "table":
        _table(list(columns), [[column(item) for column in columns.values()] for item in document["items"]])
    elif output == "name":
        for item in document["items"]:
            click.echo(one_line(item.get(name)))
    else:
        show_document(document, output)


def show_one(item: Mapping[str, Any], output: str, columns: Columns = RUNTIME_COLUMNS, name: str = "id") -> None:
    """Print one resource; its table has one row."""
    if output in {"json", "yaml"}:
        show_document(item, output)
    else:
        show_list({"items": [item]}, output, columns, name)


def show_details(item: Mapping[str, Any], output: str, name: str = "id") -> None:
    """Print one resource; its table has one row for each member that has a value."""
    if output == "table":
        _table(["FIELD", "VALUE"], [[field, value] for field, value in _leaves(item, "") if value is not None])
    else:
        show_one(item, output, name=name)


def show_document(document: Any, output: str) -> None:
    click.echo(as_yaml(document) if output == "yaml" else json.dumps(document, indent=2, ensure_ascii=False), nl=False)
    if output == "json":
        click.echo()


def as_yaml(document: Any) -> str:
    """Return a document as YAML, with its members in their given order."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _leaves(item: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in item.items():
        if key == "actions" and not prefix and isinstance(value, Mapping):
            yield key, ", ".join(_action(verb, action) for verb, action in value.items() if _possible(action))
        elif isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(_plain, value)) if isinstance(value, list) else value


def _plain(value: object) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else one_line(value)


def _possible(action: Mapping[str, Any]) -> bool:
    return bool(action.get("allowed") or action.get("requires"))


def _action(verb: str, action: Mapping[str, Any]) -> str:
    return f"{verb} ({', '.join(action['requires'])})" if action.get("requires") else verb


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table that never truncates a cell: a line may be wider than the terminal."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_plain(cell)) for cell in row))
    stream = StringIO()
    terminal = sys.stdout.isatty()
    console = Console(file=stream, force_terminal=terminal, highlight=False, width=10_000)
    console.print(table, no_wrap=True, crop=False)
    for line in stream.getvalue().splitlines():
        click.echo(line.rstrip())
