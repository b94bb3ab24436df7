"""``usage``: how many runtimes there are, and what they cost."""

import re
import sys
from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.arguments import KINDS, PROVIDERS, STATES, label_option
from gateway.cli.failures import ExitCode
from gateway.cli.options import Connection, api_options, query_of
from gateway.cli.output import note, note_missing, show_list, table


def _by(_context: Any, _parameter: Any, value: str | None) -> str | None:
    if value is None or re.fullmatch(r"provider|kind|state|owner|label:.+", value):
        return value
    raise click.BadParameter("expected provider, kind, state, owner, or label:KEY")


def _value(item: Mapping[str, Any]) -> str:
    if not item["known"]:
        return "(not known)"
    return "(none)" if item["value"] is None else item["value"]


def _cost(item: Mapping[str, Any], member: str) -> object:
    return None if item.get("cost") is None else item["cost"][member]


@click.command()
@click.option("--by", metavar="CRITERION", callback=_by, help="provider (default), kind, state, owner, or label:KEY.")
@click.option("--kind", multiple=True, **KINDS, help="Only this kind. Repeatable.")
@click.option("--provider", multiple=True, **PROVIDERS, help="Only of this provider. Repeatable.")
@click.option("--scope", multiple=True, help="Only in this scope. Required for providers without a fixed scope.")
@click.option("--state", multiple=True, **STATES, help="Only in this state. Repeatable.")
@click.option("--owner", help="Only of this owner, a principal or a group; me: of the caller.")
@label_option
@api_options("usage", "usage --by label:team -o json")
def usage(connection: Connection, output: str, **filters: Any) -> None:
    """Count runtimes and add up what they cost, in groups.

    CREDITS is the sum over those runtimes of which the provider reports a cost, PRICED their number; - means that it is
    not known for any of them. Exit code 3: a provider failed, so its runtimes are not counted.
    """
    document = connection.call("GET", "usage", query=query_of(filters))
    title = document["by"].partition(":")[0].upper()
    columns = table(
        f"{title}, RUNTIMES, STATES, CREDITS, PRICED",
        "KINDS, BILLED",
        {
            title: _value,
            "CREDITS": lambda item: _cost(item, "estimated_total_credits"),
            "BILLED": lambda item: _cost(item, "billed_credits"),
            "PRICED": lambda item: _cost(item, "runtimes"),
        },
        name="value",
    )
    if output in {"table", "wide"} and len(document["items"]) != 1:
        total = {"value": "total", "known": True, **document["total"]}
        document = {**document, "items": [*document["items"], total]}
    show_list(document, output, columns)
    if document["left_out"]:
        note(f"{document['left_out']} groups with fewer runtimes are left out")
    if note_missing(document):
        sys.exit(ExitCode.PARTIAL)
