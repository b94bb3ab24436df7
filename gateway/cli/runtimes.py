"""``runtimes``: list, read, create and delete."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.documents import put, read_file
from gateway.cli.failures import ExitCode, Failure
from gateway.cli.options import (
    Connection,
    any_output,
    connection_options,
    examples,
    idempotency_options,
    output_option,
    pairs,
    query_of,
    wait_options,
)
from gateway.cli.output import RUNTIME_COLUMNS, Columns, members, note, show_details, show_list, show_one

if TYPE_CHECKING:
    from gateway.cli.client import Client

_MOST_WITHOUT_NEW: Final = 1000
"""The number of consecutive pages without a new runtime that end a list with an error. The gateway itself ends the part
of a provider that repeats its pages earlier, and reports it as incomplete."""

_CONNECTION_COLUMNS: Final[Columns] = {
    **members("PROTOCOL", "URL", "TOKEN"),
    "EXPIRES": lambda item: item.get("expires_at"),
}


@click.group()
@examples("runtimes create --kind durable --name research-agent", "runtimes list --state running")
def runtimes() -> None:
    """List, create, change and delete the runtimes of all providers."""


@runtimes.command("list")
@click.option("--kind", multiple=True, help="Only this kind. Repeatable.")
@click.option("--provider", multiple=True, help="Only of this provider. Repeatable.")
@click.option(
    "--scope", multiple=True, help="Only in this scope. Required for providers without a fixed scope. Repeatable."
)
@click.option("--state", multiple=True, help="Only in this state. Repeatable.")
@click.option("--name", help="Only with this name.")
@click.option("--project", help="Only of this project (key or id).")
@click.option("--owner", help="Only of this owner, a principal or a group; me: of the caller.")
@click.option("--partial", type=click.Choice(["allow", "deny"]), help="If a provider fails: list the others, or fail.")
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of runtimes. Default: all.")
@connection_options
@any_output
@examples("runtimes list", "runtimes list --kind browser --state running -o name")
def list_runtimes(connection: Connection, output: str, limit: int | None, **filters: Any) -> None:
    """List the runtimes of all providers. The command reads all pages.

    Exit code 3: a provider failed, so runtimes may be missing from the list. Runtimes that a provider returned in an
    unreadable form are left out with a warning.
    """
    document = connection.run(lambda client: all_pages(client, query_of(filters), limit))
    show_list(document, output, RUNTIME_COLUMNS)
    for warning in document.get("warnings", ()):
        note(f"warning: {warning.get('detail')}")
    for missing in document["incomplete"]:
        problem = missing["problem"]
        note(f"incomplete: {missing['provider']}: {problem.get('code')}: {problem.get('detail')}")
    if document["next_cursor"]:
        note(f"there may be more than {len(document['items'])} runtimes: raise --limit")
    if document["incomplete"]:
        sys.exit(ExitCode.PARTIAL)


async def all_pages(client: "Client", query: list[tuple[str, str]], limit: int | None) -> dict[str, Any]:
    """The runtimes of all pages as one document, at most ``limit``. Raises :class:`Failure` for a list without end."""
    items: list[Any] = []
    incomplete: dict[str, Any] = {}
    warnings: list[Any] = []
    cursor: str | None = None
    without_new = 0
    sent: set[str | None] = set()
    known: set[str] = set()
    while True:
        size = 100 if limit is None else min(100, limit - len(items))
        parameters = [*query, ("limit", str(size)), *([("cursor", cursor)] if cursor else [])]
        page = await client.call("GET", "runtimes", query=parameters)
        new = [item for item in page["items"] if item["id"] not in known]
        known.update(item["id"] for item in new)
        items += new
        incomplete.update({missing["provider"]: missing for missing in page.get("incomplete", ())})
        warnings += page.get("warnings", ())
        following = page.get("next_cursor")
        if following in sent:
            raise Failure("cursor_repeated", "the gateway returned a cursor that it had returned before")
        without_new = 0 if new else without_new + 1
        if following and without_new >= _MOST_WITHOUT_NEW:
            detail = f"the gateway returned {without_new} pages in a row without a new runtime, and a further cursor"
            raise Failure("list_endless", detail)
        cursor = following
        sent.add(following)
        if not cursor or (limit is not None and len(items) >= limit):
            more = cursor or (limit is not None and len(items) > limit)
            return {
                "object": "list",
                "items": items[:limit],
                "next_cursor": cursor if more else None,
                "incomplete": list(incomplete.values()),
                **({"warnings": warnings} if warnings else {}),
            }


@runtimes.command()
@click.argument("runtime_id", metavar="ID")
@connection_options
@any_output
@examples("runtimes get durable-demo.2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", "runtimes get $ID -o json")
def get(connection: Connection, runtime_id: str, output: str) -> None:
    """Show one runtime with all its fields."""
    show_details(connection.call("GET", "runtimes", runtime_id), output)


@runtimes.command()
@click.option("-f", "--file", "stream", type=click.File(), help="The request as YAML or JSON; - is stdin.")
@click.option("--kind", help="durable or browser.")
@click.option("--name", help="The name. Default: the gateway generates one.")
@click.option("--provider", help="The provider. Default: the gateway chooses one.")
@click.option("--scope", help="The provider's scope. Required for a provider without a fixed scope.")
@click.option("--project", help="durable: the project (key or id).")
@click.option("--driver", help="browser: puppeteer, playwright, selenium or stagehand.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="A label. Repeatable.")
@click.option("--start/--no-start", default=None, help="Whether to start the compute. The default depends on the kind.")
@click.option("--if-exists", type=click.Choice(["return", "fail"]), help="What to do if the name is taken.")
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Set any field. Repeatable.")
@idempotency_options
@wait_options
@connection_options
@any_output
@examples(
    "runtimes create --kind durable --name research-agent --label team=shop --start --wait",
    "runtimes create --kind browser --set launch.mode=ephemeral --set launch.humanize=true",
    "runtimes create -f agent.yaml --set config.resources.cpu_cores=4",
    "runtimes create -f agent.yaml --idempotency-key order-4711 --retry-for 600",
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
    """Create a runtime. Flags override the file, and --set overrides both.

    If the outcome is unknown, for example because the connection was lost, the command repeats the same request under
    the same idempotency key, which never creates a second runtime. Exit code 5: the outcome is still unknown. The
    error then shows the command that continues this create.
    """
    body = read_file(stream) if stream is not None else {}
    body.update({name: value for name, value in fields.items() if value is not None})
    if label:
        body["labels"] = {**(body.get("labels") or {}), **pairs(label, "--label")}
    put(body, assignments)
    if "kind" not in body:
        raise click.UsageError("Give --kind, or a file with a kind.")
    runtime = connection.run(lambda client: _create(client, body, idempotency_key, retry_for, patience))
    if runtime.get("created") is False:
        note(f"note: {runtime.get('id')} already existed")
    for warning in runtime.get("warnings") or ():
        note(f"warning: {warning.get('pointer')}: {warning.get('detail')}")
    show_one(runtime, output)


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
@click.argument("runtime_id", metavar="ID")
@wait_options
@connection_options
@examples("runtimes delete $ID", "runtimes delete $ID --wait")
def delete(connection: Connection, runtime_id: str, patience: float | None) -> None:
    """Delete a runtime permanently, if its provider supports this."""

    async def work(client: "Client") -> None:
        from gateway.cli.waiting import wait_until_gone

        await client.call("DELETE", "runtimes", runtime_id)
        if patience is not None:
            await wait_until_gone(client, runtime_id, patience)

    connection.run(work)
    note(f"deleted: {runtime_id}")


@runtimes.command()
@click.argument("runtime_id", metavar="ID")
@click.option("--protocol", help="Only this protocol: runtime_server, cdp, webdriver or live_view.")
@connection_options
@output_option("table", "json", "yaml")
@examples("runtimes connect $ID", "runtimes connect $ID --protocol cdp -o json")
def connect(connection: Connection, runtime_id: str, protocol: str | None, output: str) -> None:
    """Print the connections of a running runtime: protocol, URL and token. The tokens are secrets."""
    body = {} if protocol is None else {"protocol": protocol}
    show_list(connection.call("POST", "runtimes", runtime_id, "connections", body=body), output, _CONNECTION_COLUMNS)
