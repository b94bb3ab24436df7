"""``owners``: whose runtimes are whose."""

from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.arguments import runtime_arguments
from gateway.cli.connecting import Connection
from gateway.cli.failures import ExitCode
from gateway.cli.options import api_options, examples, query_of, read_options
from gateway.cli.output import show_list, show_one, table
from gateway.cli.pages import note_missing, pages

if TYPE_CHECKING:
    from gateway.cli.client import Client
    from gateway.cli.references import Chosen

_COLUMNS: Final = table("NAME, OWNER, STATE, PROVIDER, AGE", "ID, KIND, SCOPE, CREATED")


@click.group()
@examples("owners list", "owners assign durable-main.2489e9ad-… --owner shop")
def owners() -> None:
    """Show and assign the owners of runtimes. A caller with own_only sees only the runtimes of its owner."""


@owners.command("list")
@click.option("--owner", help="Only runtimes of this principal or group.")
@read_options("owners list", "owners list --owner shop")
def list_owners(connection: Connection, output: str, owner: str | None) -> None:
    """List the runtimes of all providers with their owners; empty where the owner is not known."""
    query = query_of({"owner": owner})
    document = connection.run(lambda client: pages(client, "runtimes", query=query))
    show_list(document, output, _COLUMNS)
    if note_missing(document):
        click.get_current_context().exit(ExitCode.PARTIAL)


@owners.command()
@runtime_arguments
@click.option("--owner", required=True, help="The principal or group, or - to remove the assignment.")
@api_options("owners assign durable-main.2489e9ad-… --owner shop")
def assign(connection: Connection, chosen: "Chosen", owner: str, output: str) -> None:
    """Assign runtimes to an owner (scope admin). Other replicas know the change a few seconds later."""
    body = {"owner": None if owner == "-" else owner}

    async def work(client: "Client", runtime_id: str) -> dict[str, Any]:
        return await client.call("PUT", "runtimes", runtime_id, "owner", body=body)

    chosen.each(connection, work, lambda found: show_one(found, output, _COLUMNS))
