"""``keys``, ``principals`` and ``owners``: who may call the gateway, and whose runtimes are whose."""

from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.arguments import KEYS, confirm, runtime_arguments, yes_option
from gateway.cli.failures import ExitCode
from gateway.cli.options import (
    Connection,
    api_options,
    connection_options,
    examples,
    given,
    output_option,
    query_of,
    read_options,
)
from gateway.cli.output import note, note_missing, pages, show_list, show_one, table


def _day(time: str | None) -> str | None:
    return None if time is None else time[:10]


_KEY_COLUMNS: Final = table(
    "NAME, PRINCIPAL, FROM, EXPIRES, LAST USED, AGE",
    "ID, PREFIX, SCOPES, CREATED",
    {
        "FROM": lambda item: item.get("source"),
        "EXPIRES": lambda item: _day(item.get("expires_at")),
        "LAST USED": lambda item: _day(item.get("last_used_at")),
    },
)
_PRINCIPAL_COLUMNS: Final = table(
    "NAME, FROM, TEMPLATE, DISABLED, OWNER, RIGHTS, AGE",
    "SCOPES, OWN ONLY, EXPIRES, CREATED",
    {
        "FROM": lambda item: item.get("source"),
        "DISABLED": lambda item: "yes" if item.get("disabled") else "no",
        "RIGHTS": lambda item: (
            "none" if item.get("warning") else "admin" if "admin" in (item.get("scopes") or ()) else "limited"
        ),
    },
    name="name",
)
_new_output = output_option("key", "json", "yaml")


@click.group()
@examples("keys create --principal team-a --template shop")
def keys() -> None:
    """Make, list, rotate and revoke keys of the gateway. Needs the scope admin."""


@keys.command()
@click.option("--principal", required=True, metavar="NAME", help="The caller that the key is for.")
@click.option("--template", metavar="NAME", help="Make the principal, with the rights of one of the settings.")
@click.option("--scopes", metavar="A,B", help="Only these scopes of the principal. Default: all.")
@click.option("--name", help="What the key is for.")
@click.option("--expires", "expires_at", metavar="TIME", help="A date, then its end in UTC, or a time as in RFC 3339.")
@_new_output
@connection_options(
    "keys create --principal team-a --template shop > team-a.key",
    "keys create --principal team-a --scopes runtimes:read --name dashboard --expires 2027-01-01",
)
def create(connection: Connection, scopes: str | None, output: str, **fields: Any) -> None:
    """Make a key. Its text is printed once, and not stored."""
    fields["scopes"] = None if scopes is None else [scope.strip() for scope in scopes.split(",")]
    _show_new(connection.call("POST", "keys", body=given(fields)), output)


@keys.command("list")
@click.option("--principal", metavar="NAME", help="Only the keys of this principal.")
@read_options("keys list", "keys list --principal team-a -o json")
def list_keys(connection: Connection, principal: str | None, output: str) -> None:
    """List the keys, without their texts. Keys of the settings can only be changed there."""
    query = () if principal is None else (("principal", principal),)
    show_list(connection.call("GET", "keys", query=query), output, _KEY_COLUMNS)


@keys.command()
@click.argument("key_id", metavar="KEY", **KEYS)
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="For how long the old key works beside the new one.",
)
@_new_output
@connection_options("keys rotate $KEY_ID > team-a.key", "keys rotate $KEY_ID --overlap 86400")
def rotate(connection: Connection, key_id: str, overlap: int, output: str) -> None:
    """Replace a key by a new one with the same rights. The old one ends after the overlap."""
    _show_new(connection.call("POST", "keys", key_id, "rotate", body={"overlap": overlap}), output)


@keys.command()
@click.argument("key_id", metavar="KEY", **KEYS)
@connection_options("keys revoke $KEY_ID")
def revoke(connection: Connection, key_id: str) -> None:
    """Revoke a key. Every process of the gateway refuses it a few seconds later at the latest."""
    connection.call("DELETE", "keys", key_id)
    note(f"revoked: {key_id}")


@click.group()
@examples("principals list")
def principals() -> None:
    """List, disable, enable and delete the callers of the gateway. Needs the scope admin."""


@principals.command("list")
@read_options("principals list", "principals list -o json")
def list_principals(connection: Connection, output: str) -> None:
    """List the principals of the settings and of the API, and those of tokens that are disabled."""
    document = connection.call("GET", "principals")
    show_list(document, output, _PRINCIPAL_COLUMNS)
    for item in document["items"]:
        if item.get("warning"):
            note(f"warning: {item.get('name')}: {item['warning']}")


def _switch(verb: str, text: str) -> None:
    def command(connection: Connection, name: str, output: str) -> None:
        show_one(connection.call("POST", "principals", name, verb), output, _PRINCIPAL_COLUMNS)

    command.__doc__ = text
    principals.command(verb)(click.argument("name")(api_options(f"principals {verb} team-a")(command)))


_switch("disable", "Refuse all keys and tokens of a principal. Its runtimes continue.")
_switch("enable", "Accept the keys and tokens of a disabled principal again.")


@principals.command()
@click.argument("name")
@yes_option
@connection_options("principals delete team-a")
def delete(connection: Connection, name: str, yes: bool) -> None:
    """Delete a principal that was made by the API, and its keys. Its runtimes continue, and keep their owner.

    Asks on a terminal.
    """
    if not yes:
        confirm(f"Delete the principal {name} and its keys?")
    connection.call("DELETE", "principals", name)
    note(f"deleted: {name}")


def _show_new(key: dict[str, Any], output: str) -> None:
    """Print a new key: its text alone, or the whole document."""
    if output == "key":
        click.echo(key["key"])
    else:
        show_one(key, output)
    note(f"key {key['id']} of {key['principal']}: its text is printed only now, keep it")


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
