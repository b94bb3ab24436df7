"""``runtimes``: list, read, create and delete."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.documents import put, read_file
from gateway.cli.failures import ExitCode, Failure
from gateway.cli.options import any_output, connection_options, idempotency_options, output_option, pairs, wait_options
from gateway.cli.output import RUNTIME_COLUMNS, Columns, note, show_details, show_list, show_one

if TYPE_CHECKING:
    from gateway.cli.client import Client, Connection

_CONNECTION_COLUMNS: Final[Columns] = {
    "PROTOCOL": lambda item: item.get("protocol"),
    "URL": lambda item: item.get("url"),
    "TOKEN": lambda item: item.get("token"),
    "EXPIRES": lambda item: item.get("expires_at"),
}


@click.group()
def runtimes() -> None:
    """Work with runtimes, whichever provider runs them.

    \b
    Examples:
      runtime-gateway runtimes create --kind durable --name research-agent
      runtime-gateway runtimes list --state running
    """


@runtimes.command("list")
@click.option("--kind", multiple=True, help="Only this kind. Repeatable.")
@click.option("--provider", multiple=True, help="Only of this provider. Repeatable.")
@click.option("--scope", multiple=True, help="Only in this scope; an open provider needs one. Repeatable.")
@click.option("--state", multiple=True, help="Only in this state. Repeatable.")
@click.option("--name", help="Only of this name.")
@click.option("--project", help="Only of this project (key or id).")
@click.option("--mine", is_flag=True, help="Only those that the gateway's account owns.")
@click.option("--partial", type=click.Choice(["allow", "deny"]), help="Whether a provider may be missing.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many; all when left out.")
@connection_options
@any_output
def list_runtimes(connection: "Connection", output: str, limit: int | None, **filters: Any) -> None:
    """List runtimes of all providers, page by page until the end.

    Ends with 3 when a provider failed meanwhile, so that runtimes may be missing. A runtime that a provider listed in a
    form that cannot be read is left out with a warning.

    \b
    Examples:
      runtime-gateway runtimes list
      runtime-gateway runtimes list --kind browser --state running -o name
    """
    query = _query(filters)
    document = connection.run(lambda client: _all_pages(client, query, limit))
    show_list(document, output, RUNTIME_COLUMNS)
    for warning in document.get("warnings", ()):
        note(f"warning: {warning.get('detail')}")
    for missing in document["incomplete"]:
        problem = missing["problem"]
        note(f"incomplete: {missing['provider']}: {problem.get('code')}: {problem.get('detail')}")
    if document["next_cursor"]:
        note(f"there may be more than these {len(document['items'])}: raise --limit")
    if document["incomplete"]:
        sys.exit(ExitCode.PARTIAL)


def _query(filters: Mapping[str, Any]) -> list[tuple[str, str]]:
    query = []
    for name, value in filters.items():
        if name == "mine":
            query += [("owner", "me")] if value else []
        elif isinstance(value, tuple):
            query += [(name, item) for item in value]
        elif value is not None:
            query.append((name, value))
    return query


async def _all_pages(client: "Client", query: list[tuple[str, str]], limit: int | None) -> dict[str, Any]:
    from gateway.cli.client import path

    items: list[Any] = []
    incomplete: dict[str, Any] = {}
    warnings: list[Any] = []
    cursor: str | None = None
    while True:
        size = 100 if limit is None else min(100, limit - len(items))
        asked = [*query, ("limit", str(size)), *([("cursor", cursor)] if cursor else [])]
        page = (await client.call("GET", path("runtimes"), query=asked)).body
        items += page["items"]
        incomplete.update({missing["provider"]: missing for missing in page.get("incomplete", ())})
        warnings += page.get("warnings", ())
        following = page.get("next_cursor")
        if following and following == cursor:
            raise Failure("cursor_repeated", "the gateway answered with the cursor that it was asked with")
        cursor = following
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
def get(connection: "Connection", runtime_id: str, output: str) -> None:
    """Show one runtime with all that its provider tells.

    \b
    Examples:
      runtime-gateway runtimes get durable-demo.2489e9ad-2ee2-8e00-8ec9-32d5f69181c0
      runtime-gateway runtimes get $ID -o json
    """
    from gateway.cli.client import path

    answer = connection.run(lambda client: client.call("GET", path("runtimes", runtime_id)))
    show_details(answer.body, output)


@runtimes.command()
@click.option("-f", "--file", "stream", type=click.File(), help="The request as YAML or JSON; - is stdin.")
@click.option("--kind", help="durable or browser.")
@click.option("--name", help="The handle; the gateway makes one up when left out.")
@click.option("--provider", help="The provider; chosen when left out.")
@click.option("--scope", help="The provider's scope; an open provider needs one.")
@click.option("--project", help="durable: the project (key or id).")
@click.option("--driver", help="browser: puppeteer, playwright, selenium or stagehand.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="A label. Repeatable.")
@click.option("--start/--no-start", default=None, help="With or without compute; the kind's own way when left out.")
@click.option("--if-exists", type=click.Choice(["return", "fail"]), help="What to do when the name is taken.")
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Any other field. Repeatable.")
@idempotency_options
@wait_options
@connection_options
@any_output
def create(
    connection: "Connection",
    output: str,
    stream: Any,
    label: tuple[str, ...],
    assignments: tuple[str, ...],
    idempotency_key: str | None,
    retry_for: float,
    wait: bool,
    timeout: float,
    **fields: Any,
) -> None:
    """Create a runtime, one however often it is sent. Flags go over the file, and --set over both.

    When nobody knows whether it was made, the same request is sent again under the same key. Ends with 5 when that is
    not known in the end either, and then tells the command to go on with: under that key it never makes a second one.

    \b
    Examples:
      runtime-gateway runtimes create --kind durable --name research-agent --label team=shop --start --wait
      runtime-gateway runtimes create --kind browser --set launch.mode=ephemeral --set launch.humanize=true
      runtime-gateway runtimes create -f agent.yaml --set config.resources.cpu_cores=4
      runtime-gateway runtimes create -f agent.yaml --idempotency-key order-4711 --retry-for 600
    """
    body = read_file(stream) if stream is not None else {}
    body.update({name: value for name, value in fields.items() if value is not None})
    if label:
        body["labels"] = {**(body.get("labels") or {}), **pairs(label, "--label")}
    put(body, assignments)
    if "kind" not in body:
        raise click.UsageError("Give --kind, or a file that has it.")
    patience = timeout if wait else None
    runtime = connection.run(lambda client: _create(client, body, idempotency_key, retry_for, patience))
    if runtime.get("created") is False:
        note(f"note: {runtime.get('id')} was there before")
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
def delete(connection: "Connection", runtime_id: str, wait: bool, timeout: float) -> None:
    """Remove a runtime for good, where the provider can.

    \b
    Examples:
      runtime-gateway runtimes delete $ID
      runtime-gateway runtimes delete $ID --wait
    """

    async def work(client: "Client") -> None:
        from gateway.cli.client import path
        from gateway.cli.waiting import wait_until_gone

        await client.call("DELETE", path("runtimes", runtime_id))
        if wait:
            await wait_until_gone(client, runtime_id, timeout)

    connection.run(work)
    note(f"deleted: {runtime_id}")


@runtimes.command()
@click.argument("runtime_id", metavar="ID")
@click.option("--protocol", help="Only this way in: runtime_server, cdp, webdriver or live_view.")
@connection_options
@output_option("table", "json", "yaml")
def connect(connection: "Connection", runtime_id: str, protocol: str | None, output: str) -> None:
    """Print the ways into a running runtime. Their tokens are secrets.

    \b
    Examples:
      runtime-gateway runtimes connect $ID
      runtime-gateway runtimes connect $ID --protocol cdp -o json
    """
    from gateway.cli.client import path

    body = {} if protocol is None else {"protocol": protocol}
    answer = connection.run(lambda client: client.call("POST", path("runtimes", runtime_id, "connections"), body=body))
    show_list(answer.body, output, _CONNECTION_COLUMNS)
