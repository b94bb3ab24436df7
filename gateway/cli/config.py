"""``config``: check and show the settings without starting the gateway."""

import json
import sys
from typing import Final

import click

from gateway.cli.credentials import check_credentials, print_checks
from gateway.cli.failures import ExitCode
from gateway.cli.options import any_output, examples, output_option
from gateway.cli.output import show_document, show_list, table
from gateway.cli.server import config_option, load, load_or_exit, print_problems, print_warnings

_COLUMNS: Final = table(
    "SETTING, VALUE, ORIGIN",
    own={"VALUE": lambda item: item["value"] if isinstance(item["value"], str) else json.dumps(item["value"])},
    name="setting",
)


@click.group()
@examples("config check --config gateway.yaml")
def config() -> None:
    """Check the settings, or show the effective settings."""


@config.command()
@config_option
@click.option("--online", is_flag=True, help="Also ask every provider whether it accepts the credentials.")
@output_option("table", "json", "yaml")
@examples(
    "config check --config gateway.yaml",
    "config check --config gateway.yaml --online",
    "config check --config gateway.yaml -o json",
)
def check(file: str, output: str, *, online: bool) -> None:
    """Check the settings of the file and the environment, and the key file of a SQLite store, and report all faults at
    once. Warnings go to stderr.

    Exit code 78: the settings have a fault. With --online also 4: a provider rejects the credentials; 1: a provider
    cannot be checked.
    """
    from gateway.settings import SettingsError
    from gateway.storage.opening import require_key

    try:
        loaded = load(file)
        require_key(loaded.settings.store)
    except SettingsError as error:
        if output == "table":
            print_problems(error)
        else:
            show_document({"ok": False, "problems": [problem._asdict() for problem in error.problems]}, output)
        sys.exit(ExitCode.SETTINGS)
    print_warnings(loaded)
    if online:
        print_checks(check_credentials(loaded.settings), output)
    elif output == "table":
        click.echo(f"{file}: ok, providers: {', '.join(loaded.settings.providers)}")
    else:
        show_document({"ok": True, "problems": []}, output)


@config.command()
@config_option
@click.option("--changed", is_flag=True, help="Only the settings that the file, the environment or a flag sets.")
@any_output
def show(file: str, output: str, *, changed: bool) -> None:
    """Show every effective setting and its origin. Secrets are shown as **********.

    \b
    Examples:
      runtime-gateway config show --config gateway.yaml --changed
      RTGW_LOG__LEVEL=debug runtime-gateway config show --config gateway.yaml -o json
    """
    from gateway.settings import effective

    loaded = load_or_exit(file)
    items = [
        {"setting": path, "value": value, "origin": origin}
        for path, value, origin in effective(loaded)
        if not changed or origin != "default"
    ]
    show_list({"object": "list", "items": items}, output, _COLUMNS)


@config.command()
@examples("config schema > gateway.schema.json")
def schema() -> None:
    """Print the JSON Schema of a settings file, with which editors complete and check it. An editor with the YAML
    language server finds it by a line in the file: # yaml-language-server: $schema=gateway.schema.json
    """
    from gateway.app import provider_models
    from gateway.settings.schema import settings_schema

    click.echo(json.dumps(settings_schema(provider_models()), indent=2, ensure_ascii=False))
