"""``providers``: what the gateway has behind it."""

from typing import TYPE_CHECKING, Final

import click

from gateway.cli.options import any_output, connection_options
from gateway.cli.output import Columns, show_details, show_list

if TYPE_CHECKING:
    from gateway.cli.client import Connection

_COLUMNS: Final[Columns] = {
    "NAME": lambda item: item.get("name"),
    "API": lambda item: item.get("api"),
    "KINDS": lambda item: ", ".join(item.get("kinds") or ()),
    "SCOPE": lambda item: item.get("scope"),
    "HEALTH": lambda item: (item.get("health") or {}).get("status"),
}


@click.group()
def providers() -> None:
    """Show the providers that the gateway has, what they can do and how they are.

    \b
    Example:
      runtime-gateway providers list
    """


@providers.command("list")
@connection_options
@any_output
def list_providers(connection: "Connection", output: str) -> None:
    """List the providers in the order of the settings.

    \b
    Examples:
      runtime-gateway providers list
      runtime-gateway providers list -o name
    """
    from gateway.cli.client import path

    answer = connection.run(lambda client: client.call("GET", path("providers")))
    show_list(answer.body, output, _COLUMNS, name="name")


@providers.command()
@click.argument("name")
@connection_options
@any_output
def get(connection: "Connection", name: str, output: str) -> None:
    """Show one provider.

    \b
    Example:
      runtime-gateway providers get durable-demo
    """
    from gateway.cli.client import path

    answer = connection.run(lambda client: client.call("GET", path("providers", name)))
    show_details(answer.body, output, name="name")
