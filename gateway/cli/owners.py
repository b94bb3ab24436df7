"""``owners``: whose runtimes are whose."""

from typing import TYPE_CHECKING, Any

import click

from gateway.cli.options import Connection, any_output, connection_options, examples, query_of
from gateway.cli.output import members, show_list
from gateway.cli.runtimes import all_pages

if TYPE_CHECKING:
    from gateway.cli.client import Client

_COLUMNS = members("NAME", "OWNER", "PROVIDER", "STATE", "ID")


@click.group()
@examples("owners list", "owners assign durable-main.2489e9ad-… --owner shop")
def owners() -> None:
    """Show and assign the owners of runtimes. A caller with own_only sees only the runtimes of its owner."""


@owners.command("list")
@click.option("--owner", help="Only runtimes of this principal or group.")
@connection_options
@any_output
@examples("owners list", "owners list --owner shop")
def list_owners(connection: Connection, output: str, owner: str | None) -> None:
    """List the runtimes of all providers with their owners; empty where the owner is not known."""
    query = query_of({"owner": owner})
    show_list(connection.run(lambda client: all_pages(client, query, None)), output, _COLUMNS)


@owners.command()
@click.argument("runtime_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--owner", required=True, help="The principal or group, or - to remove the assignment.")
@connection_options
@any_output
@examples("owners assign durable-main.2489e9ad-… --owner shop")
def assign(connection: Connection, runtime_ids: tuple[str, ...], owner: str, output: str) -> None:
    """Assign runtimes to an owner (scope admin). Other replicas know the change a few seconds later."""

    async def work(client: "Client") -> dict[str, Any]:
        body = {"owner": None if owner == "-" else owner}
        assigned = [(await client.call("PUT", "runtimes", each, "owner", body=body)) for each in runtime_ids]
        return {"object": "list", "items": assigned}

    show_list(connection.run(work), output, _COLUMNS)
