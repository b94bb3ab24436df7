"""Results on stdout: a table for people, JSON or YAML for programs, names for shells. Notes on stderr. Pages."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.failures import Failure, one_line

Item = Mapping[str, Any]
Column = Callable[[Item], object]

QUERY: Final = "gateway.cli.query"
"""Where the context of a command with ``--query`` has the compiled expression."""

SEEN: Final = "gateway.cli.seen"
"""Where the context of a command with ``--watch`` has the items that it has printed, by id."""

VALUES: Final = "values"
"""The format of what ``--query`` selects, without ``-o``: text, one value per line."""

DOCUMENTS: Final = frozenset({"json", "yaml", VALUES})
"""The formats that print a document."""

_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Table:
    """The columns that ``-o table`` shows, those that ``-o wide`` adds, and the member that ``-o name`` prints."""

    columns: Mapping[str, Column]
    wide: Mapping[str, Column]
    name: str = "id"


def table(columns: str, wide: str = "", own: Mapping[str, Column] = MappingProxyType({}), *, name: str = "id") -> Table:
    """Return a table with these titles, separated by commas. The column of a title is the one in ``own``, else the
    member that is called like it, with ``_`` for a space."""
    known = {**_COLUMNS, **own}

    def named(titles: str) -> dict[str, Column]:
        return {
            title: known.get(title, partial(_member, title.lower().replace(" ", "_")))
            for title in titles.split(", ")
            if title
        }

    return Table(named(columns), named(wide), name)


def _member(name: str, item: Item) -> object:
    return item.get(name)


def age(item: Item, member: str = "created_at") -> str | None:
    """Return how long ago the time in a member is, in its largest unit."""
    from gateway.cli.waiting import clock_of_command

    text = item.get(member)
    try:
        moment = datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        return text
    seconds = max(0, int(clock_of_command().now() - moment))
    unit, size = next((each for each in _UNITS if seconds >= each[1]), _UNITS[-1])
    return f"{seconds // size}{unit}"


_COLUMNS: Final[Mapping[str, Column]] = {
    "NAME": lambda item: item.get("name") or item.get("id"),
    "AGE": age,
    "CREATED": partial(_member, "created_at"),
    "EXPIRES": partial(_member, "expires_at"),
}

RUNTIMES: Final = table("NAME, KIND, STATE, PROVIDER, AGE", "ID, SCOPE, OWNER, LABELS, EXPIRES, CREATED")


def note(text: str) -> None:
    """Print a line that is not part of the result, on stderr."""
    click.echo(one_line(text), err=True)


def show_list(document: Item, output: str, columns: Table) -> None:
    """Print a document with ``items``; of those that ``--watch`` has printed, only what has changed."""
    if (seen := _seen()) is not None:
        document = {**document, "items": _changed(document["items"], seen)}
        if not document["items"]:
            return
    elif not document["items"] and not document.get("incomplete") and output not in DOCUMENTS:
        note("the list is empty")
    _show(document, document["items"], output, columns)


def show_one(item: Item, output: str, columns: Table = RUNTIMES) -> None:
    """Print one resource, whose table has one row, or a list of several; of an empty list, no table."""
    rows = item.get("items", [item])
    if rows or output in DOCUMENTS:
        _show(item, rows, output, columns)


def show_details(item: Item, output: str, columns: Table = RUNTIMES) -> None:
    """Print one resource; its table has one row for each member that has a value."""
    if (seen := _seen()) is not None and not _changed([item], seen):
        return
    if output in {"table", "wide"}:
        rows = [[field, value] for field, value in _leaves(item, "") if value is not None]
        _print_table(["FIELD", "VALUE"], rows, None if output == "wide" else _width(), fold=True)
    else:
        show_one(item, output, columns)


def _show(document: Item, items: Sequence[Item], output: str, columns: Table) -> None:
    if output in DOCUMENTS:
        show_document(document, output)
    elif output == "name":
        for item in items:
            click.echo(one_line(item.get(columns.name)))
    else:
        shown = {**columns.columns, **columns.wide} if output == "wide" else columns.columns
        rows = [[column(item) for column in shown.values()] for item in items]
        _print_table(list(shown), rows, None if output == "wide" else _width())


def _seen() -> dict[str, Item] | None:
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(SEEN)


def _changed(items: Sequence[Item], seen: dict[str, Item]) -> list[Item]:
    """Return the items that are new or have changed since they were printed, and note those that are gone."""
    present = {str(item.get("id") or item.get("runtime_id") or item.get("name")): item for item in items}
    for gone in seen.keys() - present.keys():
        note(f"gone: {seen.pop(gone).get('name') or gone}")
    changed = [item for name, item in present.items() if seen.get(name) != item]
    seen |= present
    return changed


def show_document(document: Any, output: str) -> None:
    """Print a document, or what ``--query`` selects of it: text alone, unless JSON or YAML was asked for."""
    context = click.get_current_context(silent=True)
    if context is not None and QUERY in context.meta:
        document = context.meta[QUERY].search(document)
        lines = document if isinstance(document, list) else [document]
        if output == VALUES and not any(isinstance(line, dict | list) for line in lines):
            for line in lines:
                click.echo(plain(line))
            return
    click.echo(as_yaml(document) if output == "yaml" else json.dumps(document, indent=2, ensure_ascii=False), nl=False)
    if output != "yaml":
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


def _leaves(item: Item, prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in item.items():
        if key == "actions" and not prefix and isinstance(value, Mapping):
            yield key, ", ".join(filter(None, map(_action, value.keys(), value.values())))
        elif isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def plain(value: object) -> str:
    """Return a value of a document as a cell shows it."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ",".join(f"{one_line(name)}={plain(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    return str(value).lower() if isinstance(value, bool) else one_line(value)


def _action(verb: str, action: Item) -> str:
    if action.get("requires"):
        return f"{verb} ({', '.join(action['requires'])})"
    return verb if action.get("allowed") else ""


def _width() -> int | None:
    """Return the width that tables have to fit into: ``COLUMNS``, else that of the terminal, None without both."""
    if os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def _print_table(
    titles: Sequence[str], rows: Sequence[Sequence[object]], width: int | None, *, fold: bool = False
) -> None:
    """Print a table that is at most ``width`` wide: long cells of its widest columns end with ``…``, or with ``fold``
    continue on the next line. Without a width, nothing is cut."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        shown.add_column(Text(title, no_wrap=True, overflow="ellipsis"), no_wrap=fold and title == titles[0])
    for row in rows:
        shown.add_row(*(Text(plain(cell), no_wrap=not fold, overflow="fold" if fold else "ellipsis") for cell in row))
    stream = StringIO()
    console = Console(file=stream, force_terminal=sys.stdout.isatty(), highlight=False, width=width or 1_000_000)
    console.print(shown, crop=False)
    for line in stream.getvalue().splitlines():
        click.echo(line.rstrip())


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.cli.client import Client

_PAGE: Final = 100
_MOST_WITHOUT_NEW: Final = 1000
"""The number of consecutive pages without a new item that end a list with an error. The gateway itself ends the part
of a provider that repeats its pages earlier, and reports it as incomplete."""


async def pages(
    client: "Client",
    *parts: str,
    query: "Sequence[tuple[str, str]]" = (),
    limit: int | None = None,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Return up to ``limit`` items of all pages as one document, each once. Raises :class:`Failure` for a list without
    end."""
    items: dict[str, Any] = {}
    incomplete: dict[str, Any] = {}
    warnings: list[Any] = []
    sent: set[str | None] = set()
    without_new = 0
    while True:
        size = _PAGE if limit is None else min(_PAGE, limit - len(items))
        following = [("cursor", cursor)] if cursor else []
        page = await client.call("GET", *parts, query=[*query, ("limit", str(size)), *following])
        known = len(items)
        for item in page["items"]:
            items.setdefault(item.get("id") or item.get("runtime_id") or str(len(items)), item)
        incomplete |= {missing["provider"]: missing for missing in page.get("incomplete", ())}
        warnings += page.get("warnings", ())
        cursor = page.get("next_cursor")
        if cursor in sent:
            raise Failure("cursor_repeated", "the gateway returned a cursor that it had returned before")
        sent.add(cursor)
        without_new = 0 if len(items) > known else without_new + 1
        if cursor and without_new >= _MOST_WITHOUT_NEW:
            detail = f"the gateway returned {without_new} pages in a row without a new item, and a further cursor"
            raise Failure("list_endless", detail)
        if not cursor or (limit is not None and len(items) >= limit):
            return {
                **page,
                "items": list(items.values())[:limit],
                "next_cursor": cursor,
                **({"incomplete": list(incomplete.values())} if "incomplete" in page else {}),
                **({"warnings": warnings} if warnings else {}),
            }


def note_missing(document: "Mapping[str, Any]") -> bool:
    """Note what a list of runtimes leaves out, and return whether it may lack runtimes of a provider that failed."""
    for warning in document.get("warnings", ()):
        note(f"warning: {warning.get('detail')}")
    for missing in document["incomplete"]:
        problem = missing["problem"]
        note(f"incomplete: {missing['provider']}: {problem.get('code')}: {problem.get('detail')}")
    return bool(document["incomplete"])
