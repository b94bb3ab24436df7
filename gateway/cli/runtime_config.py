"""``runtimes config``: read the config of a durable runtime, or replace the whole config."""

from typing import Any

import click

from gateway.cli.arguments import if_match_option, runtime_argument
from gateway.cli.connecting import Connection
from gateway.cli.documents import put, read_file
from gateway.cli.options import connection_options, examples, output_option
from gateway.cli.output import note, show_document


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
