"""``runtimes``: list, read, create and delete."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.applying import apply, creatable
from gateway.cli.arguments import (
    KINDS,
    PROVIDERS,
    STATES,
    idempotency_options,
    label_option,
    runtime_argument,
    runtime_arguments,
    wait_options,
    yes_option,
)
from gateway.cli.documents import put, read_documents
from gateway.cli.failures import ExitCode, Refused
from gateway.cli.options import (
    Connection,
    api_options,
    connection_options,
    examples,
    output_option,
    pairs,
    query_of,
    read_options,
)
from gateway.cli.output import QUERY, RUNTIMES, note, note_missing, pages, show_details, show_list, show_one, table

if TYPE_CHECKING:
    from gateway.cli.client import Client
    from gateway.cli.references import Chosen

_CONNECTION_COLUMNS: Final = table("PROTOCOL, URL, TOKEN, EXPIRES", name="url")


@click.group()
@examples("runtimes create --kind durable --name research-agent", "runtimes list --state running")
def runtimes() -> None:
    """List, create, change and delete the runtimes of all providers."""


@runtimes.command("list")
@click.option("--kind", multiple=True, **KINDS, help="Only this kind. Repeatable.")
@click.option("--provider", multiple=True, **PROVIDERS, help="Only of this provider. Repeatable.")
@click.option(
    "--scope", multiple=True, help="Only in this scope. Required for providers without a fixed scope. Repeatable."
)
@click.option("--state", multiple=True, **STATES, help="Only in this state. Repeatable.")
@click.option("--name", help="Only with this name.")
@click.option("--project", help="Only of this project (key or id).")
@click.option("--owner", help="Only of this owner, a principal or a group; me: of the caller.")
@click.option("--partial", type=click.Choice(["allow", "deny"]), help="If a provider fails: list the others, or fail.")
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of runtimes. Default: all.")
@label_option
@read_options("runtimes list", "runtimes list --kind browser --state running -o name")
def list_runtimes(connection: Connection, output: str, limit: int | None, **filters: Any) -> None:
    """List the runtimes of all providers. The command reads all pages.

    Exit code 3: a provider failed, so runtimes may be missing from the list. Runtimes that a provider returned in an
    unreadable form are left out with a warning.
    """
    document = connection.run(lambda client: pages(client, "runtimes", query=query_of(filters), limit=limit))
    show_list(document, output, RUNTIMES)
    if document["next_cursor"]:
        note(f"there may be more than {len(document['items'])} runtimes: raise --limit")
    if note_missing(document):
        sys.exit(ExitCode.PARTIAL)


@runtimes.command()
@runtime_arguments
@read_options("runtimes get research-agent", "runtimes get -l team=shop --query 'items[].id'")
def get(connection: Connection, chosen: "Chosen", output: str) -> None:
    """Show one runtime with all its fields, or a list of several.

    YAML includes the config of a durable runtime, so that runtimes create -f can make the same again.
    """

    async def work(client: "Client", runtime_id: str) -> dict[str, Any]:
        runtime = await client.call("GET", "runtimes", runtime_id)
        if output == "yaml" and QUERY not in click.get_current_context().meta and runtime["kind"] == "durable":
            try:
                runtime["config"] = (await client.call("GET", "runtimes", runtime_id, "config"))["config"]
            except Refused as refused:
                note(f"without its config: {refused.code}: {refused.message}")
        return runtime

    def shown(found: dict[str, Any]) -> None:
        (show_list if "items" in found else show_details)(found, output, RUNTIMES)

    chosen.each(connection, work, shown, reads=True)


@runtimes.command()
@click.option("-f", "--file", "stream", type=click.File(), help="The request as YAML or JSON; - is stdin.")
@click.option("--kind", help="durable or browser.", **KINDS)
@click.option("--name", help="The name. Default: the gateway generates one.")
@click.option("--provider", help="The provider. Default: the gateway chooses one.", **PROVIDERS)
@click.option("--scope", help="The provider's scope. Required for a provider without a fixed scope.")
@click.option("--project", help="durable: the project (key or id).")
@click.option("--driver", help="browser: puppeteer, playwright, selenium or stagehand.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="A label. Repeatable.")
@click.option("--start/--no-start", default=None, help="Whether to start the compute. The default depends on the kind.")
@click.option("--if-exists", type=click.Choice(["return", "fail"]), help="What to do if the name is taken.")
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Set any field. Repeatable.")
@idempotency_options
@wait_options
@api_options(
    "runtimes create --kind durable --name research-agent --label team=shop --start --wait",
    "runtimes create --kind browser --set launch.mode=ephemeral --set launch.humanize=true",
    "runtimes create -f agent.yaml --set config.resources.cpu_cores=4",
    "runtimes create -f agent.yaml --idempotency-key order-4711 --retry-for 600",
    "runtimes create -f - --name copy < printed.yaml",
)
def create(
    connection: Connection,
    output: str,
    stream: Any,
    label: tuple[str, ...],
    assignments: tuple[str, ...],
    idempotency_key: str | None,
    retry_for: float,
    patience: float | None,
    **fields: Any,
) -> None:
    """Create a runtime. Flags override the file, and --set overrides both. A file may hold several documents.

    If the outcome is unknown, for example because the connection was lost, the command repeats the same request under
    the same idempotency key, which never creates a second runtime. Exit code 5: the outcome is still unknown. The
    error then shows the command that continues this create.
    """
    bodies = [creatable(document) for document in read_documents(stream)] if stream is not None else [{}]
    if len(bodies) > 1 and (fields["name"] or idempotency_key):
        raise click.UsageError("--name and --idempotency-key are for one runtime, and the file has several.")
    for body in bodies:
        body.update({name: value for name, value in fields.items() if value is not None})
        if label:
            body["labels"] = {**(body.get("labels") or {}), **pairs(label, "--label")}
        put(body, assignments)
        if "kind" not in body:
            raise click.UsageError("Give --kind, or a file with a kind.")

    async def work(client: "Client") -> list[Mapping[str, Any]]:
        return [await _create(client, body, idempotency_key, retry_for, patience) for body in bodies]

    made = connection.run(work)
    for runtime in made:
        if runtime.get("created") is False:
            note(f"note: {runtime.get('id')} already existed")
        for warning in runtime.get("warnings") or ():
            note(f"warning: {warning.get('pointer')}: {warning.get('detail')}")
    show_one(made[0] if len(made) == 1 else {"object": "list", "items": made}, output)


async def _create(
    client: "Client", body: Mapping[str, Any], key: str | None, retry_for: float, patience: float | None
) -> Mapping[str, Any]:
    from gateway.cli.creating import Creating, new_key
    from gateway.cli.waiting import SETTLED, wait_for

    runtime = await Creating(body, key or new_key(), retry_for).send(client)
    if patience is None:
        return runtime
    states = frozenset({"running"}) if body.get("start") is True else SETTLED
    if runtime.get("state") in states:
        return runtime
    return await wait_for(client, runtime["id"], states, patience, failed_ends=True)


@runtimes.command()
@runtime_arguments
@wait_options
@yes_option
@connection_options("runtimes delete research-agent --wait", "runtimes delete -l team=shop --yes")
def delete(connection: Connection, chosen: "Chosen", patience: float | None, yes: bool) -> None:
    """Delete runtimes permanently, if their providers support this. Asks on a terminal."""

    async def work(client: "Client", runtime_id: str) -> None:
        from gateway.cli.waiting import wait_for

        await client.call("DELETE", "runtimes", runtime_id)
        if patience is not None:
            await wait_for(client, runtime_id, frozenset(), patience, failed_ends=False, gone=True)
        note(f"deleted: {runtime_id}")

    chosen.each(connection, work, lambda _: None, ask=None if yes else "Delete permanently")


@runtimes.command()
@runtime_argument
@click.option("--protocol", help="Only this protocol: runtime_server, cdp, webdriver or live_view.")
@output_option("table", "json", "yaml")
@connection_options("runtimes connect research-agent", "runtimes connect $ID --protocol cdp -o json")
def connect(connection: Connection, runtime_id: str, protocol: str | None, output: str) -> None:
    """Print the connections of a running runtime: protocol, URL and token. The tokens are secrets."""
    body = {} if protocol is None else {"protocol": protocol}
    found = connection.call("POST", "runtimes", runtime_id, "connections", body=body)
    show_list(found, "wide" if output == "table" else output, _CONNECTION_COLUMNS)  # a part of a URL is of no use


runtimes.add_command(apply)
