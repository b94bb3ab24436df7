"""``audit``: who did what, over the API of a gateway."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from gateway.cli.arguments import RUNTIMES
from gateway.cli.options import Connection, query_of, read_options
from gateway.cli.output import note, pages, show_list, table

_OUTCOMES: Final = ("ok", "refused", "failed", "unknown")
_COLUMNS: Final = table(
    "AT, PRINCIPAL, ACTION, OUTCOME, N, RUNTIME",
    "TIME, ID, PROVIDER, CODE, STATUS, REQUEST ID",
    {
        "AT": lambda item: item["at"][5:16].replace("T", " "),
        "TIME": lambda item: item["at"],
        "N": lambda item: item["count"],
        "RUNTIME": lambda item: item.get("runtime_id"),
    },
)


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
@click.option("--runtime", metavar="RUNTIME", **RUNTIMES, help="Only those on this runtime, by id or name.")
@click.option("--action", multiple=True, metavar="NAME", help="Only these actions. Repeatable.")
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="Only those with this outcome.")
@click.option("--since", metavar="TIME", callback=_time, help="From this time on: 7d, a date, or a time (RFC 3339).")
@click.option("--until", metavar="TIME", callback=_time, help="Before this time, in the same forms.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum number of events."
)
@click.option("--cursor", help="Continue after the page that had this next_cursor.")
@read_options("audit --principal team-a --since 7d", "audit --outcome refused --since 2027-01-15 -o json")
def audit(connection: Connection, output: str, limit: int, cursor: str | None, **filters: Any) -> None:
    """List who did what, newest first. Needs the scope audit.

    The table has month, day and time in UTC, and the number of equal refusals (N). -o wide has all columns.
    """
    filters["runtime"] = connection.runtime_id(filters["runtime"])
    document = connection.run(
        lambda client: pages(client, "audit", query=query_of(filters), limit=limit, cursor=cursor)
    )
    show_list(document, output, _COLUMNS)
    if (following := document["next_cursor"]) is not None:
        note(f"there are more than {limit} events: raise --limit, or continue with --cursor {following}")
