"""``audit``: who did what, over the API of a gateway."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.intents import pages
from gateway.cli.options import Connection, any_output, connection_options, query_of
from gateway.cli.output import Columns, note, show_list

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_OUTCOMES: Final = ("ok", "refused", "failed", "unknown")


def _short(name: str, width: int) -> "Callable[[Mapping[str, Any]], object]":
    """A column that is cut, so that a line of the table fits into 80 characters."""

    def shown(item: "Mapping[str, Any]") -> object:
        text = item.get(name)
        return text if text is None or len(text) <= width else f"{text[: width - 1]}…"

    return shown


_COLUMNS: Final[Columns] = {
    "AT": lambda item: item["at"][5:16].replace("T", " "),
    "PRINCIPAL": _short("principal", 12),
    "ACTION": _short("action", 20),
    "OUTCOME": lambda item: item["outcome"],
    "N": lambda item: item["count"],
    "RUNTIME": _short("runtime_id", 13),
}


def _time(_context: Any, _parameter: Any, value: str | None) -> str | None:
    """A time as in RFC 3339, from a date (its begin in UTC), such a time, or an age."""
    from gateway.settings.allow import seconds_of

    if value is None:
        return None
    try:
        age = seconds_of(value)
        if isinstance(age, int) and not value.isdigit():
            return (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
        moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise click.BadParameter("expected an age such as 7d, a date, or a time as in RFC 3339") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).isoformat()


@click.command()
@click.option("--principal", metavar="NAME", help="Only the actions of this principal.")
@click.option("--runtime", metavar="ID", help="Only those on this runtime.")
@click.option("--action", multiple=True, metavar="NAME", help="Only these actions. Repeatable.")
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="Only those with this outcome.")
@click.option("--since", metavar="TIME", callback=_time, help="From this time on: 7d, a date, or a time (RFC 3339).")
@click.option("--until", metavar="TIME", callback=_time, help="Before this time, in the same forms.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum number of events."
)
@click.option("--cursor", help="Continue after the page that had this next_cursor.")
@connection_options
@any_output
def audit(connection: Connection, output: str, limit: int, cursor: str | None, **filters: Any) -> None:
    """List who did what, newest first. Needs the scope audit.

    The table has month, day and time in UTC, and the number of equal refusals (N). It cuts long names; -o json has all.

    \b
    Examples:
      runtime-gateway audit --principal team-a --since 7d
      runtime-gateway audit --outcome refused --since 2027-01-15 -o json
    """
    document = connection.run(lambda client: pages(client, "audit", query_of(filters), limit, cursor))
    show_list(document, output, _COLUMNS)
    if (following := document["next_cursor"]) is not None:
        note(f"there are more than {limit} events: raise --limit, or continue with --cursor {following}")
