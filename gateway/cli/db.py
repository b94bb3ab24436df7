"""``db``: the schema of the store."""

import sys
from typing import TYPE_CHECKING, Final

import click

from gateway.cli.failures import ExitCode
from gateway.cli.options import examples, output_option
from gateway.cli.output import note, show_one, table
from gateway.cli.server import config_option, exit_for_faults, store_settings
from gateway.cli.stores import run

if TYPE_CHECKING:
    from gateway.settings import StoreSettings
    from gateway.storage.migrations import SchemaStatus

_COLUMNS: Final = table(
    "STORE, SCHEMA, KNOWN, USABLE",
    own={"SCHEMA": lambda item: item["version"], "KNOWN": lambda item: item["known_version"]},
)


@click.group()
@examples("db status --config gateway.yaml")
def db() -> None:
    """Show the version of the store's schema, or upgrade it."""


@db.command()
@config_option
@output_option("table", "json", "yaml")
@examples("db status --config gateway.yaml", "db status --config gateway.yaml -o json")
def status(file: str, output: str) -> None:
    """Show the version of the store's schema, and the newest version that this program knows.

    Exit code 1: this program cannot use the store.
    """
    from gateway.storage.opening import store_of

    settings = store_settings(file)
    found = run(store_of(settings).schema())
    _show(settings, found, output)


@db.command()
@config_option
@output_option("table", "json", "yaml")
@examples("db upgrade --config gateway.yaml", "db upgrade --config gateway.yaml -o json")
def upgrade(file: str, output: str) -> None:
    """Upgrade the store's schema to the newest version, and create the store if it does not exist.

    The command can be repeated, run while gateways run, and run several times at once. Gateways of the previous
    version continue to work, unless CHANGELOG.md says otherwise.
    """
    from gateway.storage.opening import open_store

    settings = store_settings(file)
    with exit_for_faults():
        store, _ = open_store(settings)  # creates the key too, before there is a database
    done = run(store.upgrade())
    _show(settings, done, output)


def _show(settings: "StoreSettings", found: "SchemaStatus", output: str) -> None:
    """Print the status. Exits with 1 when this program cannot use the store."""
    document = {
        "object": "store_schema",
        "store": "PostgreSQL" if settings.file is None else str(settings.file),
        "version": found.version,
        "known_version": found.known,
        "readable_from": found.readable_from,
        "usable": found.fault is None,
        "fault": found.fault,
    }
    show_one(document, output, _COLUMNS)
    if found.fault is not None:
        note(f"the store cannot be used: {found.fault}")
        sys.exit(ExitCode.FAILED)
