"""``migrate apply`` and the commands that control a move which was planned."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.arguments import move_argument, yes_option
from gateway.cli.failures import ExitCode, Failure, Refused
from gateway.cli.move_report import number
from gateway.cli.options import Connection, connection_options, output_option
from gateway.cli.output import note, show_document, show_list, table

if TYPE_CHECKING:
    from gateway.cli.client import Client

_EVERY: Final = 1.0
_ALL_MOVED: Final = frozenset({"moved", "skipped", "rolled_back"})
_ALL_BACK: Final = frozenset({"skipped", "rolled_back"})
_LEFT: Final = {"applying": ("planned", "moving"), "rolling_back": ("moved",)}
_WORKING: Final = frozenset({"planning", "applying", "rolling_back"})
_CHANGED_COLUMNS: Final = table(
    "NAME, CHANGED, PROBLEM",
    own={
        "NAME": lambda item: item["name"] or item["runtime_id"],
        "CHANGED": lambda item: [each["pointer"] for each in item["changes"]],
        "PROBLEM": lambda item: item["problem"] and item["problem"]["detail"],
    },
)

Command = Callable[..., None]


def _waits(command: Command) -> Command:
    option = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until nothing is being done.")
    return option(command)


@click.command()
@move_argument
@click.option("--digest", required=True, help="That of the plan that you have read.")
@yes_option
@_waits
@output_option("text", "json", "yaml")
@connection_options("migrate apply mv_019a… --digest sha256:4f1c… --yes")
def apply(connection: Connection, move_id: str, digest: str, yes: bool, wait: bool, output: str) -> None:
    """Move the runtimes of a plan, and show how far it is.

    The move continues without this command: interrupt it whenever you like, and look at it with migrate status. Exit
    code 0: all have moved. 3: some have not; migrate items says why. 1: the move has failed.
    """
    if not yes:
        move = connection.call("GET", "moves", move_id)
        counts, ends = move["counts"], move["request"]
        what = f"{number(counts.get('planned', 0))} from {ends['source']['provider']} to {ends['target']['provider']}"
        blocked = counts.get("blocked", 0)
        question = f"Move {what}?" if not blocked else f"Move {what}, and leave {blocked} that cannot move?"
        click.confirm(question, abort=True, err=True)
    _change(connection, move_id, "apply", {"digest": digest}, wait=wait, output=output)


def _simple(verb: str, text: str) -> click.Command:
    """A command without options of its own."""

    def command(connection: Connection, move_id: str, wait: bool, output: str) -> None:
        _change(connection, move_id, verb, None, wait=wait, output=output)

    command.__doc__ = text
    shown = output_option("text", "json", "yaml")(connection_options(f"migrate {verb} mv_019a…")(command))
    return click.command(verb)(move_argument(_waits(shown)))


@click.command()
@move_argument
@click.option(
    "--dry-run", is_flag=True, help="Only list what has changed at the target since, and what cannot be brought back."
)
@click.option(
    "--sync-back",
    metavar="WHAT",
    default="",
    help="What to copy to the sources of what has changed at the target: config, capabilities, or both with a comma.",
)
@click.option("--discard", is_flag=True, help="Give up what has changed at the target.")
@_waits
@output_option("text", "json", "yaml")
@connection_options("migrate rollback mv_019a… --dry-run", "migrate rollback mv_019a… --sync-back config,capabilities")
def rollback(
    connection: Connection, move_id: str, dry_run: bool, sync_back: str, discard: bool, wait: bool, output: str
) -> None:
    """Bring the runtimes of a move back to their sources, which take their ids again.

    What has changed at the target since is refused, unless it is copied back or given up. Exit codes as those of
    migrate apply; with --dry-run, 3 if something has changed, or cannot be brought back.
    """
    body = {"dry_run": dry_run, "sync_back": [part for part in sync_back.split(",") if part], "discard": discard}
    if not dry_run:
        _change(connection, move_id, "rollback", body, wait=wait, output=output)
        return
    found = connection.call("POST", "moves", move_id, "rollback", body=body)
    if output == "text" and not found["items"]:
        click.echo("Nothing has changed at the target, and every runtime that has moved can be brought back.")
        return
    show_list(found, "table" if output == "text" else output, _CHANGED_COLUMNS)
    if found["items"]:
        click.get_current_context().exit(ExitCode.PARTIAL)


COMMANDS: Final = (
    apply,
    _simple("pause", "Begin no further runtime; those that have begun are moved before."),
    _simple("resume", "Continue a move that is paused, or try again what failed in one that is done."),
    _simple("cancel", "Begin no further runtime, and give up those that have not begun."),
    rollback,
)
"""The commands."""


def _change(
    connection: Connection, move_id: str, verb: str, body: dict[str, Any] | None, *, wait: bool, output: str
) -> None:
    async def work(client: "Client") -> dict[str, Any]:
        move = await client.call("POST", "moves", move_id, verb, body=body)
        return await _followed(client, move) if wait else move

    move = connection.run(work, silent=True)  # it shows a bar of its own
    counts = ", ".join(f"{count} {state}" for state, count in move["counts"].items())
    if output == "text":
        click.echo(f"{move['id']}: {move['state']} ({counts})")
    else:
        show_document(move, output)
    if move["state"] == "failed":
        problem = move["problem"] or {}
        raise Failure(problem.get("code", "failed"), problem.get("detail", "the move has failed"))
    back = move["state"] == "rolled_back"
    if move["state"] not in _WORKING and not (_ALL_BACK if back else _ALL_MOVED).issuperset(move["counts"]):
        what = "are not back" if back else "have not moved"
        note(f"some runtimes {what}: runtime-gateway migrate items {move['id']}")
        click.get_current_context().exit(ExitCode.PARTIAL)


async def _followed(client: "Client", move: dict[str, Any]) -> dict[str, Any]:
    """Wait until nothing is being done, and show how far it is. A failure that passes is waited for."""
    from gateway.cli.waiting import clock_of_command

    clock, done, total = clock_of_command(), 0, sum(move["counts"].values())
    left = _LEFT.get(move["state"], ())
    shown: dict[str, Any] = {"show_pos": True, "item_show_func": lambda text: text, "file": sys.stderr}
    with click.progressbar(length=total, label=move["state"], **shown) as bar:
        while move["state"] in _WORKING:
            await clock.sleep(_EVERY)
            try:
                move = await client.call("GET", "moves", move["id"])
                now = total - sum(move["counts"].get(state, 0) for state in left)
                waits = await _waiting(client, move["id"], left) if now == done and move["state"] in _WORKING else ""
            except Failure as failure:
                if isinstance(failure, Refused) and not failure.temporary:
                    raise
                continue
            bar.current_item, bar.show_eta = waits, not waits
            bar.update(now - done)
            bar.render_progress()
            done = now
    return move


async def _waiting(client: "Client", move_id: str, states: Sequence[str]) -> str:
    """Which of the next runtimes wait, and what the first of them waits for."""
    query = [*(("state", state) for state in states), ("limit", "100")]
    page = await client.call("GET", "moves", move_id, "items", query=query)
    waiting = [item for item in page["items"] if item["waits_for"]]
    if not waiting:
        return ""
    more = f" (and {len(waiting) - 1} more wait)" if len(waiting) > 1 else ""
    return f"{waiting[0]['name'] or waiting[0]['runtime_id']} waits for {waiting[0]['waits_for']}{more}"
