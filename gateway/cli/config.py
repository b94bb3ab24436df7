"""``config``: look at the settings without serving."""

import json
import sys

import click

from gateway.cli.credentials import checked, tell_checked
from gateway.cli.failures import ExitCode
from gateway.cli.options import output_option
from gateway.cli.output import Columns, show_document, show_list
from gateway.cli.server import config_option, load, tell_problems

_COLUMNS: Columns = {
    "SETTING": lambda item: item["setting"],
    "VALUE": lambda item: item["value"] if isinstance(item["value"], str) else json.dumps(item["value"]),
    "ORIGIN": lambda item: item["origin"],
}


@click.group()
def config() -> None:
    """Check the settings, or show those in force.

    \b
    Example:
      runtime-gateway config check --config gateway.yaml
    """


@config.command()
@config_option
@click.option("--online", is_flag=True, help="Ask every provider too whether it takes the credentials.")
@output_option("table", "json", "yaml")
def check(file: str, output: str, *, online: bool) -> None:
    """Check the settings of the file and the environment, and tell every fault at once.

    Ends with 78 when there is one; with --online also with 4 when a provider rejects the credentials, and 1 when one
    cannot be asked.

    \b
    Examples:
      runtime-gateway config check --config gateway.yaml
      runtime-gateway config check --config gateway.yaml --online
      runtime-gateway config check --config gateway.yaml -o json
    """
    from gateway.settings import SettingsError

    try:
        loaded = load(file)
    except SettingsError as error:
        if output == "table":
            tell_problems(error)
        else:
            show_document({"ok": False, "problems": [problem._asdict() for problem in error.problems]}, output)
        sys.exit(ExitCode.SETTINGS)
    if online:
        tell_checked(checked(loaded.settings), output)
    elif output == "table":
        click.echo(f"{file}: ok, providers: {', '.join(loaded.settings.providers)}")
    else:
        show_document({"ok": True, "problems": []}, output)


@config.command()
@config_option
@output_option("table", "json", "yaml")
def show(file: str, output: str) -> None:
    """Show every setting in force and where it comes from; secrets are starred out.

    \b
    Examples:
      runtime-gateway config show --config gateway.yaml
      RTGW_LOG__LEVEL=debug runtime-gateway config show --config gateway.yaml -o json
    """
    from gateway.settings import SettingsError, effective

    try:
        loaded = load(file)
    except SettingsError as error:
        tell_problems(error)
        sys.exit(ExitCode.SETTINGS)
    items = [{"setting": path, "value": value, "origin": origin} for path, value, origin in effective(loaded)]
    show_list({"object": "list", "items": items}, output, _COLUMNS)
