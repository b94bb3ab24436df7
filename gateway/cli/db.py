"""``db``: the schema of the store."""

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.failures import ExitCode, Failure
from gateway.cli.options import output_option
from gateway.cli.output import Columns, note, show_one
from gateway.cli.server import config_option
from gateway.cli.stores import run, settings_of

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.storage.migrations import SchemaStatus

_COLUMNS: Final[Columns] = {
    "STORE": lambda item: item["store"],
    "SCHEMA": lambda item: item["version"],
    "KNOWN": lambda item: item["known_version"],
    "USABLE": lambda item: item["usable"],
}


@click.group()
def db() -> None:
    """Look at the store's schema, or bring it up to date.

    \b
    Example:
      runtime-gateway db status --config gateway.yaml
    """


@db.command()
@config_option
@output_option("table", "json", "yaml")
def status(file: str, output: str) -> None:
    """Show the version of the store's schema, and the one that this program knows.

    Ends with 1 when this program cannot work with the store as it is.

    \b
    Examples:
      runtime-gateway db status --config gateway.yaml
      runtime-gateway db status --config gateway.yaml -o json
    """
    from gateway.storage.opening import store_of

    settings = settings_of(file)
    found = run(store_of(settings.store).schema())
    show_one(_document(settings, found), output, _COLUMNS)
    if found.fault is not None:
        note(f"the store cannot be used: {found.fault}")
        sys.exit(ExitCode.FAILED)


@db.command()
@config_option
@output_option("table", "json", "yaml")
def upgrade(file: str, output: str) -> None:
    """Bring the store's schema up to date, and make the store where there is none.

    It can be run while gateways run, again, and by several at once. The version before goes on working.

    \b
    Examples:
      runtime-gateway db upgrade --config gateway.yaml
      runtime-gateway db upgrade --config gateway.yaml -o json
    """
    from gateway.storage.opening import open_store
    from gateway.storage.sealing import KeyUnusable

    settings = settings_of(file)
    try:
        store, _ = open_store(settings.store)  # (a database that is made here has its key from the beginning)
    except KeyUnusable as exc:
        raise Failure("key_unusable", str(exc), exit_code=ExitCode.SETTINGS) from exc
    done = run(store.upgrade())
    show_one(_document(settings, done), output, _COLUMNS)
    if done.fault is not None:
        note(f"the store cannot be used: {done.fault}")
        sys.exit(ExitCode.FAILED)


def _document(settings: "Settings", found: "SchemaStatus") -> dict[str, Any]:
    return {
        "object": "store_schema",
        "store": "PostgreSQL" if settings.store.file is None else str(settings.store.file),
        "version": found.version,
        "known_version": found.known,
        "readable_from": found.readable_from,
        "usable": found.fault is None,
        "fault": found.fault,
    }
