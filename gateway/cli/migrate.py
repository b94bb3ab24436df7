"""``migrate``: move runtimes to another provider, scope or account."""

import csv
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.arguments import KINDS, PROVIDERS, RUNTIMES, STATES, move_argument
from gateway.cli.documents import read_file
from gateway.cli.failures import ExitCode, Failure
from gateway.cli.move_report import next_steps, number, report, template, why
from gateway.cli.moving import COMMANDS
from gateway.cli.options import (
    Connection,
    api_options,
    connection_options,
    examples,
    given,
    output_option,
    pairs,
    query_of,
    read_options,
    typed,
)
from gateway.cli.output import note, pages, show_details, show_document, show_list, table

if TYPE_CHECKING:
    from gateway.cli.client import Client

_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 1.0
_STATES: Final = ("planned", "blocked", "moving", "moved", "failed", "skipped", "rolled_back")
_MOVE_COLUMNS: Final = table(
    "ID, STATE, FROM, TO, RUNTIMES, AGE",
    "PRINCIPAL, CREATED, DIGEST",
    {
        "FROM": lambda item: item["request"]["source"]["provider"],
        "TO": lambda item: item["request"]["target"]["provider"],
        "RUNTIMES": lambda item: sum(item["counts"].values()),
    },
)
_ITEM_COLUMNS: Final = table(
    "NAME, STATE, WHY",
    "RUNTIME ID",
    {"NAME": lambda item: item["name"] or item["runtime_id"], "WHY": why},
    name="runtime_id",
)
_ID_COLUMNS: Final = table(
    "OLD ID, NEW ID, OLD PROVIDER ID, NEW PROVIDER ID",
    own={
        "OLD ID": lambda item: item["runtime_id"],
        "NEW ID": lambda item: item["target"]["id"],
        "OLD PROVIDER ID": lambda item: item["provider_id"],
        "NEW PROVIDER ID": lambda item: item["target"]["provider_id"],
    },
    name="runtime_id",
)


@click.group()
@examples("migrate plan --from durable-main --to durable-new --mappings mappings.yaml", "migrate status mv_019a…")
def migrate() -> None:
    """Move runtimes to another provider, scope or account; they keep their ids, names and addresses.

    \b
    1. migrate plan says what will be moved, changed and lost. It changes nothing.
    2. Fill in the mappings that it asks for, and plan again.
    3. migrate apply moves the runtimes, one after the other.
    4. migrate rollback brings them back.

    All of these commands need the scope admin.
    """


@migrate.command()
@click.option("--from", "source", required=True, **PROVIDERS, metavar="PROVIDER", help="Where the runtimes are.")
@click.option("--to", "target", required=True, **PROVIDERS, metavar="PROVIDER", help="Where they go.")
@click.option("--from-scope", metavar="SCOPE", help="Only runtimes of this scope.")
@click.option("--to-scope", metavar="SCOPE", help="The scope at the target, if its provider has several.")
@click.option("--kind", help="Only runtimes of this kind.", **KINDS)
@click.option("--state", "states", multiple=True, help="Only runtimes in this state. Repeatable.", **STATES)
@click.option("--name", help="Only the runtime of this name.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only with this label. Repeatable.")
@click.option(
    "--id", "ids", multiple=True, **RUNTIMES, metavar="RUNTIME", help="Only this runtime, by id or name. Repeatable."
)
@click.option(
    "--mappings",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="What references are called at the target. A file that does not exist is written, to be filled in.",
)
@click.option(
    "--overrides",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="A file with overrides: a list of match and patch, as in the API.",
)
@click.option(
    "--when",
    type=click.Choice(["idle", "now", "drain"]),
    help="Wait until a runtime is idle, move it now, or let nothing new begin on it until it is. [default: idle]",
)
@click.option(
    "--on-name-conflict", type=click.Choice(["fail", "adopt"]), help="If the name exists at the target. [default: fail]"
)
@click.option(
    "--source-after",
    type=click.Choice(["keep", "stop", "reset", "delete"]),
    help="What becomes of the source. [default: stop]",
)
@click.option("--concurrency", type=click.IntRange(1, 64), help="Runtimes that are moved at once. [default: 4]")
@click.option("--max-double-running", type=click.IntRange(1), help="Runtimes that run at both ends at once.")
@click.option("--stop-on-errors", type=click.IntRange(1), help="Failed runtimes after which the move is paused.")
@click.option("--force", is_flag=True, help="Delete also runtimes that the gateway has only adopted.")
@output_option("report", "json", "yaml")
@connection_options(
    "migrate plan --from durable-main --to durable-new",
    "migrate plan --from durable-main --to durable-new --label team=shop --mappings mappings.yaml",
    "migrate plan --from bctrl-main --to browsers-main -o json",
)
def plan(connection: Connection, output: str, mappings: str | None, **options: Any) -> None:
    """Say what a move would do: what changes, what is lost, what is blocked and why.

    The plan reads both ends and writes nothing. It ends with the command that carries it out, which names the digest of
    what you have read. Exit code 3: some runtimes are blocked.
    """
    options["ids"] = tuple(map(connection.runtime_id, options["ids"]))
    body = _request(mappings, **options)

    async def work(client: "Client") -> tuple[dict[str, Any], list[dict[str, Any]]]:
        move = await client.call("POST", "moves", body=body)
        note(f"planning {move['id']}")
        move = await _planned(client, move)
        if move["state"] == "failed":
            problem = move["problem"] or {}
            raise Failure(problem.get("code", "failed"), problem.get("detail", "the plan could not be made"))
        return move, (await pages(client, "moves", move["id"], "items"))["items"]

    move, items = connection.run(work)
    written = _write_template(mappings, items, body["target"]["provider"])
    if output != "report":
        show_document({"move": move, "items": items}, output)
    else:
        command = shlex.join(["runtime-gateway", "migrate", "plan", *typed(click.get_current_context())])
        for line in (*report(move, items), *next_steps(move, items, command, mappings)):
            click.echo(line)
    if written:
        note(f"written: {written}; fill it in, and plan again")
    if any(item["blocked_by"] for item in items):
        click.get_current_context().exit(ExitCode.PARTIAL)


@migrate.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Maximum number of moves.")
@read_options("migrate list")
def list_moves(connection: Connection, limit: int, output: str) -> None:
    """List the moves, newest first."""
    show_list(connection.run(lambda client: pages(client, "moves", limit=limit)), output, _MOVE_COLUMNS)


@migrate.command()
@move_argument
@read_options("migrate status mv_019a…")
def status(connection: Connection, move_id: str, output: str) -> None:
    """Show how far a move is."""
    move = connection.call("GET", "moves", move_id)
    if output in {"table", "wide"}:
        request, counts = move["request"], move["counts"]
        ends = {"from": request["source"]["provider"], "to": request["target"]["provider"]}
        shown = {name: move[name] for name in ("id", "state", "digest", "principal", "created_at", "updated_at")}
        move = {**shown, **ends, "runtimes": counts, "problem": move["problem"]}
    show_details(move, output)


@migrate.command("items")
@move_argument
@click.option("--state", "states", multiple=True, type=click.Choice(_STATES), help="Only in this state. Repeatable.")
@read_options("migrate items mv_019a… --state blocked", "migrate items mv_019a… -o json")
def list_items(connection: Connection, move_id: str, states: tuple[str, ...], output: str) -> None:
    """List the runtimes of a move. JSON has everything that the plan says about each."""
    query = query_of({"state": states})
    found = connection.run(lambda client: pages(client, "moves", move_id, "items", query=query))
    show_list(found, output, _ITEM_COLUMNS)


@migrate.command()
@move_argument
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values with a header.")
@api_options("migrate ids mv_019a… --csv > ids.csv")
def ids(connection: Connection, move_id: str, as_csv: bool, output: str) -> None:
    """Map the old ids of a move to the new ones: those of the gateway, and the providers' own.

    The old ids continue to work in the gateway. The new ones are empty for runtimes that have not moved.
    """
    document = connection.run(lambda client: pages(client, "moves", move_id, "items"))
    if not as_csv:
        show_list(document, output, _ID_COLUMNS)
        return
    rows = csv.writer(sys.stdout)
    rows.writerow(title.lower().replace(" ", "_") for title in _ID_COLUMNS.columns)
    rows.writerows([column(item) for column in _ID_COLUMNS.columns.values()] for item in document["items"])


for command in COMMANDS:
    migrate.add_command(command)


async def _planned(client: "Client", move: dict[str, Any]) -> dict[str, Any]:
    """Wait until the plan is made, and say how far it is."""
    from gateway.cli.waiting import clock_of_command

    clock, shown, delay = clock_of_command(), 0, _FIRST_DELAY
    while move["state"] == "planning":
        await clock.sleep(delay)
        delay = min(2 * delay, _LONGEST_DELAY)
        move = await client.call("GET", "moves", move["id"])
        if (read := sum(move["counts"].values())) != shown:
            note(f"planning: {number(read)}")
            shown = read
    return move


def _request(mappings: str | None, **options: Any) -> dict[str, Any]:
    source = {
        "provider": options["source"],
        "scope": options["from_scope"],
        "kind": options["kind"],
        "state": list(options["states"]) or None,
        "name": options["name"],
        "label": pairs(options["labels"], "--label") or None,
        "ids": list(options["ids"]) or None,
    }
    overrides = None if options["overrides"] is None else read_file(options["overrides"]).get("overrides")
    body = {
        "source": given(source),
        "target": given({"provider": options["target"], "scope": options["to_scope"]}),
        "mappings": _mappings(mappings),
        "overrides": overrides,
        "force": options["force"] or None,
    }
    for name in ("when", "on_name_conflict", "source_after", "concurrency", "max_double_running", "stop_on_errors"):
        body[name] = options[name]
    return given(body)


def _mappings(path: str | None) -> dict[str, Any] | None:
    """The mappings in a file, without those that are not filled in; None if there is no file."""
    if path is None or not Path(path).exists():
        return None
    with Path(path).open(encoding="utf-8") as stream:
        found = read_file(stream)
    empty = 0
    for kind, values in found.items():
        if isinstance(values, dict):
            found[kind] = given(values)
            empty += len(values) - len(found[kind])
    if empty:
        note(f"{path}: {empty} mappings are not filled in")
    return given(found)


def _write_template(path: str | None, items: list[dict[str, Any]], target: str) -> str | None:
    """Write the mappings that are missing into a file that does not exist, otherwise print them. Returns its path if it
    was written."""
    text = template(items, target)
    if path is None or text is None:
        return None
    if Path(path).exists():
        note(f"{path} has no value for:")
        click.echo(text, err=True, nl=False)
        return None
    Path(path).write_text(text, encoding="utf-8")
    return path
