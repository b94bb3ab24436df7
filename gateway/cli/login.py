"""``login`` and ``context``: which gateway the commands use, and with which key."""

import os
import sys
from typing import Final
from urllib.parse import urlsplit

import click

from gateway.cli import contexts
from gateway.cli.failures import ExitCode, Failure
from gateway.cli.options import Connection, any_output, connection_options, examples
from gateway.cli.output import note, show_list, table

_COLUMNS: Final = table(
    "NAME, SERVER, CURRENT", own={"CURRENT": lambda item: "yes" if item["current"] else "no"}, name="name"
)
_name = click.argument("name", shell_complete=contexts.complete)


@click.command()
@click.option("--name", help="What the context is called. Default: the host of the gateway.")
@connection_options(
    "login --server https://gateway.example", "login --server https://gateway.example --name prod < prod.key"
)
def login(connection: Connection, name: str | None) -> None:
    """Keep a gateway and a key, and use them from now on.

    The key is asked for, or read from stdin, unless --api-key or RTGW_API_KEY is set. It is kept only if the gateway
    accepts it, in a file that only you can read.
    """
    key = connection.given_key
    if key is None:
        key = click.prompt("Key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
        key = str(key).strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise Failure("no_key", "a key must be printable ASCII without spaces", exit_code=ExitCode.USAGE)
    caller = Connection(connection.server, key).call("GET", "me")
    stored, name = contexts.read(), name or urlsplit(connection.server).netloc
    stored["contexts"][name] = {"server": connection.server, "api_key": key}
    contexts.write({**stored, "current": name})
    note(f"logged in at {connection.server} as {caller.get('principal') or 'anyone'}")
    _say_used(name)


@click.group()
@examples("context list", "context use prod")
def context() -> None:
    """Choose between the gateways that login has kept."""


@context.command("list")
@any_output
@examples("context list", "context list -o name")
def list_contexts(output: str) -> None:
    """List the contexts, without their keys."""
    stored = contexts.read()
    items = [
        {"name": name, "server": each.get("server"), "current": name == stored["current"]}
        for name, each in stored["contexts"].items()
    ]
    show_list({"object": "list", "items": items}, output, _COLUMNS)


@context.command()
@_name
@examples("context use prod")
def use(name: str) -> None:
    """Use another context from now on."""
    contexts.kept(name)
    contexts.write({**contexts.read(), "current": name})
    _say_used(name)


@context.command()
@_name
@examples("context remove prod")
def remove(name: str) -> None:
    """Remove a context with its key. The key itself stays valid: keys revoke ends it."""
    contexts.kept(name)
    stored = contexts.read()
    del stored["contexts"][name]
    contexts.write({**stored, "current": None if stored["current"] == name else stored["current"]})
    note(f"removed: {name}")


def _say_used(name: str) -> None:
    """Say that a context is used now, and which variables of the environment precede it."""
    note(f"the context {name} is used now")
    named = os.environ.get("RTGW_CONTEXT")
    preceding = ("RTGW_CONTEXT",) if named else ("RTGW_SERVER", "RTGW_API_KEY")
    for variable in preceding if named != name else ():
        if os.environ.get(variable):
            note(f"but {variable} is set, and precedes it")
