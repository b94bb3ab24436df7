"""``runtimes capabilities`` and ``runtimes config``: the agent capabilities and the config of a durable runtime."""

from typing import Any, Final

import click

from gateway.cli.arguments import if_match_option, runtime_argument
from gateway.cli.documents import put, read_file
from gateway.cli.options import (
    Connection,
    api_options,
    connection_options,
    examples,
    given,
    output_option,
    pairs,
    read_options,
)
from gateway.cli.output import DOCUMENTS, note, show_document, show_list, show_one, table

_COLUMNS: Final = table(
    "NAME, VERSION, LATEST, ENABLED, SOURCE",
    "ID, DESCRIPTION, FLAGS",
    {
        "LATEST": lambda item: item.get("latest_version"),
        "ENABLED": lambda item: "yes" if item.get("enabled") is True else "no",
    },
)
_RESOLVED_COLUMNS: Final = table(
    "NAME, VERSION, ARTIFACT", "RUNTIME DIGEST", {"ARTIFACT": lambda item: item.get("artifact_digest")}, name="name"
)
_FLAGS: Final = {"true": True, "false": False, "default": None}


@click.group()
@examples("runtimes capabilities install $ID web-search")
def capabilities() -> None:
    """Install, change and remove the agent capabilities of a durable runtime."""


@capabilities.command("list")
@runtime_argument
@read_options("runtimes capabilities list $ID")
def list_capabilities(connection: Connection, runtime_id: str, output: str) -> None:
    """List the installed capabilities."""
    show_list(connection.call("GET", "runtimes", runtime_id, "capabilities"), output, _COLUMNS)


@capabilities.command()
@runtime_argument
@click.argument("name")
@click.option("--version", help="The version to install. Default: the latest.")
@api_options(
    "runtimes capabilities install $ID web-search", "runtimes capabilities install $ID web-search --version 1.4.0"
)
def install(connection: Connection, runtime_id: str, name: str, version: str | None, output: str) -> None:
    """Install a capability."""
    body = given({"name": name, "version": version})
    show_one(connection.call("POST", "runtimes", runtime_id, "capabilities", body=body), output, _COLUMNS)


@capabilities.command()
@runtime_argument
@click.argument("binding_id", metavar="CAPABILITY")
@click.option("--enable/--disable", "enabled", default=None, help="Enable or disable the capability.")
@click.option(
    "--flag", "flags", multiple=True, metavar="NAME=true|false|default", help="Set a flag, or reset it. Repeatable."
)
@click.option("--version", help="Change to this version.")
@api_options(
    "runtimes capabilities update $ID web-search --disable",
    "runtimes capabilities update $ID web-search --flag verbose=true --flag trace=default",
)
def update(
    connection: Connection, runtime_id: str, binding_id: str, flags: tuple[str, ...], output: str, **options: Any
) -> None:
    """Change one property of an installed capability: enabled or not, its flags, or its version."""
    body = given({**options, "flags": _flags(flags) or None})
    if len(body) != 1:
        raise click.UsageError("Give exactly one of: --enable or --disable, --flag, --version.")
    show_one(connection.call("PATCH", "runtimes", runtime_id, "capabilities", binding_id, body=body), output, _COLUMNS)


def _flags(values: tuple[str, ...]) -> dict[str, bool | None]:
    flags = pairs(values, "--flag")
    for name, value in flags.items():
        if value not in _FLAGS:
            raise click.BadParameter(f"the value of {name} must be true, false or default", param_hint="--flag")
    return {name: _FLAGS[value] for name, value in flags.items()}


@capabilities.command()
@runtime_argument
@click.argument("binding_id", metavar="CAPABILITY")
@connection_options("runtimes capabilities remove $ID web-search")
def remove(connection: Connection, runtime_id: str, binding_id: str) -> None:
    """Uninstall a capability."""
    connection.call("DELETE", "runtimes", runtime_id, "capabilities", binding_id)
    note(f"removed: {binding_id}")


@capabilities.command()
@runtime_argument
@api_options("runtimes capabilities resolved $ID -o json")
def resolved(connection: Connection, runtime_id: str, output: str) -> None:
    """Print the versions and digests that the enabled capabilities resolve to."""
    document = connection.call("GET", "runtimes", runtime_id, "capabilities", "resolved")
    if output not in DOCUMENTS:
        document = {"items": document["capabilities"]}
    show_one(document, output, _RESOLVED_COLUMNS)


@click.group("config")
@examples("runtimes config get $ID > config.yaml")
def runtime_config() -> None:
    """Read or replace the config of a durable runtime."""


@runtime_config.command("get")
@runtime_argument
@output_option("yaml", "json")
@connection_options("runtimes config get $ID", "runtimes config get $ID -o json")
def get_config(connection: Connection, runtime_id: str, output: str) -> None:
    """Print the config with its version and digest."""
    show_document(connection.call("GET", "runtimes", runtime_id, "config"), output)


@runtime_config.command("set")
@runtime_argument
@click.option("-f", "--file", "stream", type=click.File(), required=True, help="YAML or JSON; - is stdin.")
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Override one field. Repeatable.")
@if_match_option("DIGEST", "Only if the config still has this digest; otherwise nothing is done (412).")
@output_option("yaml", "json")
@connection_options(
    "runtimes config set $ID -f config.yaml",
    "runtimes config set $ID -f config.yaml --set resources.cpu_cores=4 --if-match $DIGEST",
)
def set_config(
    connection: Connection,
    runtime_id: str,
    stream: Any,
    assignments: tuple[str, ...],
    if_match: dict[str, str],
    output: str,
) -> None:
    """Replace the whole config. Fields that are not in the file get their defaults.

    The file holds a config, or the output of `config get`.
    """
    document = read_file(stream)
    config = document["config"] if isinstance(document.get("config"), dict) else document
    put(config, assignments)
    replaced = connection.call("PUT", "runtimes", runtime_id, "config", body={"config": config}, headers=if_match)
    for warning in replaced.get("warnings") or ():
        note(f"warning: {warning.get('pointer')}: {warning.get('detail')}")
    show_document(replaced, output)
