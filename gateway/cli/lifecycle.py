"""``runtimes start`` and the other verbs that change the state of a runtime."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.arguments import if_match_option, runtime_argument, runtime_arguments, wait_options, yes_option
from gateway.cli.options import Connection, Decorator, api_options, connection_options, output_option
from gateway.cli.output import note, show_details, show_one

if TYPE_CHECKING:
    from gateway.cli.client import Client
    from gateway.cli.references import Chosen

_TARGETS: Final = {
    "start": frozenset({"running"}),
    "resume": frozenset({"running"}),
    "pause": frozenset({"paused"}),
    "stop": frozenset({"idle", "stopped"}),
    "reset": frozenset({"idle"}),
}
_instance_option = if_match_option(
    "TAG", "Only if this is still the runtime's durable.instance.id or etag; otherwise nothing is done (412)."
)
_ENDS: Final = frozenset({"stop", "reset"})  # these work from `failed`, which may still be seen for a while


def _verb_options(*lines: str) -> Decorator:
    return lambda command: runtime_arguments(wait_options(api_options(*lines)(command)))


def _transition(
    verb: str,
    body: Mapping[str, Any],
    *,
    connection: Connection,
    chosen: "Chosen",
    output: str,
    patience: float | None,
    if_match: Mapping[str, str] | None = None,
    ask: str | None = None,
) -> None:
    """Send a verb, wait up to ``patience`` seconds for its target state, and print the runtimes."""

    async def work(client: "Client", runtime_id: str) -> Mapping[str, Any]:
        from gateway.cli.waiting import wait_for

        runtime = await client.call("POST", "runtimes", runtime_id, verb, body=body, headers=if_match)
        if runtime.get("changed") is False:
            note(f"note: nothing to do: {runtime_id} is {runtime.get('state')}")
        if patience is None or runtime.get("state") in _TARGETS[verb]:
            return runtime
        return await wait_for(client, runtime_id, _TARGETS[verb], patience, failed_ends=verb not in _ENDS)

    chosen.each(connection, work, lambda found: show_one(found, output), ask=ask)


@click.command()
@click.option("--secret-id", multiple=True, help="A stored secret to use instead of those in the config. Repeatable.")
@click.option("--runtime-limit", type=click.IntRange(min=60), metavar="SECONDS", help="Maximum run time.")
@_verb_options("runtimes start $ID --wait", "runtimes start $ID --runtime-limit 3600")
def start(secret_id: tuple[str, ...], runtime_limit: int | None, **options: Any) -> None:
    """Start a runtime: give it compute if it has none."""
    body: dict[str, Any] = {}
    if secret_id:
        body["secret_ids"] = list(secret_id)
    if runtime_limit is not None:
        body["runtime_limit_seconds"] = runtime_limit
    _transition("start", body, **options)


@click.command()
@_verb_options("runtimes pause research-agent --wait", "runtimes pause -l team=shop")
def pause(**options: Any) -> None:
    """Pause a running runtime: freeze its compute and keep its state."""
    _transition("pause", {}, **options)


@click.command()
@_verb_options("runtimes resume $ID --wait --timeout 60")
def resume(**options: Any) -> None:
    """Resume a paused runtime."""
    _transition("resume", {}, **options)


@click.command()
@_instance_option
@yes_option
@_verb_options("runtimes reset research-agent", "runtimes reset $ID --if-match $INSTANCE_ID --yes")
def reset(yes: bool, **options: Any) -> None:
    """Reset a runtime: discard its compute and the state inside, and keep the runtime itself. Asks on a terminal."""
    _transition("reset", {}, ask=None if yes else "Discard the state of", **options)


@click.command()
@click.option("--discard-state", is_flag=True, help="Confirm that the state inside is lost, if stopping loses it.")
@_instance_option
@_verb_options(
    "runtimes stop $BROWSER_ID",
    "runtimes stop $DURABLE_ID --discard-state --wait",
    "runtimes stop $DURABLE_ID --discard-state --if-match $INSTANCE_ID",
)
def stop(discard_state: bool, **options: Any) -> None:
    """Stop a runtime: end its compute.

    A durable runtime loses the state inside: confirm this with --discard-state, or use `runtimes pause` instead.
    """
    _transition("stop", {"discard_state": True} if discard_state else {}, **options)


@click.command()
@runtime_argument
@click.option(
    "--extend",
    type=click.IntRange(60, 3600),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="By how long to postpone the expiry.",
)
@output_option("table", "json", "yaml")
@connection_options("runtimes keepalive $ID --extend 900")
def keepalive(connection: Connection, runtime_id: str, extend: int, output: str) -> None:
    """Postpone the expiry of a running runtime."""
    show_details(connection.call("POST", "runtimes", runtime_id, "keepalive", body={"extend_seconds": extend}), output)


LIFECYCLE_COMMANDS: Final = (start, pause, resume, reset, stop, keepalive)
